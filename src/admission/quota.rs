//! What one key may send: requests, decoded bytes and events a second, with a burst.
//!
//! A quota is of the fleet; each instance grants its part, since a load balancer spreads a key's requests evenly. What
//! a request costs in bytes and events is known only once it is decoded: it is charged then, and what was too much is
//! debt, which delays the next.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{Moment, Pacing, RetryAfter, meter::Meter};

/// How much a request counts in what is typical for its key, as a part of it.
const TYPICAL_PART: u64 = 32;
/// What one second of the quota is worth, whichever of its limits binds.
const SECOND: f64 = 1e9;

/// What a quota allows this instance, each a second; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// Requests.
    pub requests: Option<f64>,
    /// Decoded bytes.
    pub bytes: Option<f64>,
    /// Events.
    pub events: Option<f64>,
    /// As much as comes in this time may come at once.
    pub burst: Duration,
}

impl Allowance {
    /// Whether anything is limited.
    pub fn limits(&self) -> bool {
        self.requests.or(self.bytes).or(self.events).is_some()
    }
}

/// A key's quota on this instance, and where it stands. Shared by all workers; none waits for another.
#[derive(Debug)]
pub struct Quota {
    allowance: Allowance,
    requests: Option<Meter>,
    bytes: Option<Meter>,
    events: Option<Meter>,
    /// What a request of this key has lately cost, in nanoseconds of the quota; 0 until there was one.
    typical: AtomicU64,
    pacing: Pacing,
}

impl Quota {
    /// What `allowance` says; nobody is sent away for longer than `retry_after_cap`.
    pub fn new(allowance: Allowance, retry_after_cap: Duration) -> Self {
        let meter = |rate: Option<f64>| rate.map(|rate| Meter::new(rate, allowance.burst));
        let requests = meter(allowance.requests);
        Self {
            typical: AtomicU64::new(0),
            requests,
            bytes: meter(allowance.bytes),
            events: meter(allowance.events),
            pacing: Pacing::new(retry_after_cap, SECOND),
            allowance,
        }
    }

    /// What it allows.
    pub fn allowance(&self) -> Allowance {
        self.allowance
    }

    /// Whether a request may try `now`; `chance` lies between 0 and 1.
    ///
    /// # Errors
    /// When to come back, if the key has used up what it may.
    pub fn check(&self, now: Moment, chance: f64) -> Result<(), RetryAfter> {
        let typical = match self.typical.load(Ordering::Relaxed) {
            0 => self.requests.as_ref().map_or(1, |meter| meter.cost(1.0)),
            typical => typical,
        };
        self.pacing.offer(typical);
        let wait = self.meters().map(|meter| meter.wait(now)).max().unwrap_or_default();
        if wait.is_zero() { Ok(()) } else { Err(self.pacing.after(typical, wait, now, chance)) }
    }

    /// A request was let in `now`.
    pub fn charge_request(&self, now: Moment) {
        if let Some(meter) = &self.requests {
            meter.charge(now, 1.0);
        }
    }

    /// What a request that was let in turned out to be: `bytes` decoded, with so many `events`.
    pub fn charge_content(&self, now: Moment, bytes: usize, events: u64) {
        let mut cost = self.requests.as_ref().map_or(0, |meter| meter.cost(1.0));
        for (meter, units) in [(&self.bytes, bytes as f64), (&self.events, events as f64)] {
            if let Some(meter) = meter {
                meter.charge(now, units);
                cost = cost.max(meter.cost(units));
            }
        }
        // Two that do this at once forget one of them, which a mean can bear.
        let typical = self.typical.load(Ordering::Relaxed);
        let next = match typical {
            0 => cost,
            _ => (typical.saturating_mul(TYPICAL_PART - 1).saturating_add(cost) / TYPICAL_PART).max(1),
        };
        self.typical.store(next, Ordering::Relaxed);
    }

    /// Learns how much comes; to be called several times a second, by one thread.
    pub fn learn(&self, now: Moment) {
        self.pacing.learn(now, SECOND);
    }

    fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.requests.iter().chain(&self.bytes).chain(&self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_mins(5);
    const NONE: Allowance = Allowance { requests: None, bytes: None, events: None, burst: Duration::from_secs(1) };

    fn at(millis: u64) -> Moment {
        Moment::default() + Duration::from_millis(millis)
    }

    #[test]
    fn each_limit_holds_and_none_is_no_limit() {
        let free = Quota::new(NONE, CAP);
        free.charge_content(at(0), usize::MAX, u64::MAX);
        assert!(free.check(at(0), 0.5).is_ok() && !free.allowance().limits());
        let by_requests = Quota::new(Allowance { requests: Some(2.0), ..NONE }, CAP);
        let let_in =
            (0..10).filter(|_| by_requests.check(at(0), 0.5).map(|()| by_requests.charge_request(at(0))).is_ok());
        assert_eq!(let_in.count(), 3);
        for (allowance, bytes, events) in
            [(Allowance { bytes: Some(1_000.0), ..NONE }, 5_000, 0), (Allowance { events: Some(10.0), ..NONE }, 0, 50)]
        {
            let quota = Quota::new(allowance, CAP);
            assert!(quota.check(at(0), 0.5).is_ok());
            quota.charge_content(at(0), bytes, events);
            assert!(quota.check(at(0), 0.5).is_err());
            assert!(quota.check(at(3_999), 0.5).is_err(), "five seconds' worth, with a burst of one");
            assert!(quota.check(at(4_001), 0.5).is_ok());
        }
    }

    #[test]
    fn those_over_quota_are_told_seconds_that_the_quota_has_room_for() {
        let quota = Quota::new(Allowance { requests: Some(100.0), ..NONE }, CAP);
        let mut told = std::collections::BTreeMap::new();
        for n in 0..1_100 {
            let now = at(n / 10);
            match quota.check(now, n as f64 / 1_100.0) {
                Ok(()) => quota.charge_request(now),
                Err(retry) => *told.entry(retry.seconds()).or_insert(0) += 1,
            }
        }
        assert!(told.values().all(|count| *count <= 100), "{told:?}");
        assert!(told.values().sum::<i32>() >= 900 && told.len() <= 15, "{told:?}");
    }
}
