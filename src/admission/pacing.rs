//! When a refused client should come back.

use std::time::Duration;

/// How a refused client is told to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(Duration);

impl RetryAfter {
    /// The header's value: whole seconds, rounded up, at least 1.
    pub fn seconds(self) -> u64 {
        self.0.as_millis().div_ceil(1_000).max(1) as u64
    }

    /// The body's value.
    pub fn millis(self) -> u64 {
        self.0.as_millis() as u64
    }
}

/// The fewest seconds that answers are spread over, with whatever fits into the cap. The header tells whole seconds, and
/// most clients know nothing finer: a crowd that is told one second comes back as one, and is refused as one. Five let a
/// crowd of a second back at a fifth of its rate, and cost a client that finds no backlog two seconds and a half.
const MIN_SPREAD_SECONDS: u64 = 5;

/// Tells refused clients when to come back: when the backlog will have drained, spread by chance, so that they do not
/// all come back in the same moment.
#[derive(Debug, Clone, Copy)]
pub struct Pacing {
    /// The longest answer.
    pub cap: Duration,
}

impl Pacing {
    /// The answer while `backlog` bytes wait and `capacity` bytes a second drain; `chance` lies between 0 and 1.
    ///
    /// The answer lies behind the time that the backlog needs, within as much again, or within
    /// `MIN_SPREAD_SECONDS`; where that exceeds the cap, within its last half. Both bounds are rounded to whole seconds
    /// before chance decides between them, so that each second of the header gets as many clients as any other.
    pub fn after(&self, backlog: u64, capacity: f64, chance: f64) -> RetryAfter {
        let drain = (backlog as f64 / capacity.max(1.0)).ceil() as u64;
        let cap = self.cap.as_secs().max(1);
        let width = drain.max(MIN_SPREAD_SECONDS);
        let (from, width) = if drain.saturating_add(width) > cap { (cap / 2, cap - cap / 2) } else { (drain, width) };
        // Behind `from` and not behind `from + width`: rounded up, each millisecond belongs to one of `width` seconds.
        let step = (width as f64 * 1_000.0 * chance.clamp(0.0, 1.0)) as u64;
        RetryAfter(Duration::from_millis(from * 1_000 + (step + 1).min(width * 1_000)))
    }

    /// The answer where nobody knows how long it will take: the last half of the cap.
    pub fn long(&self, chance: f64) -> RetryAfter {
        self.after(u64::MAX, 1.0, chance)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const PACING: Pacing = Pacing { cap: Duration::from_mins(5) };

    #[test]
    fn clients_come_back_when_the_backlog_has_drained() {
        let seconds = |backlog, chance| PACING.after(backlog, 1_000.0, chance).seconds();
        assert_eq!((seconds(0, 0.0), seconds(0, 1.0)), (1, 5));
        assert_eq!((seconds(1, 0.0), seconds(1, 1.0)), (2, 6));
        assert_eq!((seconds(1_000, 0.0), seconds(1_000, 1.0)), (2, 6));
        assert_eq!((seconds(10_000, 0.0), seconds(10_000, 0.5), seconds(10_000, 1.0)), (11, 16, 20));
        assert_eq!((seconds(1_000_000, 0.0), seconds(1_000_000, 1.0)), (151, 300));
        assert_eq!((PACING.long(0.0).seconds(), PACING.long(1.0).seconds()), (151, 300));
        assert_eq!(PACING.after(5, 0.0, f64::NAN).seconds(), 6);
    }

    #[test]
    fn the_header_is_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(RetryAfter(Duration::from_millis(millis)).seconds(), seconds);
        }
    }

    proptest! {
        /// Whatever the backlog, chance spreads clients evenly over the seconds that they are told, and those are several.
        #[test]
        fn each_second_is_told_as_often_as_any_other(
            backlog in 0_u64..1_000_000,
            capacity in 1.0_f64..100_000.0,
            cap in 2_u64..1_000,
        ) {
            const EACH: u64 = 20;
            let pacing = Pacing { cap: Duration::from_secs(cap) };
            let answer = |chance: f64| pacing.after(backlog, capacity, chance);
            let (first, last) = (answer(0.0).seconds(), answer(1.0).seconds());
            let width = last - first + 1;
            prop_assert!(first >= 1 && last <= cap && width >= MIN_SPREAD_SECONDS.min(cap / 2), "{first} to {last}");
            prop_assert!(first as f64 > backlog as f64 / capacity || last == cap, "{first} is before the backlog's end");
            let mut told = BTreeMap::new();
            for n in 0..EACH * width {
                let answer = answer((n as f64 + 0.5) / (EACH * width) as f64);
                let (seconds, millis) = (answer.seconds(), answer.millis());
                prop_assert!(millis > (seconds - 1) * 1_000 && millis <= seconds * 1_000, "{millis} ms in second {seconds}");
                *told.entry(seconds).or_insert(0) += 1;
            }
            prop_assert_eq!(told.len() as u64, width);
            prop_assert!(told.values().all(|count| *count == EACH), "{told:?}");
        }
    }
}
