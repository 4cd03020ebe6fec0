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
mod counts;
mod driver;
mod failure;
mod file;
mod filter;
mod firehose;
mod lines;
mod member;
mod object_body;
mod object_key;
mod object_plan;
mod outage;
mod s3;
mod store;
mod upload;

pub use backoff::Backoff;
pub use codec::{Codec, Compression};
pub use driver::{Driver, Settings};
pub use failure::{Failure, PutError, StoreError};
pub use file::FileStore;
pub use filter::Filter;
pub use firehose::{FirehoseSettings, FirehoseSetupError, FirehoseSink, Packing, Targets};
pub use lines::{Aside, CallLimits, Fate, Left, LineDriver, LineSettings, LineSink, Outcome, Parcel};
pub use member::{Counted, Counter, MAX_WINDOW_BYTES, Member};
pub use object_body::{BodyError, FIRST_PART_BYTES, ObjectBody, PART_BYTES, Part};
pub use object_key::{ObjectKey, ObjectName, REJECTED, UNDELIVERED};
pub use object_plan::{FORMAT_VERSION, ObjectFacts, ObjectPlan, Placed};
pub use s3::{S3Encryption, S3Settings, S3SetupError, S3Store};
pub use store::{BoxFuture, Listed, ObjectReader, ObjectStore, Page, Told};
