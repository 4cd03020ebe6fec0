//! The pace: its rules one by one, its bounds under anything, and what it comes to at a service with a quota.

use std::{cmp::Reverse, collections::BinaryHeap};

use proptest::prelude::*;

use super::*;
use crate::sink::Backoff;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A pace that delivered 1 MiB in each of 8 seconds, up to now.
fn running(most: usize) -> (Pace, Instant) {
    let began = Instant::now();
    let mut pace = Pace::new(most, began);
    for second in 0..8_u32 {
        pace.delivered(MIB, false, began + SLOT * second + SLOT / 2);
    }
    (pace, began + SLOT * 8)
}

fn limit(pace: &Pace) -> f64 {
    pace.rate.unwrap().limit
}

#[test]
fn a_decrease_halves_the_calls_and_limits_the_rate_to_half_of_what_was_achieved() {
    let (mut pace, now) = running(8);
    assert_eq!((pace.calls(), pace.next_call(now)), (8, pace.held));
    pace.throttled(0, now - SLOT, now);
    assert_eq!(pace.calls(), 4);
    // The window is seven whole slots and the part of the eighth.
    let achieved = limit(&pace) * 2.0 / MIB as f64;
    assert!((0.9..=1.2).contains(&achieved), "{achieved}");
    // Likewise: from the limit, since less than before is achieved at the most.
    let half = limit(&pace);
    pace.throttled(0, now + SLOT, now + SLOT * 2);
    assert_eq!(pace.calls(), 2);
    assert!(limit(&pace) <= half / 2.0 || limit(&pace) <= LEAST_RATE);
    for round in 3..20 {
        pace.throttled(0, now + SLOT * round, now + SLOT * round + SLOT / 2);
    }
    assert_eq!((pace.calls(), limit(&pace)), (1, LEAST_RATE));
}

#[test]
fn calls_that_began_before_a_decrease_do_not_cause_another() {
    let (mut pace, now) = running(8);
    for _ in 0..5 {
        pace.throttled(0, now - SLOT, now);
    }
    pace.throttled(0, now - SLOT, now + SLOT);
    assert_eq!(pace.calls(), 4);
    pace.throttled(0, now + SLOT / 2, now + SLOT);
    assert_eq!(pace.calls(), 2);
}

#[test]
fn a_round_of_delivered_calls_adds_one_if_all_were_needed() {
    let (mut pace, now) = running(8);
    pace.throttled(0, now, now);
    for _ in 0..100 {
        pace.delivered(KIB, false, now);
    }
    assert_eq!(pace.calls(), 4);
    for _ in 0..5 {
        pace.delivered(KIB, true, now);
    }
    assert_eq!(pace.calls(), 5);
    for _ in 0..100 {
        pace.delivered(KIB, true, now);
    }
    assert_eq!(pace.calls(), 8);
}

#[test]
fn the_rate_spreads_calls_and_grows_back_in_its_time_and_is_lifted_after_quiet() {
    let (mut pace, now) = running(2);
    pace.throttled(0, now, now);
    let half = limit(&pace);
    assert_eq!(pace.next_call(now), now);
    pace.started(half as usize, now);
    let next = pace.next_call(now) - now;
    assert!((0.99..1.01).contains(&next.as_secs_f64()), "{next:?}");
    // As many seconds of sending as it takes to double: a little more, since the rate grows beneath.
    let mut sent = 0.0;
    while limit(&pace) < 2.0 * half {
        sent += (64 * KIB) as f64 / limit(&pace);
        pace.delivered(64 * KIB, false, now);
    }
    assert!((GROWTH_SECONDS * 0.9..GROWTH_SECONDS * 1.1).contains(&sent), "{sent}");
    pace.started(100 * MIB, now);
    assert!(pace.next_call(now + QUIET - SLOT) > now + QUIET);
    assert!(pace.next_call(now + QUIET) <= now + QUIET);
    assert!(pace.rate.is_none());
}

#[test]
fn what_was_achieved_is_forgotten_and_without_it_the_rate_stays_free() {
    let (mut pace, now) = running(4);
    pace.throttled(0, now, now + SLOT * 100);
    assert!(pace.rate.is_none());
    assert_eq!(pace.calls(), 2);
    let mut fresh = Pace::new(0, now);
    fresh.throttled(0, now, now);
    assert_eq!(fresh.calls(), 1);
}

#[test]
fn a_service_that_asks_to_be_left_alone_is() {
    let now = Instant::now();
    let mut pace = Pace::new(4, now);
    pace.hold(now + SLOT * 3);
    pace.hold(now + SLOT);
    assert_eq!(pace.next_call(now), now + SLOT * 3);
}

