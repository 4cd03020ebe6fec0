//! When a refused client should come back (P6).
//!
//! Every refusal takes a slot in a virtual queue: the first second for which less is booked than the capacity, less what
//! is expected to arrive fresh, and behind the backlog. What finds no room below the cap is spread evenly over its last
//! half. So as long as the crowd fits below the cap and does as it is told, no second is offered more than can be taken.
//!
//! The header tells whole seconds, and many clients know nothing finer. A second of the calendar is therefore told so
//! that the client comes back within it whichever of the two values it reads: a whole number of seconds keeps the
//! place within the second in which the client was refused, which spreads a crowd as it was spread; the milliseconds
//! of the body are spread by chance over the whole of it, which is better, and why they are told.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Moment,
    arrivals::{Arrivals, Forecast},
    calendar::Calendar,
};

/// How a refused client is told to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    seconds: u32,
    millis: u64,
}

impl RetryAfter {
    /// In `time`, for clients of one kind only: the header rounds it up.
    pub fn exactly(time: Duration) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { seconds: u32::try_from(millis.div_ceil(1_000)).unwrap_or(u32::MAX), millis }
    }

    /// Within the last half of `most`, spread by `chance`, which lies between 0 and 1.
    pub fn within_last_half(most: Duration, chance: f64) -> Self {
        Self::exactly(most / 2 + (most / 2).mul_f64(chance.clamp(0.0, 1.0)))
    }

    /// The header's value: whole seconds, at least 1.
    pub fn seconds(self) -> u64 {
        u64::from(self.seconds.max(1))
    }

    /// The body's value, in milliseconds: within the same second of the calendar as the header's.
    pub fn millis(self) -> u64 {
        self.millis
    }
}

/// The part of the capacity that is booked: the rest is for what nobody foresees, such as a crowd whose header brings it
/// back within one moment of its second.
const BOOKED_PART: f64 = 0.85;

/// Tells refused clients when to come back.
///
/// Amounts are in whatever unit the capacity has a second: bytes of bodies for the instance, nanoseconds of its quota
/// for a key.
#[derive(Debug)]
pub struct Pacing {
    cap: u32,
    calendar: Calendar,
    /// What was offered so far, taken or not.
    offered: AtomicU64,
    /// The capacity, as the bits of a double.
    capacity: AtomicU64,
    arrivals: Mutex<Arrivals>,
    /// What is expected to arrive fresh, for bookings to read without the lock.
    forecast: SharedForecast,
}

/// A [`Forecast`] that many may read while one writes. They may see parts of two, which are never far from each other.
#[derive(Debug, Default)]
struct SharedForecast {
    usual: AtomicU64,
    excess: AtomicU64,
    half: AtomicU64,
}

impl SharedForecast {
    fn set(&self, forecast: Forecast) {
        self.usual.store(forecast.usual.to_bits(), Ordering::Relaxed);
        self.excess.store(forecast.excess.to_bits(), Ordering::Relaxed);
        self.half.store(forecast.half.to_bits(), Ordering::Relaxed);
    }

    fn get(&self) -> Forecast {
        let read = |part: &AtomicU64| f64::from_bits(part.load(Ordering::Relaxed));
        Forecast { usual: read(&self.usual), excess: read(&self.excess), half: read(&self.half) }
    }
}

impl Pacing {
    /// Pacing that sends nobody away for longer than `cap` and believes in `capacity` units a second until it learns.
    pub fn new(cap: Duration, capacity: f64) -> Self {
        let cap = u32::try_from(cap.as_secs()).unwrap_or(u32::MAX).max(2);
        Self {
            cap,
            calendar: Calendar::new(cap),
            offered: AtomicU64::new(0),
            capacity: AtomicU64::new(capacity.to_bits()),
            arrivals: Mutex::default(),
            forecast: SharedForecast::default(),
        }
    }

    /// The longest answer.
    pub fn cap(&self) -> Duration {
        Duration::from_secs(self.cap.into())
    }

    /// So much was offered, whether or not it was taken.
    pub fn offer(&self, amount: u64) {
        self.offered.fetch_add(amount, Ordering::Relaxed);
    }

    /// Learns from what was offered since it last did, and that `capacity` units a second can be taken. To be called
    /// several times a second, by one thread.
    pub fn learn(&self, now: Moment, capacity: f64) {
        self.capacity.store(capacity.to_bits(), Ordering::Relaxed);
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.told_between(arrivals.at(), now);
        if !arrivals.learn(now, self.offered.load(Ordering::Relaxed), told, capacity) {
            return;
        }
        self.forecast.set(arrivals.forecast());
        self.calendar.room_changed();
    }

    /// What was booked a second between two moments.
    fn told_between(&self, from: Moment, to: Moment) -> f64 {
        let (begin, end) = (from.as_secs_f64(), to.as_secs_f64());
        // No more seconds than the calendar remembers.
        let first = from.second().max(to.second().saturating_sub(1));
        let booked = (first..=to.second()).map(|second| {
            let overlap = end.min(f64::from(second) + 1.0) - begin.max(f64::from(second));
            self.calendar.booked(second) as f64 * overlap.max(0.0)
        });
        booked.sum::<f64>() / (end - begin).max(1e-3)
    }

    /// The answer to a client that comes with `amount` and is refused `now`, while it takes `drain` until everything
    /// that was taken is done; `chance` lies between 0 and 1.
    pub fn after(&self, amount: u64, drain: Duration, now: Moment, chance: f64) -> RetryAfter {
        let this = now.second();
        let from = (now + drain).second().saturating_add(1).min(this.saturating_add(self.cap));
        let capacity = f64::from_bits(self.capacity.load(Ordering::Relaxed)) * BOOKED_PART;
        let forecast = self.forecast.get();
        let room = |second: u32| (capacity - forecast.expected(f64::from(second - this))).max(0.0) as u64;
        let last = this.saturating_add(self.cap);
        let second = self.calendar.book(from, last, amount, room).unwrap_or_else(|| {
            let second = last - (f64::from(self.cap / 2) * chance.clamp(0.0, 1.0)) as u32;
            self.calendar.add(second, amount);
            second
        });
        let seconds = second - this;
        // From the beginning of that second, and spread over the whole of it.
        let passed = now.nanos() % 1_000_000_000 / 1_000_000;
        let within = ((chance.clamp(0.0, 1.0) * 1_000.0).fract() * 1_000.0) as u64;
        RetryAfter { seconds, millis: (u64::from(seconds) * 1_000 + within).saturating_sub(passed).max(1) }
    }

    /// The answer where nobody knows how long it will take: spread over the last half of the cap.
    pub fn long(&self, chance: f64) -> RetryAfter {
        RetryAfter::within_last_half(self.cap(), chance)
    }

    /// The answer where nothing sooner than the cap is of use.
    pub fn longest(&self) -> RetryAfter {
        RetryAfter::exactly(self.cap())
    }
}
