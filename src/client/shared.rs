//! What gathering, keeping and sending have in common.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    batcher::{BatchLimits, Batcher, Closed, Packed},
    buffer::{Buffer, Now},
    clock::Clock,
    counts::{Counts, Tally},
    hints::{Heeded, Hints},
};
use crate::batch::StreamName;

/// What gathering, keeping and sending have in common.
///
/// Who holds the buffer may be waiting for the disk. All other locks are held for a moment, so that logging never waits.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: BatchLimits,
    /// JSON, an object.
    pub(super) context: Vec<u8>,
    pub(super) batcher: Mutex<Batcher>,
    pub(super) buffer: Mutex<Buffer>,
    /// What is in the buffer, or on its way there.
    pub(super) in_buffer: Mutex<Tally>,
    pub(super) counts: Mutex<Counts>,
    pub(super) hints: Mutex<Heeded>,
    /// A batch was opened or closed, or is to be closed at another time.
    pub(super) gathered: Notify,
    /// A batch came into the buffer.
    pub(super) buffered: Notify,
}

impl Shared {
    /// What the server asks for at present.
    pub(super) fn hints(&self) -> Hints {
        lock(&self.hints).at(self.clock.uptime())
    }

    /// Takes over what an answer asks for; `taken` is whether it says that a batch was taken.
    pub(super) fn hear(&self, heard: Hints, taken: bool) {
        let now = self.clock.uptime();
        let mut hints = lock(&self.hints);
        let before = hints.at(now);
        hints.hear(heard, taken, now);
        let changed = hints.at(now) != before;
        drop(hints);
        if changed {
            self.gathered.notify_one();
        }
    }

    /// Takes an event's JSON.
    pub(super) fn gather(&self, stream: &StreamName, event: &[u8]) {
        let mut batcher = lock(&self.batcher);
        let was_due = batcher.next_due(Duration::ZERO);
        let dropped = batcher.add(stream, event, self.clock.uptime());
        let wake = batcher.has_closed() || batcher.next_due(Duration::ZERO) != was_due;
        drop(batcher);
        if dropped.batches > 0 {
            lock(&self.counts).dropped_full += dropped;
        }
        if wake {
            self.gathered.notify_one();
        }
    }

    /// Brings batches into the buffer when they are to be closed. Does not end.
    pub(super) async fn keep(self: &Arc<Self>) {
        loop {
            let age = self.batch_age();
            let due = {
                let mut batcher = lock(&self.batcher);
                batcher.close_due(self.clock.uptime(), age);
                if batcher.has_closed() { None } else { Some(batcher.next_due(age)) }
            };
            match due {
                None => self.put_away().await,
                Some(None) => self.gathered.notified().await,
                Some(Some(due)) => {
                    tokio::select! {
                        () = self.clock.sleep_until(due) => {}
                        () = self.gathered.notified() => {}
                    }
                }
            }
        }
    }

    /// How old a batch may become before it is closed.
    fn batch_age(&self) -> Duration {
        self.hints().batch_age(self.limits.age, lock(&self.in_buffer).batches > 0)
    }

    /// What waits: gathered, or in the buffer. Does not wait for the disk.
    pub(super) fn waiting(&self) -> Tally {
        let batcher = lock(&self.batcher);
        let mut all = *lock(&self.in_buffer);
        all += batcher.waiting();
        all
    }

    /// Takes the oldest closed batch, which is on its way into the buffer from then on.
    fn take_closed(&self) -> Option<Closed> {
        let mut batcher = lock(&self.batcher);
        let closed = batcher.pop()?;
        *lock(&self.in_buffer) += closed.tally();
        Some(closed)
    }

    /// Closes every batch and brings it into the buffer.
    pub(super) async fn put_all_away(self: &Arc<Self>) {
        lock(&self.batcher).close_due(Duration::MAX, Duration::ZERO);
        self.put_away().await;
    }

    /// Brings closed batches into the buffer.
    async fn put_away(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let put = self.with_buffer(move |buffer, now, counts| {
            // Whoever has the buffer takes the oldest batch next, so that they stay in order.
            while let Some(closed) = shared.take_closed() {
                let id = buffer.ids.next(now.wall);
                buffer.put(Packed::new(&closed, &shared.context, id), now, counts);
            }
        });
        put.await.unwrap_or_default();
        self.buffered.notify_one();
    }

    /// Works with the buffer where waiting for the disk is allowed. What `work` counts is counted when it is done.
    ///
    /// # Errors
    /// If the runtime is going away.
    pub(super) async fn with_buffer<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Buffer, Now, &mut Counts) -> T + Send + 'static,
    ) -> io::Result<T> {
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let mut counts = Counts::default();
            let mut buffer = lock(&shared.buffer);
            let done = work(&mut buffer, shared.now(), &mut counts);
            // At once, so that who looks at the counts first finds each batch once.
            let mut counted = lock(&shared.counts);
            *counted += counts;
            *lock(&shared.in_buffer) = buffer.waiting();
            drop(counted);
            done
        });
        Ok(done.await?)
    }

    fn now(&self) -> Now {
        Now { uptime: self.clock.uptime(), wall: self.clock.wall() }
    }
}

/// Locks `mutex`, whoever panicked with it: what it guards is never half done for long.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
