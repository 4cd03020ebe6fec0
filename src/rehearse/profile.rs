//! How many new batches a second, over time: pure.
//!
//! A [`Profile`] is a shape: pieces of time, in each of which the rate goes from one share of the peak to another, along
//! a straight line or by the same factor each second. A [`Flood`] is a shape with a peak and a duration, and knows its
//! rate and its integral exactly. Returns of refused devices are not in it: they come from the answers.

use std::{fmt, str::FromStr, time::Duration};

use super::device::Mix;

/// A shape of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// An advert airs.
    Advert,
    /// A partner launches.
    Launch,
    /// A flood whose refused devices come back, a third of them sooner than told.
    RetryStorm,
    /// The outage that logweir exists to prevent.
    SeedOutage,
    /// The same all the time.
    Steady,
}

/// How the rate goes from one share of the peak to another.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Course {
    /// Along a straight line.
    Straight,
    /// By the same factor each second.
    Decay,
}

/// A piece of a shape.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    seconds: f64,
    /// The rate at its beginning and end, as shares of the peak.
    from: f64,
    to: f64,
    course: Course,
    /// Whether the flood lasts: what is behind the last such piece is the recovery.
    flood: bool,
}

const fn flood(seconds: f64, from: f64, to: f64) -> Piece {
    Piece { seconds, from, to, course: Course::Straight, flood: true }
}

const fn calm(seconds: f64, share: f64) -> Piece {
    Piece { seconds, from: share, to: share, course: Course::Straight, flood: false }
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 5] = [Self::Advert, Self::Launch, Self::RetryStorm, Self::SeedOutage, Self::Steady];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Advert => "advert",
            Self::Launch => "launch",
            Self::RetryStorm => "retry-storm",
            Self::SeedOutage => "seed-outage",
            Self::Steady => "steady",
        }
    }

    /// What it is, in a sentence.
    pub fn description(self) -> &'static str {
        match self {
            Self::Advert => "an advert airs: from nothing to the peak in 2 s, held for 10 s, then decaying for 48 s",
            Self::Launch => "a partner launches: a ramp of 5 min to a plateau of 4 min, then 1 min at 0.3 of it",
            Self::RetryStorm => {
                "a storm of retries: 0.7 times the capacity for 30 s, 5 times for 30 s, then 0.7 times for 90 s; a third \
                 of the devices ignores when it is told to come back"
            }
            Self::SeedOutage => {
                "the outage that logweir exists to prevent: 10 times the capacity for 1 min from devices that never give \
                 up, then 0.3 times for 3 min"
            }
            Self::Steady => "the same load for 1 min",
        }
    }

    /// The peak, in multiples of what the target can take, if nobody says otherwise.
    pub fn peak_in_capacities(self) -> f64 {
        match self {
            Self::Advert => 3.0,
            Self::Launch => 1.5,
            Self::RetryStorm => 5.0,
            Self::SeedOutage => 10.0,
            Self::Steady => 0.8,
        }
    }

    /// How its devices behave, if nobody says otherwise.
    pub fn mix(self) -> Mix {
        match self {
            Self::Advert | Self::Launch | Self::Steady => Mix { behave: 0.7, careless: 0.2, stubborn: 0.1 },
            Self::RetryStorm => Mix { behave: 2.0 / 3.0, careless: 1.0 / 3.0, stubborn: 0.0 },
            // They believed what they were told, and were told the same second.
            Self::SeedOutage => Mix { behave: 1.0, careless: 0.0, stubborn: 0.0 },
        }
    }

    /// How long it lasts, if nobody says otherwise.
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.pieces().iter().map(|piece| piece.seconds).sum())
    }

    fn pieces(self) -> &'static [Piece] {
        match self {
            Self::Advert => {
                const DECAY: Piece = Piece { seconds: 48.0, from: 1.0, to: 0.01, course: Course::Decay, flood: false };
                const { &[flood(2.0, 0.0, 1.0), flood(10.0, 1.0, 1.0), DECAY] }
            }
            Self::Launch => const { &[flood(300.0, 0.0, 1.0), flood(240.0, 1.0, 1.0), calm(60.0, 0.3)] },
            Self::RetryStorm => const { &[calm(30.0, 0.14), flood(30.0, 1.0, 1.0), calm(90.0, 0.14)] },
            Self::SeedOutage => const { &[flood(60.0, 1.0, 1.0), calm(180.0, 0.03)] },
            Self::Steady => const { &[calm(60.0, 1.0)] },
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile {0:?}: it is one of advert, launch, retry-storm, seed-outage, steady")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        let named = Self::ALL.into_iter().find(|profile| profile.name() == name);
        named.ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}

/// New batches over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flood {
    /// The shape.
    pub profile: Profile,
    /// The highest rate of new batches, a second.
    pub peak: f64,
    /// How long it lasts: each time of the shape is stretched or shortened by the same factor.
    pub duration: Duration,
}

impl Flood {
    /// `profile` at its own pace.
    pub fn new(profile: Profile, peak: f64) -> Self {
        Self { profile, peak, duration: profile.duration() }
    }

    /// New batches a second at the time `at` since the start; 0 behind the end.
    pub fn rate(&self, at: Duration) -> f64 {
        let mut left = at.as_secs_f64();
        for piece in self.profile.pieces() {
            let seconds = piece.seconds * self.stretch();
            if left < seconds {
                return self.peak * piece.share(left / seconds);
            }
            left -= seconds;
        }
        0.0
    }

