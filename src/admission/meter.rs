//! A rate with a burst, as one atomic number: the generic cell rate algorithm.
//!
//! The number is the moment at which everything that was charged would be paid for at the rate. While that lies no
//! further ahead than the burst, more is let in, however much it turns out to be: what is not known before it has come
//! is charged afterwards, as debt that delays what follows.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::Moment;

/// A rate with a burst.
#[derive(Debug)]
pub(super) struct Meter {
    /// Nanoseconds that a unit takes at the rate.
    nanos_each: f64,
    burst: Duration,
    /// In nanoseconds since the beginning.
    paid_at: AtomicU64,
}

impl Meter {
    /// `rate` units a second, and as many at once as come in `burst`.
    pub(super) fn new(rate: f64, burst: Duration) -> Self {
        Self { nanos_each: 1e9 / rate.max(1e-9), burst, paid_at: AtomicU64::new(0) }
    }

    /// How long it takes from `now` until more is let in; zero if it is let in at once.
    pub(super) fn wait(&self, now: Moment) -> Duration {
        Moment::from_nanos(self.paid_at.load(Ordering::Relaxed)).since(now).saturating_sub(self.burst)
    }

    /// Charges `units`.
    pub(super) fn charge(&self, now: Moment, units: f64) {
        let cost = self.cost(units);
        let charge = |paid_at: u64| Some(paid_at.max(now.nanos()).saturating_add(cost));
        let _ = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }

    /// What `units` cost, in nanoseconds of the rate.
    pub(super) fn cost(&self, units: f64) -> u64 {
        (units * self.nanos_each) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_in_and_then_the_rate() {
        let meter = Meter::new(10.0, Duration::from_secs(2));
        let mut now = Moment::default() + Duration::from_secs(100);
        let come = |now: Moment| {
            let wait = meter.wait(now);
            if wait.is_zero() {
                meter.charge(now, 1.0);
            }
            wait
        };
        let burst = (0..30).filter(|_| come(now).is_zero()).count();
        assert_eq!(burst, 21, "the burst, and one that overdraws it");
        assert_eq!(come(now), Duration::from_millis(100));
        let mut taken = 0;
        for _ in 0..1_000 {
            now = now + Duration::from_millis(10);
            taken += usize::from(come(now).is_zero());
        }
        assert_eq!(taken, 100, "ten a second in ten seconds");
    }

    #[test]
    fn what_is_charged_afterwards_is_debt() {
        let meter = Meter::new(1_000.0, Duration::from_secs(1));
        let now = Moment::default() + Duration::from_secs(5);
        assert!(meter.wait(now).is_zero());
        meter.charge(now, 6_000.0);
        assert_eq!(meter.wait(now), Duration::from_secs(5));
        assert_eq!(meter.wait(now + Duration::from_secs(4)), Duration::from_secs(1));
        assert!(meter.wait(now + Duration::from_secs(5)).is_zero());
        meter.charge(now, f64::INFINITY);
        assert!(meter.wait(now) > Duration::from_secs(1 << 30), "no overflow");
    }
}
