//! The spool: the durable log on disk between receiving and everything else.
//!
//! One thread writes it, in one commit stream: whatever the workers have queued becomes one *group*, one append and
//! one fdatasync; then the receipts are settled. Groups fill *segments*, files that are sealed by size or age, read by
//! every sink at its own pace, and recycled when all have passed them. A sink takes sealed segments ([`Consumer`]), or
//! lines as they become durable ([`Follower`]). An outage of a required sink fills the disk quota, not the memory; without
//! a best-effort sink the spool goes on when it lags further than its [`Terms`] allow.
//!
//! # Layout
//!
//! ```text
//! {spool.dir}/
//!   lock                 held while a process uses the directory
//!   instance             the instance's ULID, made with the directory
//!   cursor-{sink}        how far each sink has come
//!   retired-{sink}       how far one had come that is not configured any more
//!   0000000042.open      the segment that is being written
//!   0000000041.sealed    segments that some sink still needs
//!   spare-7              files to be segments again
//!   quarantine/          what could not be read: places, torn tails, whole segments
//!
//! segment   block 0: magic, version, segment, instance, life
//!           groups, each beginning at a block:
//!             header (64 bytes): magic, version, codec, segment, life, sequence, lengths, checksums
//!             frames, as the workers made them: stream, received hour, book, checksum, lines
//!             zeros up to the next block
//!           footer and tail, once sealed
//! ```
//!
//! # Invariants
//!
//! - **No block that holds an acknowledged byte is ever written again.** A block has [`BLOCK_BYTES`], groups begin at
//!   blocks, so a torn write can only damage what was not acknowledged.
//! - **A receipt is settled after the sync**, and after the directory knows the file's name.
//! - **A group of a recycled file's former life is never taken for a new one**: its header names the segment and the
//!   life, and binds its frames by a checksum of their checksums.
//! - **After a failed write or sync a segment takes no more groups**: it is sealed behind its last verified byte, the
//!   waiters are told, and a new segment is begun in another file. Only if that fails too the disk counts as failed; it
//!   is tried again, and works again when a segment can be begun.
//! - **Nothing that a file holds stops a start or a sink.** What was synced and went bad is told apart from what a crash
//!   tore: of the first every sound frame is kept and the rest quarantined, the second is cut.
//! - **What a segment becomes is frozen when it is sealed**: keys, lines, counts, checksums and destinations stand in
//!   its footer.
//! - **A cursor moves, durably, after the sink has it; a segment goes after the last cursor has moved.** Where a follower
//!   stands within a segment becomes durable a moment later: what it is given again after a crash is at most that.
//! - **A follower reads no byte that is not durable**, and passes over no segment that still waits to be sealed.
//! - **A place in a segment stays what it is**, whether the segment is sealed, taken up after a crash or repaired: what a
//!   crash cuts lies behind everything that was durable, and what goes bad becomes a gap where it stood.
//! - **What a best-effort sink is not given is counted**, by events and bytes, and it goes on at the newest.
//! - **A file that somebody reads is never written over**: what is passed meanwhile is removed, not recycled.
//!
//! # Limits
//!
//! `spool.disk_quota` for the directory, `spool.segment_size` a segment (less where a target size of objects is reached
//! before), [`MAX_GROUP_BYTES`] a group (one submission
//! always fits), [`MAX_SPARES`] spare files, [`MAX_QUARANTINE_BYTES`] of damaged places and [`MAX_TAIL_BYTES`] of torn
//! tails. Whole segments that cannot be read are moved, and count against the quota until somebody removes them. A
//! follower within a segment moves its cursor on disk once in [`CURSOR_INTERVAL`] at the most.
//!
//! # Without a disk
//!
//! [`Spool::in_memory`] is the same over a [`MemoryDisk`]: the files, the cursors and the identity end with the process.
//! What is called durable here is not, then, so nothing is acknowledged for it: an answer waits for the required sinks.
//! A batch's bytes go from its reservation to the disk's own limit when its group is written; both are part of the memory
//! ceiling. Segments are sealed every window; while the sinks are busy with two, the third stays open and gathers.

mod cursor;
mod disk;
mod follow;
mod footer;
mod group;
mod memory;
mod open;
mod patient;
mod quarantine;
mod ratio;
mod reader;
mod readers;
mod recovery;
mod scan;
mod segment;
mod shelf;
mod spares;
mod survey;
mod terms;
mod walk;
mod writer;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use cursor::Position;
pub use disk::{Disk, DiskFile, DiskId, OpenError, RealDisk};
pub use follow::{CURSOR_INTERVAL, Followed, Follower, Lag, Mark, Piece, Stretch};
pub use footer::{Content, Destination, Footer, Former};
pub use memory::{MemoryDisk, RESERVE_BYTES};
pub use open::{Spool, StartError, TakenUp};
pub use reader::{Lines, SealedSegment};
pub use shelf::{Consumer, Held, Shelf};
pub use survey::{Survey, survey};
pub use terms::{MaxLag, Need, Start, Terms};
pub use walk::ReadError;
pub use writer::Step;

/// The unit in which groups are aligned and cursors are written, in bytes: what a disk writes whole, or what the page
/// cache does.
pub const BLOCK_BYTES: usize = 4_096;
/// How many bytes of frames a group gathers at the most, unless a single submission is larger.
pub const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How many files without content are kept to be segments again.
pub const MAX_SPARES: usize = 2;
/// How much of torn tails is kept, in bytes.
pub const MAX_TAIL_BYTES: u64 = 64 * 1024 * 1024;
/// How much of damaged places is kept, in bytes.
pub const MAX_QUARANTINE_BYTES: u64 = 256 * 1024 * 1024;

/// What the spool is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory.
    pub dir: PathBuf,
    /// Disk that it may use, in bytes.
    pub disk_quota: u64,
    /// Where a segment is sealed, in bytes.
    pub segment_size: u64,
    /// The compressed size at which the largest object of a segment is aimed: a segment is sealed once it is believed to
    /// become as large, and at `segment_size` at the latest; `None` for `segment_size` alone.
    pub object_size: Option<u64>,
    /// When a segment is sealed at the latest.
    pub seal_after: Duration,
    /// By what part of `seal_after` instances differ, 0 to 1, so that a fleet does not upload in the same second.
    pub seal_jitter: f64,
    /// How often `ack = "stored"` may cause a seal.
    pub early_seal_interval: Duration,
    /// The shortest time from the beginning of one sync to that of the next.
    pub sync_interval: Duration,
    /// Bytes a second that are appended at most; `None` for no limit.
    pub max_rate: Option<u64>,
    /// What each sink makes of the segments that are sealed from now on.
    pub destinations: Vec<Destination>,
}

/// The disk behind a spool, shared by its writer and its readers.
type SharedDisk = Arc<dyn Disk>;

#[cfg(test)]
mod tests;
