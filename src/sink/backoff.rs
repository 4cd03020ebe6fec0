//! How long to wait before trying again.

use std::time::Duration;

/// Exponential back-off with full jitter: each wait lies anywhere between nothing and a bound that doubles from `min` up
/// to `max`. Full jitter, because what failed for one instance failed for the fleet in the same moment.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    /// A back-off between `min` and `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, bound: min }
    }

    /// The next wait, for a `chance` between 0 and 1.
    pub fn next_wait(&mut self, chance: f64) -> Duration {
        let wait = self.bound.mul_f64(chance.clamp(0.0, 1.0));
        self.bound = self.bound.saturating_mul(2).min(self.max);
        wait
    }

    /// The one of both that has come further.
    #[must_use]
    pub fn further(self, other: Self) -> Self {
        if other.bound > self.bound { other } else { self }
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.bound = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_are_spread_from_nothing() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        let waits: Vec<_> = (0..5).map(|_| backoff.next_wait(1.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.next_wait(0.0), Duration::ZERO);
        assert_eq!(backoff.next_wait(0.5).as_millis(), 500);
        let further = backoff;
        backoff.reset();
        assert_eq!(further.further(backoff).next_wait(1.0).as_millis(), 1_000);
        assert_eq!(backoff.further(further).next_wait(1.0).as_millis(), 1_000);
        assert_eq!(backoff.next_wait(1.0).as_millis(), 200);
    }
}
