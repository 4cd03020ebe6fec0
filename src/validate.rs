//! Validation: the bytes of a body and a stream's schema become stored lines and a verdict for each event.
//!
//! Pure: no clock, no file, no network. One pass over the JSON, without a tree of it and without an allocation for a
//! field: a scanner tells where the top-level members of an event lie and what is odd in them, each declared value is
//! checked where it stands, and the line is written from the event's own bytes, which are kept as they came wherever
//! they can be.
//!
//! # A stored line
//!
//! ```text
//! {"event_id":"…","event_time":"…","received_at":"…"[,"batch_id":"…"][,"client_time":"…"]
//!   ,the event's own members … [,the context's members that the event lacks …] [,"extra":{…}]}⏎
//! ```
//!
//! # What makes every line load (P9)
//!
//! - Top-level keys are lower case, unique, and at most 127 bytes; two that become equal reject the event. A client's
//!   key that is named like a server field is stored as `client_<name>`.
//! - NUL characters and lone surrogates become U+FFFD, in values of any depth, and are counted.
//! - No line break stands within a line, and no number is beyond a double.
//! - Declared values have their type's form: instants RFC 3339 in UTC with milliseconds, UUIDs in lower case, decimals
//!   as strings, strings within their column's bytes.
//! - What is collected in `extra` is no longer than a column.
//! - A line is shorter than 4 MB: [`MAX_LINE_BYTES`] bounds what the limits may add up to.
//!
//! # Limits
//!
//! [`Limits`] bounds events, sizes and nesting; the capacity that is written to is asked for through [`Room`], so that
//! a small body which encodes into a huge one (context × events) is refused instead of written.

mod json;
mod kept;
mod keys;
mod line;
mod members;
mod pass;
mod text;
mod value;

use std::collections::HashMap;

use self::{keys::KeyBook, line::Pen, members::Members, pass::Pass};
use crate::batch::{BatchId, Mendings, Millis, Rejections};
use crate::schema::{SchemaId, Stream};

/// The longest line that may be stored, in bytes: Redshift loads JSON objects of up to 4 MB, and counts `|` twice.
pub const MAX_LINE_BYTES: usize = 2_000_000;
/// How far back from the received time an event time may lie, in milliseconds: 30 days.
pub const MAX_PAST_MILLIS: i64 = 30 * 24 * 3_600_000;
/// How far ahead of the received time an event time may lie, in milliseconds: 5 minutes.
pub const MAX_FUTURE_MILLIS: i64 = 5 * 60_000;

/// What a worker may come to remember of the keys of one stream, in bytes.
pub const KEYS_BYTES: usize = KeyBook::MOST_BYTES;

/// How large what a batch carries may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events a batch.
    pub events: usize,
    /// Bytes of JSON an event.
    pub event_bytes: usize,
    /// Bytes of JSON of the context.
    pub context_bytes: usize,
    /// Levels of objects and arrays, the event itself being the first.
    pub nesting: usize,
    /// Top-level members an event, and as many of the context.
    pub fields: usize,
    /// Bytes of all the lines that a batch becomes.
    pub output_bytes: usize,
}

/// How a body spells a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: an envelope, or an array of events.
    Json,
    /// `application/x-ndjson`: an event a line.
    Lines,
}

/// A batch to validate.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The decoded body.
    pub body: &'a [u8],
    /// How it is spelled.
    pub format: Format,
    /// Where it goes.
    pub stream: &'a Stream,
    /// The name of the key that sent it.
    pub key_name: &'a str,
    /// `Idempotency-Key`, which stands in for the envelope's `batch_id`.
    pub idempotency_key: Option<&'a BatchId>,
    /// `X-Sent-At`: what the device's clock said when it sent this attempt.
    pub sent_at: SentAt,
    /// What this instance's clock says.
    pub received_at: Millis,
    /// A number that no other batch has.
    pub nonce: u128,
}

/// What a device says of its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SentAt {
    /// Nothing.
    #[default]
    Absent,
    /// Something that is no instant.
    Invalid,
    /// This.
    At(Millis),
}

impl From<Option<Millis>> for SentAt {
    fn from(instant: Option<Millis>) -> Self {
        instant.map_or(Self::Invalid, Self::At)
    }
}

/// Where the lines go.
///
/// Both buffers are appended to; on error they are left with what they had.
pub struct Output<'a> {
    /// Lines of events that follow the schema.
    pub accepted: &'a mut Vec<u8>,
    /// Lines of events that do not.
    pub rejected: &'a mut Vec<u8>,
    /// Asked before a buffer grows.
    pub room: &'a mut dyn Room,
}

