//! The books: what every sealed segment became, and how every instance is, kept beside the objects (P3).
//!
//! They are written by whoever stores the objects, into the same place, so that the books of an instance that died
//! survive it; they are read by `logweir audit`, and by any tool that reads NDJSON.
//!
//! # Layout
//!
//! ```text
//! {prefix}_ledger/segments/dt=2026-11-22/hour=09/{instance}-{segment}.ndjson.gz     a page
//!
//!   {"kind":"content","format":1,"instance":"01…","segment":42,"stream":"heard","book":"accepted",
//!    "dt":"2026-11-22","hour":"09","events":812,"bytes":519680,"crc32":"0a1b2c3d",
//!    "first_received":"…Z","last_received":"…Z","first_event":"…Z","last_event":"…Z","key":"heard/dt=…"}
//!   {"kind":"damage","format":1,"instance":"01…","segment":42,"dt":"2026-11-22","hour":"09","places":1,"bytes":4096}
//!
//! {prefix}_ledger/heartbeats/dt=2026-11-22/hour=09/{instance}-{started}.json        a heartbeat
//!
//!   {"format":1,"instance":"01…","started":"…Z","at":"…Z","interval_seconds":60,"oldest_unstored":"…Z" or null,
//!    "ended":false,"requests":{"accepted":7,…},
//!    "events":{"heard":{"received":9,"refused":1,"accepted":7,"rejected":1},…}}
//! ```
//!
//! A **page** has a line for each object that a segment became in an hour: a segment whose events were received in two
//! hours has two pages, so that the books of an hour are all in the hour's directory. `key` is where the object really
//! is, with its suffix if the frozen key was occupied. The line of *damage* stands on the first page of a segment of
//! which some place could not be read any more; the bytes are in the spool's quarantine.
//!
//! A **heartbeat** is overwritten every `ledger.interval` in the directory of the hour in which it beats, in each sink,
//! and once more when the process ends; so the last one of each hour stays. `{started}` is the start of the process in
//! milliseconds since the epoch. Counts are cumulative in the process. `oldest_unstored` is about the required sinks;
//! if none is required it is the start of the process until the drain has stored everything. `ended` says that it has.
//!
//! # Invariants
//!
//! - **A page is put after all objects that it names, and before the sink's cursor moves.** An object without a page is
//!   on its way, or somebody else's.
//! - **A page is an object like any other (P2):** the same segment gives the same page, it is put on the condition that
//!   its key is free, and what is found there is compared. If the objects' keys differ after all (what occupied a key
//!   was removed between two attempts) the page gets a suffix too, and the one with the highest suffix is right.
//! - **Counts of pages come from the segment's footer**, which counts what is durable. Counts of heartbeats come from
//!   the process's memory: they lag by up to an interval, and what came after the last beat before a kill is missing.
//!   So they are never more than what the footers tell of the same time, once everything is stored.
//! - **A heartbeat delays nothing.** One is on its way at a time, for a bounded time, beside the objects; one that fails
//!   is counted and not tried again before its time.
//!
//! # Limits
//!
//! A page has at most two lines a stream and one of damage, each below [`MAX_LINE_BYTES`]; it is made and stored when
//! the objects of its segment are done, in the memory that the sink has for one of them. A heartbeat has at most
//! [`MAX_HEARTBEAT_BYTES`].

mod heartbeat;
mod page;

pub use heartbeat::{EventCounts, Heartbeat};
pub use page::{Damage, Entry, Line, Page};

/// The version of what the books look like.
pub const FORMAT_VERSION: u32 = 1;
/// The directory of the pages, behind the sink's prefix.
pub const SEGMENTS: &str = "_ledger/segments/";
/// The directory of the heartbeats, behind the sink's prefix.
pub const HEARTBEATS: &str = "_ledger/heartbeats/";
/// The longest line, in bytes: a key has at most 1 KiB, and the rest is of fixed length but for the stream's name.
pub const MAX_LINE_BYTES: usize = 2 * 1024;
/// The longest heartbeat, in bytes: 64 streams come to some 10 KiB.
pub const MAX_HEARTBEAT_BYTES: usize = 1024 * 1024;
