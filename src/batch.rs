//! The domain: what one request carries and what becomes of it.
//!
//! A *batch* is what one request carries, for one *stream*; an *event* is one log record of it. Validation gives
//! each event a *verdict* and turns the batch into [`Frame`]s: stored lines of one stream and received hour, with a
//! checksum, that travel unchanged from the worker through the queue to the disk and are read back by the sinks.
//!
//! Nothing here knows of HTTP, of files or of schemas; nothing here imports anything above it.

mod frame;
mod id;
mod name;
mod time;
mod verdict;

pub use frame::{Book, Frame, FrameBuilder, FrameError, FrameHeader};
pub use id::{BatchHash, BatchId, EventId, InstanceId, InvalidBatchId, Nonces, SegmentId};
pub use name::{InvalidStreamName, StreamName};
pub use time::{Clock, Hour, Millis, RFC3339_BYTES};
pub use verdict::{Mending, Mendings, Reason, Rejection, Rejections};