/// The memory that lines may be written to.
pub trait Room {
    /// Grants `bytes` more of capacity, or not.
    fn grant(&mut self, bytes: usize) -> bool;

    /// Takes back `bytes` of capacity, of what was granted or was there before.
    fn give_back(&mut self, bytes: usize);
}

/// What came of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    /// The batch's id, if it has one.
    pub batch_id: Option<BatchId>,
    /// How many events follow the schema.
    pub accepted: u32,
    /// Which do not.
    pub rejected: Rejections,
    /// What was mended on the accepted ones.
    pub mendings: Mendings,
    /// The earliest and latest event time of the accepted ones.
    pub event_times: Option<(Millis, Millis)>,
    /// By how many milliseconds the sender's clock is behind ours, if that is known; negative if it is ahead.
    pub skew: Option<i64>,
}

/// A batch that cannot be taken at all. Nothing of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The body is not JSON.
    #[error("the body is not valid JSON: {what}, at byte {offset}")]
    Malformed {
        /// Where, in bytes from the start of the decoded body.
        offset: usize,
        /// What was wrong there.
        what: &'static str,
    },
    /// The body of a JSON batch is not UTF-8.
    #[error("the body is not valid UTF-8, at byte {offset}")]
    InvalidUtf8 {
        /// Where, in bytes from the start of the decoded body.
        offset: usize,
    },
    /// The body is JSON, but no envelope and no array.
    #[error("the body is neither an array of events nor an object with `events`")]
    NotABatch,
    /// A member of the envelope has the wrong form.
    #[error("the envelope is not as it must be: {what}, at byte {offset}")]
    Envelope {
        /// Where, in bytes from the start of the decoded body.
        offset: usize,
        /// What was wrong there.
        what: &'static str,
    },
    /// The context is larger than its limit.
    #[error("the context has {size} bytes, more than {limit}")]
    ContextTooLarge {
        /// Its size in bytes.
        size: usize,
        /// `limits.context` in bytes.
        limit: usize,
    },
    /// No event is in the batch.
    #[error("the batch has no events")]
    Empty,
    /// More events than a batch may have.
    #[error("the batch has more than {limit} events")]
    TooManyEvents {
        /// `limits.events`.
        limit: usize,
    },
    /// The lines would be larger than a batch's may be.
    #[error("the batch would be stored as more than {limit} bytes")]
    OutputTooLarge {
        /// `limits.output` in bytes.
        limit: usize,
    },
    /// The [`Room`] granted no more.
    #[error("there is no memory for the batch now")]
    NoRoom,
}

/// Validates batches, one after the other. A worker has one: its buffers are allocated once.
#[derive(Debug)]
pub struct Validator {
    limits: Limits,
    event: Members,
    context: Members,
    /// What is known of each schema's keys.
    books: HashMap<SchemaId, KeyBook>,
    pen: Pen,
}

/// How many schemas' keys are remembered; there are more only after some were replaced.
const MOST_BOOKS: usize = 128;

impl Validator {
    /// A validator with `limits`.
    pub fn new(limits: Limits) -> Self {
        let (event, context) = (Members::default(), Members::default());
        Self { limits, event, context, books: HashMap::new(), pen: Pen::default() }
    }

    /// Appends the lines of `batch` to `output`, and tells each event's verdict.
    ///
    /// # Errors
    /// [`BatchError`] if the batch cannot be taken at all; `output` then is as it was.
    pub fn validate(&mut self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<Validated, BatchError> {
        let before = (output.accepted.len(), output.rejected.len());
        if self.books.len() >= MOST_BOOKS {
            self.books.clear();
        }
        let schema = &batch.stream.schema;
        let keys = self.books.entry(schema.id()).or_insert_with(|| KeyBook::new(schema));
        keys.tidy(schema);
        let read = (&mut self.event, &mut self.context, keys);
        let mut pass = Pass::new(&self.limits, batch, read, &mut self.pen, output);
        let validated = match batch.format {
            Format::Json => pass.json(),
            Format::Lines => pass.lines(),
        };
        if validated.is_err() {
            output.accepted.truncate(before.0);
            output.rejected.truncate(before.1);
        }
        validated
    }

    /// Forgets what is known of the keys of a schema that does not come again.
    pub fn forget(&mut self, schema: SchemaId) {
        self.books.remove(&schema);
    }
}

#[cfg(test)]
mod tests;
