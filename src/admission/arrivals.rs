//! How much arrives that nobody told to come, and how much of it is to be expected.
//!
//! What is booked for a second was told to come then; what is offered beyond that is *fresh*. Two means of it are kept:
//! a quick one, which is what happens now, and a slow one, which is what is usual. What happens now is expected to go on,
//! unless it is a flood: the quick one has been above the capacity, and is not far below it yet. How long a flood will last nobody knows; the best guess about
//! something of which only its age is known is that it will last as long again. So what exceeds the usual is expected to
//! halve in a time that grows with the flood's age: a crowd that a burst of seconds has sent away comes back within the
//! minute, and one that meets a flood of minutes is not sent into it again.

use std::time::Duration;

use super::Moment;

/// The quick mean forgets half of what it knew in this time, in seconds.
const QUICK_HALF: f64 = 0.5;
/// The slow mean forgets half in this time, in seconds.
const SLOW_HALF: f64 = 5.0;
/// But in this time while there is a flood: it must not be taken for usual, unless it goes on and on.
const SLOW_HALF_IN_FLOOD: f64 = 300.0;
/// What exceeds the usual is expected to halve in this part of the flood's age.
const HALVES_IN_AGE: f64 = 1.0;
/// But not in less than this, in seconds.
const HALVES_AT_LEAST: f64 = 10.0;
/// A flood is over when less than this part of the capacity arrives.
const OVER_BELOW: f64 = 0.6;
/// Measurements over less time than this are noise, and wait for the next.
const SHORTEST: Duration = Duration::from_millis(50);

/// What arrives, in units a second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrivals {
    /// When it was last measured.
    at: Moment,
    /// What had been offered by then.
    offered: u64,
    quick: f64,
    slow: f64,
    /// When the flood began, if there is one.
    flood: Option<Moment>,
}

impl Arrivals {
    /// Learns that `offered` units had been offered by `now`, of which `told` a second had been told to come then, while
    /// `capacity` a second can be taken. Whether that was long enough ago to learn something.
    pub(super) fn learn(&mut self, now: Moment, offered: u64, told: f64, capacity: f64) -> bool {
        let elapsed = now.since(self.at);
        if elapsed < SHORTEST {
            return false;
        }
        let seconds = elapsed.as_secs_f64();
        let fresh = (offered.saturating_sub(self.offered) as f64 / seconds - told).max(0.0);
        let toward = |mean: f64, half: f64| fresh + (mean - fresh) * 0.5_f64.powf(seconds / half);
        self.quick = toward(self.quick, QUICK_HALF);
        let level = if self.flood.is_some() { OVER_BELOW * capacity } else { capacity };
        self.flood = (self.quick > level).then(|| self.flood.unwrap_or(now));
        let is_flood = self.flood.is_some() && fresh > self.slow;
        self.slow = toward(self.slow, if is_flood { SLOW_HALF_IN_FLOOD } else { SLOW_HALF });
        (self.at, self.offered) = (now, offered);
        true
    }

    /// What is expected from now on.
    pub(super) fn forecast(&self) -> Forecast {
        let Some(began) = self.flood else {
            return Forecast { usual: self.quick, excess: 0.0, half: HALVES_AT_LEAST };
        };
        let age = self.at.since(began).as_secs_f64();
        let usual = self.slow.min(self.quick);
        Forecast { usual, excess: self.quick - usual, half: (age * HALVES_IN_AGE).max(HALVES_AT_LEAST) }
    }

    /// When it was last measured.
    pub(super) fn at(&self) -> Moment {
        self.at
    }
}

/// What is expected to arrive fresh, in units a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forecast {
    /// What stays.
    pub(super) usual: f64,
    /// What there is beyond that now.
    pub(super) excess: f64,
    /// In how many seconds half of the excess is gone.
    pub(super) half: f64,
}

impl Forecast {
    /// In the second that begins `ahead` seconds from now.
    pub(super) fn expected(&self, ahead: f64) -> f64 {
        self.usual + self.excess * (-ahead / self.half.max(0.001)).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: f64 = 1_000.0;

    /// What is learned from each second of `rates`, of which `told` are booked.
    fn after(rates: &[u64], told: f64) -> Arrivals {
        let mut arrivals = Arrivals::default();
        let (mut offered, mut now) = (0, Moment::default());
        for rate in rates {
            for _ in 0..10 {
                now = now + Duration::from_millis(100);
                offered += rate / 10;
                assert!(arrivals.learn(now, offered, told, CAPACITY));
            }
        }
        arrivals
    }

    fn expected(arrivals: &Arrivals, ahead: f64) -> u64 {
        arrivals.forecast().expected(ahead).round() as u64
    }

    #[test]
    fn what_arrives_and_can_be_taken_is_expected_to_go_on() {
        let steady = after(&[600; 10], 0.0);
        assert_eq!([0.0, 10.0, 300.0].map(|ahead| expected(&steady, ahead)), [600; 3]);
        let told = after(&[600; 10], 400.0);
        assert_eq!(expected(&told, 10.0), 200, "who was told to come is not fresh");
        assert_eq!(expected(&after(&[300; 10], 400.0), 10.0), 0);
    }

    #[test]
    fn a_flood_is_expected_to_last_as_long_again() {
        let calm = [200; 60];
        let flood = |seconds: usize| after(&[&calm[..], &vec![10_000; seconds]].concat(), 0.0);
        for (seconds, shortly, later) in [(4, 4.0, 40.0), (30, 30.0, 200.0)] {
            let flood = flood(seconds);
            assert!(expected(&flood, shortly) > CAPACITY as u64, "{seconds}: {}", expected(&flood, shortly));
            assert!(expected(&flood, later) < 3_000, "{seconds}: {}", expected(&flood, later));
        }
        let over = after(&[&calm[..], &[10_000; 10], &[200; 10]].concat(), 0.0);
        assert!(expected(&over, 1.0) < 300, "{}", expected(&over, 1.0));
    }

    #[test]
    fn nothing_is_learned_from_too_short_a_time() {
        let mut arrivals = Arrivals::default();
        assert!(!arrivals.learn(Moment::default() + Duration::from_millis(49), 1_000_000, 0.0, CAPACITY));
        assert_eq!(expected(&arrivals, 0.0), 0);
    }
}