proptest! {
    #[test]
    fn whatever_happens_the_pace_keeps_its_bounds_and_decreases_once_a_round_trip(
        most in 0..20_usize,
        events in prop::collection::vec((0..3_u8, 0..3_000_u64, 0..10_000_u64, 0..8 * MIB), 0..200),
    ) {
        let mut now = Instant::now();
        let mut pace = Pace::new(most, now);
        let mut last_decrease: Option<Instant> = None;
        for (event, pause, before, bytes) in events {
            now += Duration::from_millis(pause);
            let started = now.checked_sub(Duration::from_millis(before)).unwrap_or(now);
            let (calls, rate) = (pace.calls, pace.rate.map(|rate| rate.limit));
            match event {
                0 => pace.started(bytes, now),
                1 => {
                    pace.delivered(bytes, true, now);
                    prop_assert!(pace.calls >= calls && pace.calls <= calls + 1.0);
                    prop_assert!(pace.rate.map(|rate| rate.limit) >= rate);
                }
                _ => {
                    pace.throttled(bytes, started, now);
                    if last_decrease.is_some_and(|last| started <= last) {
                        prop_assert_eq!((pace.calls, pace.rate.map(|rate| rate.limit)), (calls, rate));
                    } else {
                        last_decrease = Some(now);
                        prop_assert!(pace.calls <= (calls / 2.0).max(1.0));
                    }
                }
            }
            prop_assert!((1..=most.max(1)).contains(&pace.calls()));
            prop_assert!(pace.rate.is_none_or(|rate| rate.limit >= LEAST_RATE && rate.limit.is_finite()));
            // A call of what Firehose takes waits no longer than its bytes at the lowest rate.
            pace.next_call(now);
        }
    }
}

/// A service that takes so many bytes a second, with a second's worth at once, in calls that take their time.
struct Service {
    rate: f64,
    tokens: f64,
    last: Instant,
}

impl Service {
    fn takes(&mut self, bytes: f64, now: Instant) -> bool {
        self.tokens = (self.tokens + self.rate * (now - self.last).as_secs_f64()).min(self.rate);
        self.last = now;
        let taken = self.tokens >= bytes;
        if taken {
            self.tokens -= bytes;
        }
        taken
    }
}

/// What senders with always something to send come to: of each, what was taken in the second half of the time as a part
/// of what the service takes, and the part of calls that were throttled.
fn simulate(senders: usize, rate: f64, paced: bool) -> Vec<(f64, f64)> {
    const CALL: usize = 256 * KIB;
    const RTT: f64 = 0.05;
    const SECONDS: f64 = 400.0;
    let began = Instant::now();
    let mut random = fastrand::Rng::with_seed(7);
    let mut service = Service { rate, tokens: rate, last: began };
    let mut pacers: Vec<Pace> = (0..senders).map(|_| Pace::new(4, began)).collect();
    let mut counts = vec![(0.0, 0.0, 0.0); senders];
    // When a slot of a sender is free again, and which call it had: all are at first.
    let mut slots = BinaryHeap::new();
    let mut serial = 0_u64;
    for sender in 0..senders {
        for slot in 0..4 {
            slots.push(Reverse((began, serial, sender, slot, None::<Instant>)));
            serial += 1;
        }
    }
    let mut on_their_way = vec![0_usize; senders];
    let mut backoffs = vec![[Backoff::new(secs(0.2), secs(30.0)); 4]; senders];
    while let Some(Reverse((now, _, sender, slot, call))) = slots.pop() {
        if now > began + secs(SECONDS) {
            break;
        }
        let pace = &mut pacers[sender];
        let mut wait = Duration::ZERO;
        if let Some(started) = call {
            let full = on_their_way[sender] >= pace.calls();
            on_their_way[sender] -= 1;
            let taken = service.takes(CALL as f64, now);
            if now > began + secs(SECONDS / 2.0) {
                counts[sender].0 += if taken { CALL as f64 } else { 0.0 };
                counts[sender].1 += 1.0;
                counts[sender].2 += if taken { 0.0 } else { 1.0 };
            }
            if taken {
                pace.delivered(CALL, full, now);
                backoffs[sender][slot].reset();
            } else {
                pace.throttled(0, started, now);
                wait = backoffs[sender][slot].next_wait(random.f64());
            }
        }
        serial += 1;
        let at = if paced { pace.next_call(now).max(now + wait) } else { now + wait };
        let allowed = !paced || on_their_way[sender] < pace.calls();
        if at <= now && allowed {
            pace.started(CALL, now);
            on_their_way[sender] += 1;
            slots.push(Reverse((now + secs(RTT), serial, sender, slot, Some(now))));
        } else {
            slots.push(Reverse((at.max(now + secs(0.001)), serial, sender, slot, None)));
        }
    }
    let seconds = SECONDS / 2.0;
    counts.into_iter().map(|(taken, calls, throttled)| (taken / seconds / rate, throttled / calls)).collect()
}

#[test]
fn a_sender_comes_to_most_of_a_quota_with_few_refusals() {
    for rate in [1.0, 5.0] {
        let rate = rate * MIB as f64;
        let (taken, throttled) = simulate(1, rate, true)[0];
        let (_, unpaced) = simulate(1, rate, false)[0];
        assert!(taken > 0.7, "{taken} of {rate}");
        assert!(throttled < 0.1 && throttled < unpaced / 3.0, "{throttled} against {unpaced}");
    }
}

#[test]
fn senders_come_to_fair_shares() {
    let shares = simulate(4, 4.0 * MIB as f64, true);
    let sum: f64 = shares.iter().map(|(taken, _)| taken).sum();
    assert!(sum > 0.7, "{shares:?}");
    assert!(shares.iter().all(|(taken, throttled)| *taken > sum / 4.0 / 2.0 && *throttled < 0.15), "{shares:?}");
}
