//! The writer's end of all lanes: taking what is queued as a group, and settling it.

use std::{
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    thread,
    time::Duration,
};

use super::{Lost, Published, Signal, StoredNews, Submission, lane::LaneEnd};
use crate::batch::SegmentId;

/// The writer's end of all lanes.
#[derive(Debug)]
pub struct Intake {
    lanes: Vec<LaneEnd>,
    /// How many submissions of each lane are taken and not settled.
    taken: Vec<u64>,
    /// The lane to take from first, so that none is always last.
    first: usize,
    signal: Arc<Signal>,
    published: Arc<Published>,
}

impl Intake {
    pub(super) fn new(lanes: Vec<LaneEnd>, signal: Arc<Signal>, published: Arc<Published>) -> Self {
        Self { taken: vec![0; lanes.len()], lanes, first: 0, signal, published }
    }

    /// How anybody reaches the writer.
    pub fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// What the spool tells everybody.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// How the sinks tell the waiters what is stored.
    pub fn stored_news(&self) -> StoredNews {
        StoredNews {
            published: Arc::clone(&self.published),
            signal: Arc::clone(&self.signal),
            lanes: self.lanes.iter().map(|(_, shared)| Arc::clone(shared)).collect(),
        }
    }

    /// Makes the current thread the one that is woken. To be called once, before [`Self::sleep`].
    pub fn bind(&self) {
        let _ = self.signal.thread.set(thread::current());
    }

    /// Moves queued submissions to `group` until its frames come to `max_bytes` or nothing is queued; at least one if
    /// there is one. A submission that does not fit is left where it is.
    pub fn take(&mut self, max_bytes: usize, group: &mut Vec<Submission>) {
        let mut bytes = 0;
        let lanes = self.lanes.len();
        for turn in 0..lanes {
            let lane = (self.first + turn) % lanes;
            let (consumer, _) = &mut self.lanes[lane];
            while let Ok(next) = consumer.peek() {
                let more: usize = next.frames().map(|frame| frame.bytes().len()).sum();
                if bytes > 0 && bytes + more > max_bytes {
                    // Not the same again, or a lane that is always full would starve the others.
                    self.first = (lane + 1) % lanes;
                    return;
                }
                bytes += more;
                if let Ok(submission) = consumer.pop() {
                    self.taken[lane] += 1;
                    group.push(submission);
                }
            }
        }
        self.first = (self.first + 1) % lanes.max(1);
    }

    /// Settles everything that was taken, and wakes each worker that waits for some of it once.
    pub fn settle(&mut self, outcome: Result<SegmentId, Lost>) {
        for ((_, shared), taken) in self.lanes.iter().zip(&mut self.taken) {
            let count = std::mem::take(taken);
            if count > 0 {
                shared.settle(count, outcome);
                shared.wake();
            }
        }
    }

    /// Sleeps until something is queued, a seal or the stop is asked for, or `limit` is over.
    pub fn sleep(&self, limit: Duration) {
        self.signal.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let idle = self.lanes.iter().all(|(consumer, _)| consumer.is_empty());
        // A request for a seal wakes the writer once; until it may be met, the writer sleeps on.
        if idle && !self.signal.stopping() {
            thread::park_timeout(limit);
        }
        self.signal.sleeping.store(false, Ordering::Relaxed);
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|(consumer, _)| consumer.is_empty())
    }
}

impl Drop for Intake {
    /// However the writer ends, nobody waits for it any longer.
    fn drop(&mut self) {
        // Without a writer nothing can be made durable, whatever the disk would do.
        if thread::panicking() {
            self.published.set_disk_failed(true);
        }
        self.signal.closed.store(true, Ordering::Release);
        for ((consumer, shared), taken) in self.lanes.iter_mut().zip(&self.taken) {
            let mut count = *taken;
            while consumer.pop().is_ok() {
                count += 1;
            }
            if count > 0 {
                shared.settle(count, Err(Lost::Closed));
            }
            shared.wake();
        }
    }
}
