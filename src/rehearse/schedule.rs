//! Which try is due when: pure, an open loop.
//!
//! New batches come when the profile says, and returns when their devices want, whatever the target does meanwhile: what
//! is due waits in a line until the generator can send it, and its latency counts from when it was due. What cannot be
//! sent is the generator's own shortfall and is counted as such: in this file there are [`MAX_LINE`] places for tries that
//! are due and have not been sent, each for at most [`LINE_PATIENCE`], and [`MAX_WAITING`] for batches whose devices wait.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
    iter::Peekable,
    time::Duration,
};

use super::{
    device::{Delivery, Mix, Next, as_if_told},
    history::History,
    profile::Arrivals,
};
use crate::client::contract::Answer;

/// Tries that are due and have not been sent.
pub const MAX_LINE: usize = 100_000;
/// How long a try may wait in the line: a device would have given this try up.
pub const LINE_PATIENCE: Duration = Duration::from_secs(10);
/// Batches whose devices wait until they come back.
pub const MAX_WAITING: usize = 2_000_000;

/// Which try is due when.
#[derive(Debug)]
pub struct Schedule {
    arrivals: Peekable<Arrivals>,
    mix: Mix,
    devices: u64,
    constant_retry_after: Option<Duration>,
    random: fastrand::Rng,
    batches: u64,
    waiting: BinaryHeap<Reverse<Due>>,
    most_waiting: usize,
    line: VecDeque<Delivery>,
    /// Until when what is due was put into the line.
    released: Duration,
    history: History,
}

/// A delivery in the order of its time.
#[derive(Debug, PartialEq, Eq)]
struct Due(Delivery);

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.due, self.0.batch).cmp(&(other.0.due, other.0.batch))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What came of a try that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The answer, as it came.
    pub answer: Answer,
    /// The cause of a refusal, or what a failure was.
    pub what: &'a str,
    /// The body's length, in bytes.
    pub bytes: u64,
}

impl Schedule {
    /// The load of `arrivals` from `devices` devices of this `mix`.
    pub fn new(arrivals: Arrivals, mix: Mix, devices: u64, constant_retry_after: Option<Duration>, seed: u64) -> Self {
        Self {
            arrivals: arrivals.peekable(),
            mix,
            devices: devices.max(1),
            constant_retry_after,
            random: fastrand::Rng::with_seed(!seed),
            batches: 0,
            waiting: BinaryHeap::new(),
            most_waiting: 0,
            line: VecDeque::new(),
            released: Duration::ZERO,
            history: History::new(),
        }
    }

    /// When something is due next, beyond what stands in the line; `None` if nothing will be by itself.
    pub fn next_due(&mut self) -> Option<Duration> {
        let (arrival, waiting) = (self.arrivals.peek().copied(), self.waiting.peek().map(|Reverse(due)| due.0.due));
        match (arrival, waiting) {
            (Some(arrival), Some(waiting)) => Some(arrival.min(waiting)),
            (arrival, waiting) => arrival.or(waiting),
        }
    }

