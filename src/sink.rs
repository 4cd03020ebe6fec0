//! Sinks: where spooled data goes.
//!
//! Every sink has its own cursor over the same spool and its own driver, so that a slow or dead one delays only itself.
//! There are two families:
//!
//! - an *object sink* ([`ObjectStore`], driven by [`ObjectDriver`]) takes sealed segments one after the other; each stream,
//!   book and received hour in a segment becomes one object, whose key and content were frozen when it was sealed;
//! - a *line sink* ([`LineSink`], driven by [`LineDriver`]) takes lines as they become durable, without waiting for the seal.
//!
//! What an object sink promises: every line exactly once in its objects, as the books have it; see `sink/objects.rs`.
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
mod counts;
mod failure;
mod file;
mod filter;
mod firehose;
mod lines;
mod objects;
mod outage;
mod s3;

pub use backoff::Backoff;
pub use failure::{Failure, PutError, StoreError};
pub use file::FileStore;
pub use filter::Filter;
pub use firehose::{FirehoseSettings, FirehoseSetupError, FirehoseSink, Packing, Targets};
pub use lines::{Aside, CallLimits, Fate, Left, LineDriver, LineSettings, LineSink, Outcome, Parcel};
pub use objects::{
    BodyError, Codec, Compression, Counted, Counter, FIRST_PART_BYTES, FORMAT_VERSION, Listed, MAX_WINDOW_BYTES,
    Member, ObjectBody, ObjectDriver, ObjectFacts, ObjectKey, ObjectName, ObjectPlan, ObjectReader, ObjectSettings,
    ObjectStore, PART_BYTES, Page, Part, Placed, REJECTED, Told, UNDELIVERED,
};
pub use s3::{S3Encryption, S3Settings, S3SetupError, S3Store};

use std::{future::Future, pin::Pin};

/// A future that can be held without knowing its type.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
