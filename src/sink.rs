//! Sinks: where spooled data goes.
//!
//! Every sink has its own cursor over the same spool and its own driver, so that a slow or dead one delays only itself.
//! There are two families:
//!
//! - an *object sink* ([`ObjectStore`], driven by [`Driver`]) takes sealed segments one after the other; each stream, book
//!   and received hour in a segment becomes one object, whose key and content were frozen when the segment was sealed;
//! - a *line sink* ([`LineSink`], driven by [`LineDriver`]) takes lines as they become durable, without waiting for the seal.
//!
//! An object is exactly one gzip member or one zstd frame, as its sink is configured ([`Codec`]). The codec stands in its
//! name, and nobody reads two in one breath: after a change a place holds both, side by side. Objects are compared by
//! their lines, never by their compressed bytes. A sink may take some streams only; then its objects and its books are of
//! those.
//!
//! What an object sink promises (P2, P7):
//!
//! - an object is put under its frozen key on the condition that there is none; if there is one, it is compared: the
//!   same is success, another is left alone, and ours is stored under a suffixed key and alarmed;
//! - nothing that a store answers loses data: whatever fails is tried again, with exponential back-off and full
//!   jitter, for as long as it takes;
//! - the cursor moves, durably, only after every object of the segment is stored, and then the books' pages that name
//!   them (see [`ledger`](crate::ledger)).
//!
//! What a line sink promises: every line at least once, and more than once only after an outcome that nobody knows, or a
//! crash; see `sink/lines.rs`. What it will never take goes to an object sink's place, under [`UNDELIVERED`].
//!
//! # To add a sink
//!
//! 1. One file in `sink/` that implements [`LineSink`] (or [`ObjectStore`]): what one call takes, and one attempt with an
//!    honest [`Outcome`]. It retries nothing, waits for nothing, counts nothing that the driver counts, and knows no spool.
//!    If it needs an SDK, that file gets a room in `tests/layering.rs`.
//! 2. One section of the configuration: a kind in `config/sinks.rs` with the sink's own settings; name, need, lag, streams,
//!    concurrency, time-outs and back-off are common to all. The application makes the sink of it, in one arm of a match.
//! 3. One rig in `tests/sinks/rigs` and a line in `tests/sinks.rs`: the conformance suite meets the sink with every fault
//!    that its back end can have, and the rig says which it cannot.

mod backoff;
mod codec;
mod driver;
mod file;
mod filter;
mod firehose;
mod lines;
mod member;
mod object_body;
mod object_key;
mod outage;
mod s3;
mod store;
mod upload;

use std::{error::Error, fmt};

pub use backoff::Backoff;
pub use codec::{Codec, Compression};
pub use driver::{Driver, Settings};
pub use file::FileStore;
pub use filter::Filter;
pub use firehose::{FirehoseSettings, FirehoseSetupError, FirehoseSink, Packing, Targets};
pub use lines::{Aside, CallLimits, Fate, Left, LineDriver, LineSettings, LineSink, Outcome, Parcel};
pub use member::{Counted, Counter, MAX_WINDOW_BYTES, Member};
pub use object_body::{BodyError, FIRST_PART_BYTES, ObjectBody, PART_BYTES, Part};
pub use object_key::{ObjectKey, ObjectName, REJECTED, UNDELIVERED};
pub use s3::{S3Encryption, S3Settings, S3SetupError, S3Store};
pub use store::{BoxFuture, Listed, ObjectReader, ObjectStore, Page, StoreError, Told};

use crate::batch::{InstanceId, Millis, SegmentId};

/// The version of the lines' form, as objects tell it.
pub const FORMAT_VERSION: u32 = 1;

/// An object to store: frozen, but for its compressed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPlan {
    /// The bucket, or the root directory.
    pub place: String,
    /// The key.
    pub key: ObjectKey,
    /// What is told of it.
    pub facts: ObjectFacts,
}

/// What an object's metadata tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFacts {
    /// How many lines.
    pub events: u64,
    /// Their uncompressed length in bytes.
    pub bytes: u64,
    /// CRC-32 of the uncompressed bytes: what a gzip member's trailer says too, and a zstd frame does not.
    pub crc32: u32,
    /// The earliest event time.
    pub first_event: Option<Millis>,
    /// The latest event time.
    pub last_event: Option<Millis>,
    /// Who stored it.
    pub instance: InstanceId,
    /// From which segment.
    pub segment: SegmentId,
}

impl ObjectFacts {
    /// The names and values of the object's metadata.
    pub fn metadata(&self) -> Vec<(&'static str, String)> {
        let instant = |instant: Option<Millis>| instant.map(|instant| instant.to_string()).unwrap_or_default();
        vec![
            ("logweir-format", FORMAT_VERSION.to_string()),
            ("logweir-events", self.events.to_string()),
            ("logweir-bytes", self.bytes.to_string()),
            ("logweir-crc32", format!("{:08x}", self.crc32)),
            ("logweir-first-event", instant(self.first_event)),
            ("logweir-last-event", instant(self.last_event)),
            ("logweir-instance", self.instance.to_string()),
            ("logweir-segment", self.segment.to_string()),
        ]
    }

    /// Whether metadata, asked by name, tells of the same content.
    pub fn matches<'a>(&self, metadata: impl Fn(&str) -> Option<&'a str>) -> bool {
        let content = ["logweir-events", "logweir-bytes", "logweir-crc32"];
        self.metadata().iter().filter(|(name, _)| content.contains(name)).all(|(name, own)| metadata(name) == Some(own))
    }
}

/// What came of putting an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is stored now, with so many compressed bytes.
    Stored(u64),
    /// It was stored before, with the same content.
    Existed,
    /// Its key holds something else.
    Occupied,
}

/// An object could not be put; it is to be tried again.
#[derive(Debug)]
pub enum PutError {
    /// The store failed, or could not be reached.
    Store {
        /// In which way, for the metrics.
        cause: PutFailure,
        /// What it said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The segment could not be read.
    Body(BodyError),
}

/// In which way a store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutFailure {
    /// The attempt took too long. It may have had effect.
    Timeout,
    /// The store could not be reached, or the connection broke.
    Network,
    /// The store asks to be asked less (503 `SlowDown` and the like).
    Throttled,
    /// Access is denied, or there are no credentials.
    Denied,
    /// Somebody else puts the same key (409).
    Conflict,
    /// The store failed (5xx).
    Server,
    /// The store's disk is full.
    Full,
    /// Anything else.
    Other,
}

impl PutFailure {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Server => "server",
            Self::Full => "full",
            Self::Other => "other",
        }
    }
}

impl PutError {
    /// An error of the store.
    pub fn store(cause: PutFailure, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Store { cause, source: source.into() }
    }
}

impl From<BodyError> for PutError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { cause, source } => store::tell(f, *cause, &**source),
            Self::Body(error) => error.fmt(f),
        }
    }
}

impl Error for PutError {}