    /// Puts into the line what is due at `now`, and says how many tries stand there.
    pub fn release(&mut self, now: Duration) -> usize {
        self.released = self.released.max(now);
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            let delivery = match self.waiting.peek() {
                Some(Reverse(waiting)) if waiting.0.due <= due => self.waiting.pop().map(|Reverse(due)| due.0),
                _ => self.arrivals.next().map(|due| self.batch(due)),
            };
            let Some(delivery) = delivery else { break };
            self.history.due(&delivery);
            if self.line.len() < MAX_LINE {
                self.line.push_back(delivery);
            } else {
                self.history.unsent(now);
            }
        }
        self.line()
    }

    fn batch(&mut self, due: Duration) -> Delivery {
        let batch = self.batches;
        self.batches += 1;
        let device = batch % self.devices;
        Delivery::new(device, batch, self.mix.of(device), due)
    }

    /// The next try to send, at `now`. What has waited too long is passed over.
    pub fn take(&mut self, now: Duration) -> Option<Delivery> {
        loop {
            let delivery = self.line.pop_front()?;
            if now.saturating_sub(delivery.due) <= LINE_PATIENCE {
                return Some(delivery);
            }
            self.history.unsent(now);
        }
    }

    /// A try is sent at `now`.
    pub fn sent(&mut self, delivery: &Delivery, now: Duration) {
        self.history.sent(delivery, now);
    }

    /// A try could not be sent, at `now`, for want of something of the generator's own.
    pub fn unsent(&mut self, now: Duration) {
        self.history.unsent(now);
    }

    /// A try that was sent came to `outcome`, at `now`.
    pub fn answered(&mut self, delivery: &Delivery, outcome: &Outcome<'_>, now: Duration) {
        let answer = as_if_told(outcome.answer, self.constant_retry_after);
        let next = delivery.answered(&answer, now, self.random.f64());
        self.history.answered(delivery, now, &answer, outcome.what, outcome.bytes, &next);
        if let Next::Again(delivery) = next {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push(Reverse(Due(delivery)));
                self.most_waiting = self.most_waiting.max(self.waiting.len());
            } else {
                // The device would come back, and the generator has no place to remember it: that try is due now and
                // is not sent.
                self.history.due(&Delivery { due: now, ..delivery });
                self.history.unsent(now);
            }
        }
    }

    /// How many tries are due and were not taken.
    pub fn line(&self) -> usize {
        self.line.len()
    }

    /// How many batches wait for their devices to come back.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What has happened so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Ends it at `now`, when every try that was sent has its outcome: what happened, and the most batches that waited
    /// together.
    pub fn finish(mut self, now: Duration) -> (History, usize) {
        self.line.iter().for_each(|_| self.history.unsent(now));
        self.history.still_waiting(self.waiting.len() as u64);
        self.history.close(self.released);
        (self.history, self.most_waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::{
        profile::{Flood, Profile},
        report::{Generator, Report, Setup, Totals},
    };

    const MIX: Mix = Mix { behave: 0.6, careless: 0.3, stubborn: 0.1 };

    fn schedule(peak: f64, seconds: u64) -> Schedule {
        let flood = Flood { profile: Profile::Steady, peak, duration: Duration::from_secs(seconds) };
        Schedule::new(Arrivals::new(flood, 3), MIX, 1_000, None, 3)
    }

    fn report((history, _): (History, usize)) -> Report {
        history.report(Setup::default(), Generator::default(), Vec::new(), Vec::new())
    }

    fn balances(totals: &Totals) {
        assert_eq!(totals.new + totals.returns, totals.sent + totals.unsent, "{totals:?}");
        let answered = totals.accepted + totals.all_refused() + totals.dropped + totals.all_failed();
        assert_eq!(totals.sent, answered, "{totals:?}");
        let batches = totals.accepted + totals.dropped + totals.given_up + totals.unsent + totals.waiting;
        assert_eq!(totals.new, batches, "{totals:?}");
    }

    /// Plays `schedule` until `end` in steps of 10 ms, against a server that takes `each` tries a step and refuses, drops
    /// or breaks off the rest; the generator sends `sends` a step.
    fn play(mut schedule: Schedule, end: Duration, each: usize, sends: usize) -> Report {
        let mut random = fastrand::Rng::with_seed(5);
        let mut now = Duration::ZERO;
        while now < end {
            now += Duration::from_millis(10);
            schedule.release(now);
            for n in 0..sends {
                let Some(delivery) = schedule.take(now) else { break };
                schedule.sent(&delivery, now);
                let (answer, what) = match random.u8(..20) {
                    _ if n < each => (Answer::of(200), ""),
                    0 => (Answer::of(400), ""),
                    1 => (Answer::default(), "cut"),
                    2 => (Answer::of(503), "status 503"),
                    _ => (Answer { retry_after_ms: Some(random.u64(1..5_000)), ..Answer::of(429) }, "backlog"),
                };
                schedule.answered(&delivery, &Outcome { answer, what, bytes: 100 }, now);
            }
        }
        report(schedule.finish(now))
    }

    #[test]
    fn the_books_of_a_flood_balance_whatever_is_answered() {
        let report = play(schedule(2_000.0, 20), Duration::from_mins(1), 10, 1_000);
        balances(&report.totals);
        let totals = &report.totals;
        assert!(totals.accepted > 10_000 && totals.returns > 1_000 && totals.dropped > 0 && totals.given_up > 0);
        assert_eq!((totals.unsent, totals.new), (0, Arrivals::new(schedule_flood(2_000.0, 20), 3).count() as u64));
        assert_eq!(totals.failed.keys().collect::<Vec<_>>(), ["cut", "status 503"]);
    }

    fn schedule_flood(peak: f64, seconds: u64) -> Flood {
        Flood { profile: Profile::Steady, peak, duration: Duration::from_secs(seconds) }
    }

    #[test]
    fn what_a_slow_generator_cannot_send_is_its_own_shortfall_and_its_lateness_is_told() {
        let report = play(schedule(1_000.0, 30), Duration::from_secs(30), 1, 1);
        balances(&report.totals);
        assert!(report.totals.unsent > 10_000, "{:?}", report.totals);
        assert!(report.totals.sent <= 3_000 && report.generator.lag.p50 > 1.0, "{:?}", report.generator);
        assert!(report.latency.accepted.p50 > 1.0, "latency counts from when a try was due");
        let longest = LINE_PATIENCE.as_secs_f64() * 1.01;
        assert!(report.generator.lag.max <= longest, "{:?}", report.generator);
    }

    /// Plays a flood of 4 s and a calm of 12 s, second by second: what comes in the flood is refused, or has its answer
    /// when everything is broken off at 26 s. Of the later ones, those that are due before `silent` are taken.
    fn recovery(silent: u64) -> Option<f64> {
        let duration = Duration::from_secs(16);
        let flood = Flood { profile: Profile::SeedOutage, peak: 2_000.0, duration };
        let mix = Mix { behave: 1.0, ..Mix::default() };
        let mut schedule = Schedule::new(Arrivals::new(flood, 3), mix, 1_000, None, 3);
        let (end, cut) = (duration.as_secs(), Duration::from_secs(26));
        let mut hang = Vec::new();
        for now in (1..=end).map(Duration::from_secs) {
            schedule.release(now);
            while let Some(delivery) = schedule.take(now) {
                schedule.sent(&delivery, delivery.due);
                let (answer, what) = match delivery.due.as_secs() {
                    0..4 => (Answer { retry_after_ms: Some(3_600_000), ..Answer::of(429) }, "backlog"),
                    due if due < silent => (Answer::of(200), ""),
                    _ => {
                        hang.push(delivery);
                        continue;
                    }
                };
                schedule.answered(&delivery, &Outcome { answer, what, bytes: 100 }, delivery.due);
            }
        }
        for delivery in hang {
            let outcome = Outcome { answer: Answer::default(), what: "unanswered at the end", bytes: 0 };
            schedule.answered(&delivery, &outcome, cut);
        }
        report_of(schedule.finish(cut), flood).recovery
    }

    fn report_of((history, _): (History, usize), flood: Flood) -> Report {
        let setup = Setup { flood_end: flood.end().map(|end| end.as_secs_f64()), ..Setup::default() };
        history.report(setup, Generator::default(), Vec::new(), Vec::new())
    }

    #[test]
    fn a_target_that_goes_silent_when_the_flood_ends_has_not_recovered() {
        assert_eq!(recovery(99), Some(0.0));
        assert_eq!(recovery(9), Some(0.0), "five seconds were seen");
        assert_eq!(recovery(8), None);
        assert_eq!(recovery(4), None);
    }

    #[test]
    fn what_is_seen_after_the_last_try_is_no_recovery() {
        let flood = Flood { duration: Duration::from_secs(4), ..Flood::new(Profile::SeedOutage, 100.0) };
        let mut schedule = Schedule::new(Arrivals::new(flood, 3), MIX, 1_000, None, 3);
        schedule.release(Duration::from_millis(1_500));
        let stopped = report_of(schedule.finish(Duration::from_secs(20)), flood);
        assert_eq!(stopped.recovery, None);
        let mut schedule = Schedule::new(Arrivals::new(flood, 3), MIX, 1_000, None, 3);
        schedule.release(Duration::from_secs(1));
        while schedule.take(Duration::from_secs(1)).is_some() {}
        schedule.unsent(Duration::from_secs(20));
        assert_eq!(report_of(schedule.finish(Duration::from_secs(20)), flood).recovery, None);
    }

    #[test]
    fn new_batches_are_due_when_they_arrive_and_come_from_each_device_in_turn() {
        let mut schedule = schedule(1_000.0, 3);
        schedule.release(Duration::from_secs(3));
        let sent: Vec<Delivery> = std::iter::from_fn(|| schedule.take(Duration::from_secs(3))).collect();
        let due: Vec<Duration> = Arrivals::new(schedule_flood(1_000.0, 3), 3).collect();
        assert_eq!(sent.iter().map(|delivery| delivery.due).collect::<Vec<_>>(), due);
        for (number, delivery) in (0..).zip(&sent) {
            assert_eq!((delivery.batch, delivery.device), (number, number % 1_000));
            assert_eq!(delivery.behaviour, MIX.of(delivery.device));
        }
    }

    #[test]
    fn a_line_has_no_more_places_than_its_limit() {
        let mut schedule = schedule(200_000.0, 1);
        assert_eq!(schedule.release(Duration::from_secs(1)), MAX_LINE);
        let unsent = schedule.history().totals().unsent;
        assert!((80_000..120_000).contains(&unsent), "{unsent}");
        balances(&report(schedule.finish(Duration::from_secs(1))).totals);
    }

    #[test]
    fn a_constant_retry_after_brings_everybody_back_after_it() {
        let flood = schedule_flood(1_000.0, 1);
        let constant = Some(Duration::from_secs(2));
        let mix = Mix { behave: 1.0, ..Mix::default() };
        let mut schedule = Schedule::new(Arrivals::new(flood, 3), mix, 10, constant, 3);
        let now = Duration::from_secs(1);
        schedule.release(now);
        while let Some(delivery) = schedule.take(now) {
            schedule.sent(&delivery, now);
            let answer = Answer { retry_after_ms: Some(9_999), ..Answer::of(429) };
            schedule.answered(&delivery, &Outcome { answer, what: "backlog", bytes: 1 }, now);
        }
        assert_eq!(schedule.next_due(), Some(Duration::from_secs(3)));
        let all = schedule.history().totals().new as usize;
        assert_eq!((schedule.waiting(), schedule.release(Duration::from_secs(3))), (all, all));
        let report = report(schedule.finish(now));
        assert_eq!(report.told.seconds.keys().copied().collect::<Vec<_>>(), [2]);
    }
}
