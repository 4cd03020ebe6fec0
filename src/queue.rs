//! Per-core queues between the workers and the spool writer, and the receipts that come back.
//!
//! Each worker has a *lane*: a ring with one producer and one consumer, so that no worker ever waits for another, and
//! the writer never for a worker. A submission gets the lane's next *ticket*; the writer takes what all lanes hold as
//! one group, makes it durable, and publishes for each lane the ticket up to which everything is settled. It wakes a
//! worker once for all of its batches in the group; the waiters themselves are the worker's own.
//!
//! Limits: a lane holds at most its capacity of submissions, the group in work as many again; bytes are bounded by the
//! reservations that the submissions carry. Invariants:
//!
//! - tickets of a lane are settled in the order in which they were given;
//! - a receipt is `Ok` only if its submission was synced before;
//! - every ticket is settled, by success, by failure, or by the writer's end;
//! - the witness of a submission is told once how its ticket was settled, whether or not its receipt is waited for.

mod intake;
mod lane;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
    },
    thread::Thread,
    time::Duration,
};

pub use intake::Intake;
pub use lane::{Full, Receipt, Submitter, Unbound, Witness};

use crate::{
    admission::{Reservation, Work},
    batch::{Frame, SegmentId},
};

/// One batch on its way to the disk.
#[derive(Debug)]
pub struct Submission {
    /// The lines that follow their schema, if any.
    pub accepted: Option<Frame>,
    /// The lines that do not, if any.
    pub rejected: Option<Frame>,
    /// The memory that the frames occupy; given back once they are synced.
    pub reservation: Reservation,
}

impl Submission {
    /// Its frames.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.accepted.iter().chain(&self.rejected)
    }
}

/// A submission was made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    /// A segment that was open when the submission was synced, or later: once it is stored, so is the submission.
    pub segment: SegmentId,
}

/// A submission was not made durable. It may still turn up in the spool, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Lost {
    /// The disk is full.
    #[error("the spool's disk is full")]
    DiskFull,
    /// Writing or syncing failed.
    #[error("the spool's disk failed")]
    DiskFailed,
    /// The writer has ended.
    #[error("the spool is closed")]
    Closed,
}

/// What the spool tells everybody: written by the writer and the sinks, read by admission, health and metrics.
#[derive(Debug, Default)]
pub struct Published {
    work_bytes: AtomicU64,
    work_nanos: AtomicU64,
    spool_bytes: AtomicU64,
    disk_full: AtomicBool,
    disk_failed: AtomicBool,
    stored_before: AtomicU64,
    turns: AtomicU64,
    at_disk: AtomicBool,
}

impl Published {
    /// How often the writer has looked for work: it does so a few times a second, unless a file call takes longer.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The writer looks for work.
    pub fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the writer is within a file call: however long that takes, it is the disk that is slow.
    pub fn at_disk(&self) -> bool {
        self.at_disk.load(Ordering::Relaxed)
    }

    /// Tells whether the writer is within a file call.
    pub fn set_at_disk(&self, at_disk: bool) {
        self.at_disk.store(at_disk, Ordering::Relaxed);
    }

    /// Bytes written and synced so far, and the time that took.
    pub fn work(&self) -> Work {
        Work {
            bytes: self.work_bytes.load(Ordering::Relaxed),
            busy: Duration::from_nanos(self.work_nanos.load(Ordering::Relaxed)),
        }
    }

    /// Adds to what was written and synced.
    pub fn add_work(&self, bytes: u64, busy: Duration) {
        self.work_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.work_nanos.fetch_add(busy.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Disk that the spool uses, in bytes.
    pub fn spool_bytes(&self) -> u64 {
        self.spool_bytes.load(Ordering::Relaxed)
    }

    /// Sets what the spool uses.
    pub fn set_spool_bytes(&self, bytes: u64) {
        self.spool_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether the last write found the disk full.
    pub fn disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    /// Tells whether a write found the disk full.
    pub fn set_disk_full(&self, full: bool) {
        self.disk_full.store(full, Ordering::Relaxed);
    }

    /// Whether nothing can be made durable, because the disk failed.
    pub fn disk_failed(&self) -> bool {
        self.disk_failed.load(Ordering::Relaxed)
    }

    /// Tells whether anything can be made durable.
    pub fn set_disk_failed(&self, failed: bool) {
        self.disk_failed.store(failed, Ordering::Relaxed);
    }

    /// The first segment that some required sink has not stored yet.
    pub fn stored_before(&self) -> SegmentId {
        SegmentId(self.stored_before.load(Ordering::Acquire))
    }
}

/// How anybody reaches the writer's thread.
#[derive(Debug, Default)]
pub struct Signal {
    thread: OnceLock<Thread>,
    sleeping: AtomicBool,
    seal: AtomicBool,
    hurry: AtomicBool,
    /// Whether the writer waits for the sinks to have stored more.
    waits_for_stored: AtomicBool,
    stop: AtomicBool,
    closed: AtomicBool,
}

impl Signal {
    /// Wakes the writer if it sleeps for want of work. Costs a fence and a load if it does not.
    fn work(&self) {
        // Pairs with the fence in `Intake::sleep`: either the writer sees the submission, or this sees it sleeping.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Asks for the open segment to be sealed soon.
    pub fn request_seal(&self) {
        if !self.seal.swap(true, Ordering::Relaxed) {
            self.unpark();
        }
    }

    /// Whether a seal is asked for.
    pub fn seal_requested(&self) -> bool {
        self.seal.load(Ordering::Relaxed)
    }

    /// Takes the request for a seal back: it was met.
    pub fn seal_done(&self) {
        self.seal.store(false, Ordering::Relaxed);
    }

    /// From now on a request for a seal is met at once: the instance drains, and nobody comes whom a batch could wait for.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
        self.unpark();
    }

    /// Whether [`Self::hurry`] was called.
    pub fn hurries(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    /// Wakes the writer once the sinks have stored more, or takes that back. To be called *before* it is looked how much
    /// they have: what they store afterwards wakes it.
    pub fn wait_for_stored(&self, wait: bool) {
        self.waits_for_stored.store(wait, Ordering::SeqCst);
    }

    /// Asks the writer to settle everything, to seal and to end.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.unpark();
    }

    /// Whether [`Self::request_stop`] was called.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// How the sinks tell the waiters what is stored.
#[derive(Debug, Clone)]
pub struct StoredNews {
    published: Arc<Published>,
    signal: Arc<Signal>,
    lanes: Vec<Arc<lane::Shared>>,
}

impl StoredNews {
    /// Every required sink has stored all segments before `segment`.
    pub fn publish(&self, segment: SegmentId) {
        self.published.stored_before.store(segment.0, Ordering::Release);
        self.lanes.iter().for_each(|lane| lane.wake());
        if self.signal.waits_for_stored.swap(false, Ordering::SeqCst) {
            self.signal.unpark();
        }
    }
}

/// The queues of one instance: an end for each of `workers`, and the writer's end. A lane holds `capacity` submissions.
pub fn queues(workers: usize, capacity: usize) -> (Vec<Unbound>, Intake) {
    let signal = Arc::new(Signal::default());
    let published = Arc::new(Published::default());
    let (unbound, lanes) = (0..workers).map(|_| lane::lane(capacity, &signal, &published)).unzip();
    (unbound, Intake::new(lanes, signal, published))
}

#[cfg(test)]
mod tests;
