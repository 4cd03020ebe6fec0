//! A worker's end of a lane: submitting, and waiting for the receipt.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    fmt,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use rtrb::{Consumer, Producer, PushError, RingBuffer};
use tokio::sync::Notify;

use super::{Durable, Lost, Published, Signal, Submission};
use crate::batch::SegmentId;

/// What a worker and the writer share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Every ticket below this is settled.
    settled: AtomicU64,
    /// The segment of the last durable group.
    segment: AtomicU64,
    /// Whether `failures` has an entry, so that its lock is taken only after a failure.
    failed: AtomicBool,
    /// Tickets that were settled by failure, `from..to`, until the worker has taken them over.
    failures: Mutex<Vec<(u64, u64, Lost)>>,
    /// Something was settled or stored.
    news: Notify,
}

impl Shared {
    /// Settles `count` tickets more. The worker learns of it by [`Self::wake`].
    pub(super) fn settle(&self, count: u64, outcome: Result<SegmentId, Lost>) {
        let from = self.settled.load(Ordering::Relaxed);
        match outcome {
            Ok(segment) => self.segment.store(segment.0, Ordering::Relaxed),
            Err(lost) => {
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).push((from, from + count, lost));
                self.failed.store(true, Ordering::Relaxed);
            }
        }
        self.settled.store(from + count, Ordering::Release);
    }

    /// Wakes the worker, once for whatever was settled or stored since it last looked.
    pub(super) fn wake(&self) {
        self.news.notify_one();
    }
}

/// The writer's end of a lane.
pub(super) type LaneEnd = (Consumer<Submission>, Arc<Shared>);

pub(super) fn lane(capacity: usize, signal: &Arc<Signal>, published: &Arc<Published>) -> (Unbound, LaneEnd) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let shared = Arc::new(Shared::default());
    let (signal, published) = (Arc::clone(signal), Arc::clone(published));
    (Unbound { producer, shared: Arc::clone(&shared), signal, published }, (consumer, shared))
}

/// A worker's end of a lane that has not been brought to the worker's thread yet.
#[derive(Debug)]
pub struct Unbound {
    producer: Producer<Submission>,
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    published: Arc<Published>,
}

impl Unbound {
    /// The submitter, which stays on this thread. [`Submitter::deliver`] must run beside it.
    pub fn bind(self) -> Rc<Submitter> {
        Rc::new(Submitter {
            producer: RefCell::new(self.producer),
            waiting: RefCell::default(),
            stored: RefCell::default(),
            shared: self.shared,
            signal: self.signal,
            published: self.published,
        })
    }
}

/// The lane has no place, or the writer has ended. The submission comes back.
#[derive(Debug)]
pub struct Full(pub Submission);

/// A worker's end of a lane.
#[derive(Debug)]
pub struct Submitter {
    producer: RefCell<Producer<Submission>>,
    waiting: RefCell<Waiting>,
    stored: RefCell<StoredWaiters>,
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    published: Arc<Published>,
}

/// Who waits for which segment to be stored.
#[derive(Debug, Default)]
struct StoredWaiters {
    /// By a number of their own, under which whoever gives up is forgotten.
    wakers: HashMap<u64, (SegmentId, Waker)>,
    next: u64,
    /// What was stored when they were looked through last.
    seen: SegmentId,
}

/// Who keeps the books of a submission. It is told what became of it, once, whether or not anybody still waits for the
/// receipt: a client that went away, or did not ask for more than memory, drops it.
pub trait Witness: fmt::Debug {
    /// The submission is durable, or it is lost.
    fn settled(&self, outcome: Result<(), Lost>);
}

/// A ticket that is not settled yet.
#[derive(Debug)]
struct Slot {
    /// `None` once it was told.
    witness: Option<Rc<dyn Witness>>,
    /// Whether its receipt lives. A loss is kept only for one that may still ask for it.
    awaited: bool,
    waker: Option<Waker>,
}

/// Who waits for which ticket.
#[derive(Debug, Default)]
struct Waiting {
    /// Tickets below this are settled, as far as this worker has been told.
    settled: u64,
    /// The tickets from `settled` on.
    slots: VecDeque<Slot>,
    /// Tickets that failed, `from..to`, not all of them below `settled` yet.
    failures: Vec<(u64, u64, Lost)>,
    /// Settled tickets that failed and whose receipts live.
    lost: HashMap<u64, Lost>,
    /// The segment of the last durable group.
    segment: SegmentId,
}

impl Submitter {
    /// Puts a batch on its way to the disk.
    ///
    /// # Errors
    /// [`Full`] if the lane holds as many as it may, or if the writer has ended.
    pub fn submit(self: &Rc<Self>, submission: Submission) -> Result<Receipt, Box<Full>> {
        self.push(submission, None)
    }

    /// Puts a batch on its way to the disk, and tells `witness` what became of it.
    ///
    /// # Errors
    /// [`Full`] if the lane holds as many as it may, or if the writer has ended; `witness` is told nothing then.
    pub fn submit_before(
        self: &Rc<Self>,
        witness: Rc<dyn Witness>,
        submission: Submission,
    ) -> Result<Receipt, Box<Full>> {
        self.push(submission, Some(witness))
    }

    fn push(self: &Rc<Self>, submission: Submission, witness: Option<Rc<dyn Witness>>) -> Result<Receipt, Box<Full>> {
        if self.signal.closed() {
            return Err(Box::new(Full(submission)));
        }
        let pushed = self.producer.borrow_mut().push(submission);
        if let Err(PushError::Full(submission)) = pushed {
            return Err(Box::new(Full(submission)));
        }
        let mut waiting = self.waiting.borrow_mut();
        let ticket = waiting.settled + waiting.slots.len() as u64;
        waiting.slots.push_back(Slot { witness, awaited: true, waker: None });
        self.signal.work();
        Ok(Receipt { submitter: Rc::clone(self), ticket })
    }

