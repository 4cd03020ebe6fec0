//! How much arrives that nobody told to come, and how much of it is to be expected.
//!
//! What is booked for a second was told to come then; what is offered beyond that is *fresh*. Two means of it are kept:
//! a quick one, which is what happens now, and a slow one, which is what is usual. A flood is the quick one above the
//! capacity. How long a flood will last nobody knows; the best guess about something of which only its age is known is
//! that it will last as long again. So what exceeds the usual is expected to halve in a time that grows with the
//! flood's age: a crowd that a burst of seconds has sent away comes back within the minute, and one that meets a flood
//! of minutes is not sent into it again.

use std::time::Duration;

use super::Moment;

/// The quick mean forgets half of what it knew in this time, in seconds.
const QUICK_HALF: f64 = 0.5;
/// The slow mean takes this time to forget half when less arrives than is usual, in seconds: what was once a flood must
/// not be taken for usual.
const SLOW_HALF_DOWN: f64 = 5.0;
/// And this time when more arrives than is usual, in seconds.
const SLOW_HALF_UP: f64 = 90.0;
/// What exceeds the usual is expected to halve in this part of the flood's age.
const HALVES_IN_AGE: f64 = 0.5;
/// But not in less than this, in seconds.
const HALVES_AT_LEAST: f64 = 0.5;
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
        self.slow = toward(self.slow, if fresh < self.slow { SLOW_HALF_DOWN } else { SLOW_HALF_UP });
        self.flood = (self.quick > capacity).then(|| self.flood.unwrap_or(now));
        (self.at, self.offered) = (now, offered);
        true
    }

    /// What is expected from now on.
    pub(super) fn forecast(&self) -> Forecast {
        let age = self.flood.map_or(0.0, |began| self.at.since(began).as_secs_f64());
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
