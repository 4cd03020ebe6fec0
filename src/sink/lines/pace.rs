//! How fast a line sink is called: additive increase, multiplicative decrease, of calls and of bytes a second.
//!
//! A service that throttles says that it was asked too much, and not how much it would take; several instances share what
//! it takes, and none of them knows of the others. The answer is that of TCP (RFC 5681): whoever is told so halves what
//! he sends, and grows by small steps afterwards. Instances that do the same come to fair shares without speaking.
//!
//! What others do, and what was taken from it:
//!
//! - Vector's adaptive request concurrency limits calls only, and also decreases when answers become slow. A slow answer
//!   is none here: a service that queues takes the lines, and its time-out is the driver's. What was taken: a limit that is
//!   not used does not grow, or it says nothing.
//! - The AWS SDKs' adaptive mode limits the rate only, from the measured one (×0.7, then a cubic curve); the Kinesis
//!   producer keeps a fixed rate below the shard's and retries at once. What was taken: the rate is limited only once
//!   something was throttled, and starts from what was achieved, not from what was tried.
//!
//! Both are limited here. Calls alone cannot pace: one call at a time of 4 MiB each 50 ms is 80 MiB/s where a delivery
//! stream takes 1 to 5. The rate alone does not keep calls from piling up at a service that is slow.
//!
//! The rules:
//!
//! - Calls begin at the configured number: that is small, and chosen by somebody; the first throttling halves it.
//! - **One decrease for each round trip**: a call that began before the last decrease tells nothing of its effect.
//! - A decrease halves the calls (not below 1), and sets the rate to half of what was achieved in the last
//!   [`RECENT_SLOTS`] seconds, or of the limit if that is lower (not below [`LEAST_RATE`]: what is refused beyond is left to
//!   the back-off of the refused).
//! - A delivered call adds its part of a call, so that a round of them adds one; and the time that it takes at the rate,
//!   as a part of [`GROWTH_SECONDS`], in which the rate comes back from one half to the whole.
//! - Without throttling for [`QUIET`] the rate is not limited any more. Calls stay as far as they have grown.

use std::time::Duration;

use tokio::time::Instant;

/// The lowest limit of the rate, in bytes a second.
const LEAST_RATE: f64 = 256.0 * 1024.0;
/// In how many seconds of sending the rate grows from the half to the whole of what it was before a decrease.
const GROWTH_SECONDS: f64 = 20.0;
/// After how long without throttling the rate is not limited any more.
const QUIET: Duration = Duration::from_mins(1);
/// Over how many slots the achieved rate is measured.
const RECENT_SLOTS: usize = 8;
/// How long a slot is.
const SLOT: Duration = Duration::from_secs(1);

/// How many calls may be on their way, and when the next may begin.
#[derive(Debug)]
pub(super) struct Pace {
    /// The configured number of calls.
    most: f64,
    /// How many are allowed now, from 1 to `most`.
    calls: f64,
    rate: Option<Rate>,
    /// When the next call may begin as far as the rate goes.
    next: Instant,
    /// Until when the service has asked to be left alone.
    held: Instant,
    decreased: Option<Instant>,
    throttled: Option<Instant>,
    recent: Recent,
}

/// A limit of bytes a second.
#[derive(Debug, Clone, Copy)]
struct Rate {
    limit: f64,
    /// By how much it grows in each second of sending.
    step: f64,
}

impl Pace {
    /// Up to `most` calls, at any rate.
    pub(super) fn new(most: usize, now: Instant) -> Self {
        let most = most.max(1) as f64;
        let recent = Recent::new(now);
        Self { most, calls: most, rate: None, next: now, held: now, decreased: None, throttled: None, recent }
    }

    /// How many calls may be on their way.
    pub(super) fn calls(&self) -> usize {
        self.calls as usize
    }

    /// When the next call may begin.
    pub(super) fn next_call(&mut self, now: Instant) -> Instant {
        if self.throttled.is_some_and(|throttled| now.saturating_duration_since(throttled) >= QUIET) {
            self.rate = None;
        }
        if self.rate.is_some() { self.next.max(self.held) } else { self.held }
    }

    /// A call of `bytes` bytes begins.
    pub(super) fn started(&mut self, bytes: usize, now: Instant) {
        if let Some(rate) = self.rate {
            self.next = self.next.max(now) + Duration::from_secs_f64(bytes as f64 / rate.limit);
        }
    }

    /// Of a call, `bytes` were taken, and nothing was throttled; `full` if as many calls were on their way as may be.
    pub(super) fn delivered(&mut self, bytes: usize, full: bool, now: Instant) {
        self.recent.add(bytes, now);
        if full {
            self.calls = (self.calls + 1.0 / self.calls).min(self.most);
        }
        if let Some(rate) = &mut self.rate {
            rate.limit += rate.step * bytes as f64 / rate.limit;
        }
    }

    /// A call that began at `started` was throttled, wholly or in part: `bytes` of it were taken.
    pub(super) fn throttled(&mut self, bytes: usize, started: Instant, now: Instant) {
        self.recent.add(bytes, now);
        self.throttled = Some(now);
        if self.decreased.is_some_and(|decreased| started <= decreased) {
            return;
        }
        self.decreased = Some(now);
        self.calls = (self.calls / 2.0).max(1.0);
        let limit = self.rate.map(|rate| rate.limit);
        let achieved = self.recent.rate(now);
        // Without either, nothing is known of the rate: fewer calls, and the back-off, must do.
        let Some(before) = limit.into_iter().chain(achieved).reduce(f64::min) else { return };
        let limit = (before / 2.0).max(LEAST_RATE);
        self.rate = Some(Rate { limit, step: limit / GROWTH_SECONDS });
        self.next = self.next.max(now);
    }

    /// The service asks to be left alone until `until`.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held = self.held.max(until);
    }
}

/// What was delivered in the last seconds.
#[derive(Debug)]
struct Recent {
    began: Instant,
    slots: [u64; RECENT_SLOTS],
    /// The number of the newest slot.
    newest: u64,
}

impl Recent {
    fn new(now: Instant) -> Self {
        Self { began: now, slots: [0; RECENT_SLOTS], newest: 0 }
    }

    /// Goes on to the slot of `now`; how far that has come.
    fn turn(&mut self, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.began);
        let number = (elapsed.as_nanos() / SLOT.as_nanos()) as u64;
        for passed in self.newest + 1..=number.min(self.newest + RECENT_SLOTS as u64) {
            self.slots[passed as usize % RECENT_SLOTS] = 0;
        }
        if number > self.newest + RECENT_SLOTS as u64 {
            self.slots = [0; RECENT_SLOTS];
        }
        self.newest = self.newest.max(number);
        elapsed
    }

    fn add(&mut self, bytes: usize, now: Instant) {
        self.turn(now);
        self.slots[self.newest as usize % RECENT_SLOTS] += bytes as u64;
    }

    /// Bytes a second; `None` if nothing was delivered.
    fn rate(&mut self, now: Instant) -> Option<f64> {
        let elapsed = self.turn(now);
        let in_newest = Duration::from_nanos((elapsed.as_nanos() % SLOT.as_nanos()) as u64);
        let window = SLOT * (RECENT_SLOTS as u32 - 1) + in_newest;
        let sum: u64 = self.slots.iter().sum();
        (sum > 0).then(|| sum as f64 / elapsed.min(window).max(SLOT).as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
