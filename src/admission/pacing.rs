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
        if !arrivals.learn(now, self.offered.load(Ordering::Relaxed), told, capacity * BOOKED_PART) {
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
        let second = self.calendar.book((from, last), amount, room).unwrap_or_else(|| {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const CAP: Duration = Duration::from_mins(5);

    fn at(millis: u64) -> Moment {
        Moment::default() + Duration::from_millis(millis)
    }

    /// Refuses `crowd` clients that come with `amount` each, evenly within the tenth second, while `fresh` a second arrive
    /// that are taken. Which second each is told, by the header and by the body.
    fn told(capacity: f64, fresh: u64, crowd: u64, amount: u64) -> [BTreeMap<u64, u64>; 2] {
        let pacing = Pacing::new(CAP, capacity);
        for tick in 0..100 {
            pacing.offer(fresh / 10);
            pacing.learn(at(100 * tick), capacity);
        }
        let mut told = [BTreeMap::new(), BTreeMap::new()];
        for client in 0..crowd {
            let now = at(10_000 + 1_000 * client / crowd);
            let chance = (client as f64 * 0.618_034).fract();
            let retry = pacing.after(amount, Duration::ZERO, now, chance);
            let second = |millis: u64| (now.nanos() / 1_000_000 + millis) / 1_000;
            *told[0].entry(second(retry.seconds() * 1_000)).or_insert(0) += amount;
            *told[1].entry(second(retry.millis())).or_insert(0) += amount;
        }
        told
    }

    #[test]
    fn both_values_lead_into_the_same_second() {
        let [by_header, by_body] = told(100_000.0, 0, 5_000, 500);
        assert_eq!(by_header, by_body);
    }

    #[test]
    fn whoever_is_told_milliseconds_is_spread_over_the_whole_second() {
        let pacing = Pacing::new(CAP, 1e9);
        let now = at(10_900);
        let millis: Vec<u64> =
            (0..1_000).map(|n| pacing.after(1, Duration::ZERO, now, f64::from(n) * 0.618_034 % 1.0).millis()).collect();
        let within = |from: u64| millis.iter().filter(|millis| (from..from + 250).contains(millis)).count();
        for quarter in [100, 350, 600, 850] {
            assert!((200..300).contains(&within(quarter)), "{} from {quarter}", within(quarter));
        }
    }

    #[test]
    fn nobody_is_told_to_come_before_the_backlog_has_drained() {
        let pacing = Pacing::new(CAP, 1_000.0);
        let seconds = |drain: u64| pacing.after(1, Duration::from_millis(drain), at(10_500), 0.5).seconds();
        assert_eq!([seconds(0), seconds(400), seconds(600), seconds(20_000)], [1, 1, 2, 21]);
        assert_eq!(seconds(1_000_000), 300, "but for the cap");
    }

    #[test]
    fn what_does_not_fit_below_the_cap_is_spread_over_its_last_half() {
        let [told, _] = told(1_000.0, 0, 100_000, 500);
        let (first, last) = (*told.first_key_value().unwrap().0, *told.last_key_value().unwrap().0);
        assert_eq!((first, last), (11, 310));
        assert!((11..160).all(|second| told[&second] <= 1_000), "{told:?}");
        let late: Vec<u64> = (161..310).map(|second| told[&second]).collect();
        let (fewest, most) = (late.iter().min().unwrap(), late.iter().max().unwrap());
        assert!(*fewest > 250_000 && *most < 400_000, "{fewest} to {most}");
    }

    #[test]
    fn where_nothing_is_gained_by_coming_soon_the_cap_is_told() {
        let pacing = Pacing::new(CAP, 1.0);
        assert_eq!((pacing.longest().seconds(), pacing.longest().millis()), (300, 300_000));
        assert_eq!([0.0, 1.0].map(|chance| pacing.long(chance).seconds()), [150, 300]);
    }

    #[test]
    fn the_header_is_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(RetryAfter::exactly(Duration::from_millis(millis)).seconds(), seconds);
        }
    }

    #[test]
    fn a_crowd_is_not_sent_back_into_a_flood_that_goes_on() {
        // Ten times the capacity arrives and goes on to.
        let pacing = Pacing::new(CAP, 1_000.0);
        let mut first = Vec::new();
        for tick in 1..=200 {
            pacing.offer(1_000);
            pacing.learn(at(100 * tick), 1_000.0);
            let retry = pacing.after(10, Duration::ZERO, at(100 * tick + 50), 0.5);
            first.push(retry.seconds());
        }
        assert!(first[50] > 5 && first[199] > 15, "{first:?}");
    }

    proptest! {
        /// P6: as long as the crowd fits below the cap, no second is told to more than can be taken, less what arrives
        /// fresh; whichever of the two values clients read.
        #[test]
        fn no_second_is_told_to_more_than_can_be_taken(
            capacity in 10_000.0_f64..1_000_000.0,
            fresh_part in 0.0_f64..0.8,
            crowd_seconds in 0.1_f64..60.0,
            amount in 64_u64..5_000,
        ) {
            let fresh = (capacity * fresh_part) as u64;
            let crowd = ((capacity * crowd_seconds) as u64 / amount).clamp(1, 20_000);
            // No second is shared by two that do not fit into it together, nor is what is left of it by one that would.
            let room = capacity * BOOKED_PART - fresh as f64;
            let seconds = if amount as f64 <= room * 0.98 {
                (crowd as f64 / (room / amount as f64 * 0.98).floor()).ceil()
            } else {
                crowd as f64 * (amount as f64 / room + 1.0).ceil()
            };
            prop_assume!(room > 0.0 && seconds <= 250.0);
            for told in told(capacity, fresh, crowd, amount) {
                // An amount that is more than a second's room takes several, and shows in the first.
                let most = (capacity - fresh as f64).max(amount as f64);
                prop_assert!(told.values().all(|told| *told as f64 <= most), "{told:?} of {most}");
                prop_assert_eq!(told.values().sum::<u64>(), crowd * amount);
                let last = told.last_key_value().unwrap().0;
                prop_assert!(*last <= 311, "{last}");
            }
        }
    }
}