    /// New batches from the start to the time `at`: the integral of [`Self::rate`].
    pub fn batches_until(&self, at: Duration) -> f64 {
        let mut left = at.as_secs_f64();
        let mut batches = 0.0;
        for piece in self.profile.pieces() {
            let seconds = piece.seconds * self.stretch();
            batches += seconds * piece.area((left / seconds).clamp(0.0, 1.0));
            left -= seconds;
        }
        self.peak * batches
    }

    /// All of its new batches.
    pub fn batches(&self) -> f64 {
        self.batches_until(self.duration)
    }

    /// When the flood is over and the recovery begins; `None` if nothing of the shape is more than the rest.
    pub fn end(&self) -> Option<Duration> {
        let pieces = self.profile.pieces();
        let last = pieces.iter().rposition(|piece| piece.flood)?;
        let seconds: f64 = pieces[..=last].iter().map(|piece| piece.seconds).sum();
        Some(Duration::from_secs_f64(seconds * self.stretch()))
    }

    /// How much longer than its own time the shape is played.
    fn stretch(&self) -> f64 {
        self.duration.as_secs_f64() / self.profile.duration().as_secs_f64()
    }
}

impl Piece {
    /// The share of the peak at `part` of its time, from 0 to 1.
    fn share(self, part: f64) -> f64 {
        match self.course {
            Course::Straight => self.from + (self.to - self.from) * part,
            Course::Decay => self.from * (self.to / self.from).powf(part),
        }
    }

    /// The integral of [`Self::share`] from 0 to `part`.
    fn area(self, part: f64) -> f64 {
        match self.course {
            Course::Straight => part * f64::midpoint(self.from, self.share(part)),
            Course::Decay => (self.share(part) - self.from) / (self.to / self.from).ln(),
        }
    }
}

/// When each new batch comes: a Poisson process of the flood's rate, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Arrivals {
    flood: Flood,
    random: fastrand::Rng,
    at: f64,
}

impl Arrivals {
    /// The arrivals of `flood`, drawn from `seed`.
    pub fn new(flood: Flood, seed: u64) -> Self {
        Self { flood, random: fastrand::Rng::with_seed(seed), at: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    /// Thinning: candidates come at the peak's rate, and each counts with the probability rate ÷ peak.
    fn next(&mut self) -> Option<Duration> {
        if self.flood.peak <= 0.0 {
            return None;
        }
        loop {
            // 1 − u is above 0, so its logarithm is finite.
            self.at -= (1.0 - self.random.f64()).ln() / self.flood.peak;
            if self.at >= self.flood.duration.as_secs_f64() {
                return None;
            }
            let at = Duration::from_secs_f64(self.at);
            if self.random.f64() * self.flood.peak < self.flood.rate(at) {
                return Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_integral_is_that_of_the_rate_for_each_profile_and_duration() {
        for profile in Profile::ALL {
            for duration in [profile.duration(), seconds(7.5)] {
                let flood = Flood { profile, peak: 1_000.0, duration };
                let steps = 200_000;
                let step = duration.as_secs_f64() / f64::from(steps);
                let mut sum = 0.0;
                for n in 0..steps {
                    sum += flood.rate(seconds((f64::from(n) + 0.5) * step)) * step;
                    if n == steps / 3 {
                        let known = flood.batches_until(seconds(f64::from(n + 1) * step));
                        assert!((sum - known).abs() < known * 1e-3 + 1e-6, "{profile}: {sum} and {known}");
                    }
                }
                let known = flood.batches();
                assert!((sum - known).abs() < known * 1e-3, "{profile}: {sum} and {known}");
                assert!(flood.rate(duration + seconds(0.001)).abs() < f64::EPSILON);
            }
        }
    }

    #[test]
    fn the_peak_is_reached_and_never_exceeded() {
        for profile in Profile::ALL {
            let flood = Flood::new(profile, 500.0);
            let millis = flood.duration.as_millis() as u64;
            let most = (0..=millis / 10).map(|n| flood.rate(Duration::from_millis(n * 10))).fold(0.0, f64::max);
            assert!((most - 500.0).abs() < 1e-6, "{profile}: {most}");
        }
    }

    #[test]
    fn the_flood_of_a_profile_ends_where_its_description_says() {
        let end = |profile: Profile| Flood::new(profile, 1.0).end().map(|end| end.as_secs());
        assert_eq!(Profile::ALL.map(end), [Some(12), Some(540), Some(60), Some(60), None]);
        let short = Flood { duration: seconds(24.0), ..Flood::new(Profile::SeedOutage, 1.0) };
        assert_eq!(short.end(), Some(seconds(6.0)));
    }

    #[test]
    fn arrivals_follow_the_rate_and_are_the_same_for_the_same_seed() {
        for profile in Profile::ALL {
            let flood = Flood { profile, peak: 10_000.0, duration: seconds(10.0) };
            let times: Vec<Duration> = Arrivals::new(flood, 7).collect();
            assert!(times.is_sorted());
            for at in [2.0, 5.0, 10.0].map(seconds) {
                let expected = flood.batches_until(at);
                let found = times.iter().filter(|time| **time < at).count() as f64;
                // Five standard deviations of a Poisson count.
                assert!((found - expected).abs() < 5.0 * expected.sqrt(), "{profile}: {found} of {expected}");
            }
            assert!(Arrivals::new(flood, 7).eq(times.iter().copied()));
            assert!(!Arrivals::new(flood, 8).eq(times));
        }
        assert_eq!(Arrivals::new(Flood::new(Profile::Steady, 0.0), 1).next(), None);
    }

    #[test]
    fn a_profile_is_known_by_its_name() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
        }
        let unknown = "flood".parse::<Profile>().unwrap_err().to_string();
        assert!(Profile::ALL.iter().all(|profile| unknown.contains(profile.name())), "{unknown}");
    }
}
