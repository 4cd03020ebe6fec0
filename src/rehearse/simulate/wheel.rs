//! Which batch comes back when: a calendar of short buckets, so that ten million devices wait in little memory.
//!
//! A batch that waits takes [`Waiting`]'s 16 bytes; what else a [`Delivery`] has follows from its number. Buckets are
//! put in order only when their time comes, which costs less than a heap of everything.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::rehearse::device::{Delivery, Mix};

/// The unit of time in which devices wait, in nanoseconds.
const TICK_NANOS: u64 = 10_000;
/// How much time lies in a bucket, in ticks: 10 ms.
const BUCKET_TICKS: u32 = 1_000;
/// The mark in [`Waiting::tries`] that the first try was refused.
const REFUSED_FIRST: u32 = 1 << 31;

/// A batch on its way or waiting, as short as it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Waiting {
    /// When this try is due, in ticks. Comes first: it is the order.
    due: u32,
    batch: u32,
    /// When the first try was due, in ticks.
    made: u32,
    /// Which try this is, and [`REFUSED_FIRST`].
    tries: u32,
}

const _: () = assert!(size_of::<Waiting>() == 16);

impl Waiting {
    /// `delivery` in short; `None` if it is due later than can be written: half a day.
    pub(super) fn of(delivery: &Delivery) -> Option<Self> {
        let mark = if delivery.refused_first { REFUSED_FIRST } else { 0 };
        Some(Self {
            due: ticks(delivery.due)?,
            batch: u32::try_from(delivery.batch).ok()?,
            made: ticks(delivery.made)?,
            tries: delivery.try_number.min(REFUSED_FIRST - 1) | mark,
        })
    }

    /// The same in full, where the batches come from `devices` devices in turn, which behave as `mix` says.
    pub(super) fn delivery(self, devices: u64, mix: &Mix) -> Delivery {
        let batch = u64::from(self.batch);
        let device = batch % devices.max(1);
        Delivery {
            device,
            batch,
            behaviour: mix.of(device),
            try_number: self.tries & !REFUSED_FIRST,
            made: time(self.made),
            due: time(self.due),
            refused_first: self.tries & REFUSED_FIRST != 0,
        }
    }

    /// When this try is due, in nanoseconds.
    pub(super) fn due_nanos(self) -> u64 {
        u64::from(self.due) * TICK_NANOS
    }
}

/// Rounded up: nobody comes before their time.
fn ticks(time: Duration) -> Option<u32> {
    u32::try_from(time.as_nanos().div_ceil(TICK_NANOS.into())).ok()
}

fn time(ticks: u32) -> Duration {
    Duration::from_nanos(u64::from(ticks) * TICK_NANOS)
}

/// Batches in the order in which they are due.
#[derive(Debug)]
pub(super) struct Wheel {
    buckets: Vec<Vec<Waiting>>,
    /// The next bucket that has not been opened.
    next: usize,
    /// What was in the last opened bucket, the first due last.
    line: Vec<Waiting>,
    /// What came into buckets that had been opened.
    soon: BinaryHeap<Reverse<Waiting>>,
    waiting: u64,
    /// Of those that wait: those that are not seen again.
    late: u64,
    most: u64,
}

impl Wheel {
    /// A calendar that reaches to `end`.
    pub(super) fn new(end: Duration) -> Self {
        let buckets = ticks(end).unwrap_or(u32::MAX) / BUCKET_TICKS + 1;
        Self {
            buckets: vec![Vec::new(); buckets as usize],
            next: 0,
            line: Vec::new(),
            soon: BinaryHeap::new(),
            waiting: 0,
            late: 0,
            most: 0,
        }
    }

    /// Puts one in; what is due behind the calendar's end only counts as waiting.
    pub(super) fn put(&mut self, waiting: Waiting) {
        let bucket = (waiting.due / BUCKET_TICKS) as usize;
        if bucket < self.next {
            self.soon.push(Reverse(waiting));
        } else if let Some(bucket) = self.buckets.get_mut(bucket) {
            bucket.push(waiting);
        } else {
            return self.put_late();
        }
        self.count();
    }

    /// One more waits for so long that it is not seen again.
    pub(super) fn put_late(&mut self) {
        self.late += 1;
        self.count();
    }

    fn count(&mut self) {
        self.waiting += 1;
        self.most = self.most.max(self.waiting);
    }

