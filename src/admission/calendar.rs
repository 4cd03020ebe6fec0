//! A calendar of seconds in which refused clients have been told to come back: the virtual queue of P6.
//!
//! One atomic number a second, which many workers add to without waiting for each other. A number carries the second
//! that it is of, so that nothing has to clear the calendar as time goes by: a number of a second that has passed
//! counts as none.

use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicU64, Ordering},
};

/// Amounts are kept in units of so much, rounded up: 32 bits of them are 256 GiB a second.
const GRAIN: u64 = 64;
/// Classes of amounts: four for each doubling, so that no two of a class differ by more than a quarter.
const CLASSES: usize = 4 * u64::BITS as usize;

/// What is booked for each of the coming seconds.
#[derive(Debug)]
pub(super) struct Calendar {
    /// The second in the upper half, the booked grains in the lower.
    days: Box<[AtomicU64]>,
    /// For amounts of each [class](class): a second in the upper half and one in the lower, between which, without the
    /// latter, none had room for one that came. A crowd whose batches are alike leaves a little of each second, and would
    /// look at them all again and again. Forgotten when room may have changed.
    full: [AtomicU64; CLASSES],
}

impl Calendar {
    /// A calendar that reaches `seconds` into the future.
    pub(super) fn new(seconds: u32) -> Self {
        // One for the second that runs, and one for those who are late by a moment.
        let days = (0..u64::from(seconds) + 2).map(|_| AtomicU64::new(0)).collect();
        Self { days, full: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// What is booked for `second`.
    pub(super) fn booked(&self, second: u32) -> u64 {
        grains(self.day(second).load(Ordering::Relaxed), second).unwrap_or(0) * GRAIN
    }

    /// Books `amount` for the first second of `from..=until` that has room for it, where `room` tells how much may be
    /// booked for a second; which it is. An amount for which no second has room enough takes what is left of the first that
    /// has any, and goes on behind it.
    pub(super) fn book(&self, (from, until): (u32, u32), amount: u64, room: impl Fn(u32) -> u64) -> Option<u32> {
        let amount = amount.max(1);
        let full = &self.full[class(amount)];
        let known = full.load(Ordering::Relaxed);
        let (begin, end) = ((known >> 32) as u32, known as u32);
        let (begin, start) = if (begin..=end).contains(&from) { (begin, end) } else { (from, from) };
        let found = (start..=until).find(|second| self.book_in(*second, until, amount, &room));
        let end = found.unwrap_or(until.saturating_add(1)).max(start);
        if end > start {
            full.store(u64::from(begin) << 32 | u64::from(end), Ordering::Relaxed);
        }
        found
    }

    /// Books `amount` for `second`, if it has room for it; or for it and the seconds behind it, up to `until`.
    fn book_in(&self, second: u32, until: u32, amount: u64, room: &impl Fn(u32) -> u64) -> bool {
        let room_then = room(second);
        if room_then >= GRAIN && self.add_within(second, amount, room_then) {
            return true;
        }
        let left = room_then.saturating_sub(self.booked(second)) / GRAIN * GRAIN;
        let begins = left > 0 && amount > room_then && self.add_within(second, left, room_then);
        if begins {
            self.spill(second + 1..=until, amount - left, room);
        }
        begins
    }

    /// Books `amount` for `second`, however much that becomes.
    pub(super) fn add(&self, second: u32, amount: u64) {
        self.add_within(second, amount, u64::MAX);
    }

    /// Looks from the beginning again: there may be more room than there was.
    pub(super) fn room_changed(&self) {
        self.full.iter().for_each(|full| full.store(0, Ordering::Relaxed));
    }

    fn spill(&self, seconds: RangeInclusive<u32>, mut amount: u64, room: &impl Fn(u32) -> u64) {
        for second in seconds {
            let room = room(second);
            let part = amount.min(room.saturating_sub(self.booked(second)) / GRAIN * GRAIN);
            if part > 0 && self.add_within(second, part, room) {
                amount -= part;
            }
            if amount == 0 {
                return;
            }
        }
    }

    /// Adds `amount` to `second` if that leaves it within `room`.
    fn add_within(&self, second: u32, amount: u64, room: u64) -> bool {
        let day = self.day(second);
        let more = amount.div_ceil(GRAIN);
        let most = room / GRAIN;
        let add = |found: u64| {
            let booked = grains(found, second)?;
            let booked = booked.saturating_add(more).min(u64::from(u32::MAX));
            (booked <= most).then_some(u64::from(second) << 32 | booked)
        };
        day.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn day(&self, second: u32) -> &AtomicU64 {
        &self.days[second as usize % self.days.len()]
    }
}

/// Which class an amount above 0 belongs to.
fn class(amount: u64) -> usize {
    let grains = amount.div_ceil(GRAIN);
    let doublings = grains.ilog2();
    // The two bits behind the highest.
    let quarter = (grains << 2 >> doublings) & 3;
    4 * doublings as usize + quarter as usize
}

/// The grains that `day` says are booked for `second`; `None` if it belongs to a later second already.
fn grains(day: u64, second: u32) -> Option<u64> {
    let of = (day >> 32) as u32;
    match of.cmp(&second) {
        std::cmp::Ordering::Less => Some(0),
        std::cmp::Ordering::Equal => Some(day & u64::from(u32::MAX)),
        std::cmp::Ordering::Greater => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_filled_in_turn_and_forgotten_when_they_have_passed() {
        let calendar = Calendar::new(10);
        let book = |from, amount| calendar.book((from, from + 9), amount, |_| 640);
        assert_eq!([book(1, 320), book(1, 320), book(1, 64), book(1, 640), book(1, 576)], [1, 1, 2, 3, 2].map(Some));
        assert_eq!([1, 2, 3, 4].map(|second| calendar.booked(second)), [640, 640, 640, 0]);
        // Twelve seconds later the same places are of other seconds.
        assert_eq!(calendar.booked(13), 0);
        assert_eq!(book(13, 640), Some(13));
        assert_eq!((calendar.booked(1), calendar.booked(13)), (0, 640));
        assert!(!calendar.add_within(1, 1, 640), "a second that has passed is not booked any more");
    }

    #[test]
    fn a_calendar_that_is_full_says_so_and_can_be_overbooked() {
        let calendar = Calendar::new(4);
        let book = |amount| calendar.book((1, 4), amount, |second| if second == 2 { 0 } else { 64 });
        assert_eq!([book(64), book(64), book(64), book(64)], [Some(1), Some(3), Some(4), None]);
        calendar.add(4, 6_400);
        assert_eq!(calendar.booked(4), 6_464);
        assert_eq!(calendar.book((1, 4), 64, |_| 128), None, "what was full is not looked at again");
        calendar.room_changed();
        assert_eq!(calendar.book((1, 4), 64, |_| 128), Some(1));
    }

    #[test]
    fn what_is_larger_than_a_second_takes_what_is_left_of_several() {
        let calendar = Calendar::new(10);
        let book = |amount| calendar.book((1, 10), amount, |_| 640);
        assert_eq!((book(320), book(1_600)), (Some(1), Some(1)));
        assert_eq!([1, 2, 3, 4].map(|second| calendar.booked(second)), [640, 640, 640, 0]);
        assert_eq!(book(640), Some(4));
    }

    /// One who finds no room must not make the calendar look full to those for whom there is.
    #[test]
    fn a_large_or_a_late_one_does_not_close_the_calendar_to_the_others() {
        let calendar = Calendar::new(10);
        let book = |from, amount| calendar.book((from, 10), amount, |_| 640);
        for second in 1..=10 {
            calendar.add(second, 64);
        }
        assert_eq!(book(1, 640), None, "no second is empty, and it is not larger than one");
        assert_eq!(book(1, 64), Some(1));
        assert_eq!(book(7, 576), Some(7));
        assert_eq!(book(1, 64), Some(1));
    }

    #[test]
    fn a_crowd_does_not_look_again_at_seconds_that_had_no_room_for_one_like_it() {
        let calendar = Calendar::new(300);
        let looks = std::cell::Cell::new(0);
        // A backlog that shrinks: later ones may come back sooner. Each second keeps some room that nobody fits into.
        for turn in 0..1_000 {
            let from = if turn < 500 { 7 } else { 5 };
            calendar.book((from, 300), 448, |_| {
                looks.set(looks.get() + 1);
                640
            });
        }
        assert_eq!((5..=300).map(|second| calendar.booked(second)).max(), Some(448));
        assert_eq!((5..=300).map(|second| calendar.booked(second)).min(), Some(448));
        // One that is booked and one that is full for each second, and all of them once more.
        assert!(looks.get() <= 3 * 300, "{}", looks.get());
    }

    #[test]
    fn many_threads_never_overbook_a_second() {
        let calendar = Calendar::new(100);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| _ = calendar.book((1, 100), 64, |_| 64 * 300)));
            }
        });
        let booked: Vec<u64> = (1..=100).map(|second| calendar.booked(second)).collect();
        assert!(booked.iter().all(|booked| *booked <= 64 * 300), "{booked:?}");
        assert!(booked[..99].iter().all(|booked| *booked == 64 * 300), "{booked:?}");
    }
}