    /// Whether every witness was told what became of its submission.
    pub fn is_idle(&self) -> bool {
        self.waiting.borrow().slots.iter().all(|slot| slot.witness.is_none())
    }

    /// Whether the writer has ended: nothing is taken any more.
    pub fn is_closed(&self) -> bool {
        self.signal.closed()
    }

    /// Whether the lane has a place.
    pub fn has_room(&self) -> bool {
        self.producer.borrow().slots() > 0
    }

    /// What the spool tells everybody.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Asks for the open segment to be sealed soon.
    pub fn request_seal(&self) {
        self.signal.request_seal();
    }

    /// Waits until every required sink has stored `segment`. It does not wait beyond the spool's life by itself: who
    /// waits sets a limit.
    pub async fn stored(&self, segment: SegmentId) {
        let waiter = StoredWaiter::new(self);
        std::future::poll_fn(|context| {
            if self.published.stored_before() > segment {
                return Poll::Ready(());
            }
            self.stored.borrow_mut().wakers.insert(waiter.number, (segment, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Wakes the waiters of this worker when the writer or a sink has news. Never ends.
    pub async fn deliver(self: Rc<Self>) {
        loop {
            self.shared.news.notified().await;
            self.deliver_once();
        }
    }

    /// How many losses are kept for receipts that live.
    #[cfg(test)]
    pub(super) fn losses(&self) -> usize {
        self.waiting.borrow().lost.len()
    }

    pub(super) fn deliver_once(&self) {
        let (mut ready, mut told) = (Vec::new(), Vec::new());
        let mut waiting = self.waiting.borrow_mut();
        let Waiting { settled, slots, failures, lost, segment } = &mut *waiting;
        // Before `settled` is read: whatever is not settled by then is settled as lost, if at all.
        let closed = self.signal.closed();
        let (from, to) = (*settled, self.shared.settled.load(Ordering::Acquire));
        if self.shared.failed.swap(false, Ordering::Relaxed) {
            failures.append(&mut self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner));
        }
        *segment = SegmentId(self.shared.segment.load(Ordering::Relaxed));
        *settled = to;
        for (ticket, slot) in (from..to).zip(slots.drain(..(to - from) as usize)) {
            let failure = failures.iter().find(|(from, to, _)| (*from..*to).contains(&ticket)).map(|(.., lost)| *lost);
            if let Some(failure) = failure.filter(|_| slot.awaited) {
                lost.insert(ticket, failure);
            }
            told.extend(slot.witness.map(|witness| (witness, failure.map_or(Ok(()), Err))));
            ready.extend(slot.waker);
        }
        failures.retain(|(_, end, _)| *end > to);
        if closed {
            for slot in slots {
                told.extend(slot.witness.take().map(|witness| (witness, Err(Lost::Closed))));
                ready.extend(slot.waker.take());
            }
        }
        drop(waiting);
        // Before their waiters answer: who reads an answer finds it in the books.
        for (witness, outcome) in told {
            witness.settled(outcome);
        }
        let stored_before = self.published.stored_before();
        let mut stored = self.stored.borrow_mut();
        // Each connection may have one, and there is news with every group: they are looked through only for their own.
        if stored.seen != stored_before {
            stored.seen = stored_before;
            stored.wakers.retain(|_, (segment, waker)| {
                let waits = *segment >= stored_before;
                if !waits {
                    ready.push(waker.clone());
                }
                waits
            });
        }
        drop(stored);
        ready.into_iter().for_each(Waker::wake);
    }
}

/// Somebody who waits for a segment to be stored; forgotten when it is dropped.
struct StoredWaiter<'s> {
    submitter: &'s Submitter,
    number: u64,
}

impl<'s> StoredWaiter<'s> {
    fn new(submitter: &'s Submitter) -> Self {
        let mut stored = submitter.stored.borrow_mut();
        stored.next += 1;
        Self { submitter, number: stored.next }
    }
}

impl Drop for StoredWaiter<'_> {
    fn drop(&mut self) {
        self.submitter.stored.borrow_mut().wakers.remove(&self.number);
    }
}

/// The promise that a submitted batch waits for: ready once the batch is synced, or lost.
#[derive(Debug)]
#[must_use = "a batch is acknowledged only by its receipt"]
pub struct Receipt {
    submitter: Rc<Submitter>,
    ticket: u64,
}

impl Future for Receipt {
    type Output = Result<Durable, Lost>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waiting = self.submitter.waiting.borrow_mut();
        let Some(place) = self.ticket.checked_sub(waiting.settled) else {
            return Poll::Ready(match waiting.lost.remove(&self.ticket) {
                Some(lost) => Err(lost),
                None => Ok(Durable { segment: waiting.segment }),
            });
        };
        // What the writer settled before it ended is on its way here.
        if self.submitter.signal.closed() && self.submitter.shared.settled.load(Ordering::Acquire) <= self.ticket {
            return Poll::Ready(Err(Lost::Closed));
        }
        if let Some(Slot { waker, .. }) = waiting.slots.get_mut(place as usize) {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
        }
        Poll::Pending
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        // A client that went away does not ask for its loss, be it known already or not.
        let mut waiting = self.submitter.waiting.borrow_mut();
        match self.ticket.checked_sub(waiting.settled) {
            Some(place) => {
                if let Some(slot) = waiting.slots.get_mut(place as usize) {
                    slot.awaited = false;
                    slot.waker = None;
                }
            }
            None => {
                waiting.lost.remove(&self.ticket);
            }
        }
    }
}
