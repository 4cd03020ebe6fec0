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
    /// The answer lies between the time that the backlog needs and twice that, at least between one and two seconds,
    /// at most the cap, whose last half is then filled evenly.
    pub fn after(&self, backlog: u64, capacity: f64, chance: f64) -> RetryAfter {
        let drain = backlog as f64 / capacity.max(1.0);
        let cap = self.cap.as_secs_f64();
        let (from, width) =
            if 2.0 * drain.max(1.0) > cap { (cap / 2.0, cap / 2.0) } else { (drain.max(1.0), drain.max(1.0)) };
        RetryAfter(Duration::from_secs_f64(from + width * chance.clamp(0.0, 1.0)))
    }

    /// The answer where nobody knows how long it will take: the last half of the cap.
    pub fn long(&self, chance: f64) -> RetryAfter {
        self.after(u64::MAX, 1.0, chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACING: Pacing = Pacing { cap: Duration::from_mins(5) };

    #[test]
    fn clients_come_back_when_the_backlog_has_drained() {
        let millis = |backlog, chance| PACING.after(backlog, 1_000.0, chance).millis();
        assert_eq!((millis(0, 0.0), millis(0, 1.0)), (1_000, 2_000));
        assert_eq!((millis(10_000, 0.0), millis(10_000, 0.5), millis(10_000, 1.0)), (10_000, 15_000, 20_000));
        assert_eq!((millis(1_000_000, 0.0), millis(1_000_000, 1.0)), (150_000, 300_000));
        assert_eq!((PACING.long(0.0).millis(), PACING.long(1.0).millis()), (150_000, 300_000));
        assert_eq!(PACING.after(5, 0.0, f64::NAN.max(0.0)).millis(), 5_000);
    }

    #[test]
    fn the_header_is_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(RetryAfter(Duration::from_millis(millis)).seconds(), seconds);
        }
    }
}