    /// When the first is due, in nanoseconds, if that is not after the bucket of `until`. A bucket is opened no sooner
    /// than it must be: what still comes into it would have to be put in order one by one.
    pub(super) fn next_due(&mut self, until: u64) -> Option<u64> {
        let last = until / (u64::from(BUCKET_TICKS) * TICK_NANOS);
        while self.line.is_empty() && self.soon.is_empty() {
            if self.next as u64 > last {
                return None;
            }
            self.line = std::mem::take(self.buckets.get_mut(self.next)?);
            self.line.sort_unstable_by(|one, other| other.cmp(one));
            self.next += 1;
        }
        let (line, soon) = (self.line.last(), self.soon.peek().map(|Reverse(waiting)| waiting));
        line.into_iter().chain(soon).min().map(|waiting| waiting.due_nanos())
    }

    /// Takes the first out, if [`Self::next_due`] has found one.
    pub(super) fn take(&mut self) -> Option<Waiting> {
        let soon = self.soon.peek().map(|Reverse(waiting)| waiting);
        let taken = match (self.line.last(), soon) {
            (Some(line), Some(soon)) if line > soon => self.soon.pop().map(|Reverse(waiting)| waiting),
            (None, _) => self.soon.pop().map(|Reverse(waiting)| waiting),
            _ => self.line.pop(),
        };
        self.waiting -= u64::from(taken.is_some());
        taken
    }

    /// Whether nobody comes back any more.
    pub(super) fn is_over(&self) -> bool {
        self.waiting == self.late
    }

    /// How many wait, and the most that ever did.
    pub(super) fn waiting(&self) -> (u64, u64) {
        (self.waiting, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::device::Behaviour;

    fn due(micros: u64, batch: u64) -> Waiting {
        Waiting::of(&Delivery::new(0, batch, Behaviour::Behave, Duration::from_micros(micros))).unwrap()
    }

    #[test]
    fn batches_come_out_in_the_order_of_their_time_whenever_they_were_put_in() {
        let mut wheel = Wheel::new(Duration::from_secs(100));
        let mut random = fastrand::Rng::with_seed(3);
        let mut expected = BinaryHeap::new();
        let (mut now, mut taken) = (0, 0);
        for batch in 0..20_000 {
            let waiting = due(now / 1_000 + random.u64(..50_000), batch);
            wheel.put(waiting);
            expected.push(Reverse(waiting));
            while expected.len() > 300 {
                let Reverse(first) = expected.pop().unwrap();
                let until = first.due_nanos() + random.u64(..30_000_000);
                assert_eq!(wheel.next_due(until), Some(first.due_nanos()));
                assert_eq!(wheel.take(), Some(first));
                assert!(first.due_nanos() >= now);
                (now, taken) = (first.due_nanos(), taken + 1);
            }
        }
        assert_eq!((wheel.waiting().0, taken), (expected.len() as u64, 20_000 - 300));
        assert!(wheel.waiting().1 >= 300);
        while let Some(Reverse(first)) = expected.pop() {
            assert!(!wheel.is_over());
            assert_eq!((wheel.next_due(u64::MAX), wheel.take()), (Some(first.due_nanos()), Some(first)));
        }
        assert!(wheel.is_over());
        assert_eq!((wheel.next_due(u64::MAX), wheel.take(), wheel.waiting().0), (None, None, 0));
    }

    #[test]
    fn what_is_due_behind_the_end_waits_and_is_not_seen_again() {
        let mut wheel = Wheel::new(Duration::from_millis(15));
        for micros in [5_000, 500_000] {
            wheel.put(due(micros, 1));
        }
        assert_eq!((wheel.next_due(4_000_000), wheel.take()), (Some(5_000_000), Some(due(5_000, 1))));
        assert_eq!((wheel.next_due(u64::MAX), wheel.waiting(), wheel.is_over()), (None, (1, 2), true));
    }

    #[test]
    fn a_batch_in_short_is_the_same_batch() {
        let mix = Mix { behave: 0.5, careless: 0.3, stubborn: 0.2 };
        for refused_first in [false, true] {
            let delivery = Delivery {
                device: 7,
                batch: 1_007,
                behaviour: mix.of(7),
                try_number: 12,
                made: Duration::from_micros(30),
                due: Duration::from_secs(40_000),
                refused_first,
            };
            assert_eq!(Waiting::of(&delivery).unwrap().delivery(1_000, &mix), delivery);
        }
        let late = Delivery::new(0, 0, Behaviour::Behave, Duration::from_hours(24));
        assert_eq!(Waiting::of(&late), None);
    }
}
