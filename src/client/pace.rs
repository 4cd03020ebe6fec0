//! When a device sends again: the contract, and the retry budget over it.
//!
//! Like the contract this is plain data that a simulation can hold for each of its devices.

use std::time::Duration;

use super::{
    contract::{self, Answer, BACKOFF_MAX, Fate, MAX_AGE, Verdict},
    retry_budget::RetryBudget,
};

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What becomes of the batch.
    pub fate: Fate,
    /// How long the device sends nothing at all; also when the batch is given up, since the server meant the device.
    pub pause: Option<Duration>,
}

/// What a device remembers of the answers so far.
///
/// Failures in a row are counted for the device, not for the batch: when a full buffer drops the batch that could not be
/// sent, the next one is no reason to begin at one second again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    failures: u32,
    budget: RetryBudget,
}

impl Pace {
    /// What follows from `answer` to a batch of `age`, for a `chance` between 0 and 1.
    pub fn answered(&mut self, answer: &Answer, age: Duration, chance: f64) -> Step {
        match answer.verdict() {
            Verdict::Forget => {
                self.failures = 0;
                self.budget.gain();
            }
            // The server is well, the batch is not.
            Verdict::Drop => self.failures = 0,
            // Both are waits that say nothing of how the server copes when nobody waits.
            Verdict::TryHourly => {}
            Verdict::RetryLater if answer.wait().is_some() => {}
            Verdict::RetryLater => return self.failed(answer, age, chance),
        }
        let fate = contract::fate(answer, age, self.failures, chance);
        Step { fate, pause: contract::when(answer, self.failures, chance) }
    }

    /// No answer, or one that does not say when to come back.
    fn failed(&mut self, answer: &Answer, age: Duration, chance: f64) -> Step {
        self.failures = self.failures.saturating_add(1);
        let mut wait = contract::when(answer, self.failures, chance).unwrap_or(BACKOFF_MAX);
        if !self.budget.pay() {
            // The last half of the longest wait: late for certain, and still not all at once.
            wait = wait.max((BACKOFF_MAX / 2).saturating_add((BACKOFF_MAX / 2).mul_f64(chance.clamp(0.0, 1.0))));
        }
        let fate = if age.saturating_add(wait) > MAX_AGE { Fate::TooOld } else { Fate::Again(wait) };
        Step { fate, pause: Some(wait) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YOUNG: Duration = Duration::ZERO;
    const SILENCE: Answer = Answer { status: None, retry_after: None, retry_after_ms: None };

    fn told(seconds: u64) -> Answer {
        Answer { retry_after: Some(Duration::from_secs(seconds)), ..Answer::of(429) }
    }

    #[test]
    fn pauses_double_until_something_is_delivered() {
        let mut pace = Pace::default();
        let mut pause = |answer: &Answer| pace.answered(answer, YOUNG, 1.0).pause.map(|pause| pause.as_secs());
        assert_eq!(
            [SILENCE, Answer::of(500), SILENCE, told(7), SILENCE].map(|answer| pause(&answer)),
            [Some(1), Some(2), Some(4), Some(7), Some(8)]
        );
        assert_eq!(pause(&Answer::of(200)), None);
        assert_eq!([SILENCE, SILENCE].map(|answer| pause(&answer)), [Some(1), Some(2)]);
        assert_eq!(pause(&Answer::of(400)), None);
        assert_eq!([SILENCE, Answer::of(401), SILENCE].map(|answer| pause(&answer)), [Some(1), Some(3_600), Some(2)]);
    }

    #[test]
    fn a_server_that_fails_every_second_request_gets_few_retries_in_the_long_run() {
        let mut pace = Pace::default();
        let mut long = 0;
        for _ in 0..1_000 {
            let pause = pace.answered(&SILENCE, YOUNG, 0.5).pause.unwrap();
            long += u32::from(pause >= BACKOFF_MAX / 2);
            pace.answered(&Answer::of(200), YOUNG, 0.5);
        }
        // The tokens of the start last for 124 rounds, and of the other 876 the deliveries pay for each fifth.
        assert_eq!(1_000 - long, 124 + 175);
    }

    #[test]
    fn a_retry_at_the_servers_time_costs_nothing() {
        let mut pace = Pace::default();
        for _ in 0..10_000 {
            assert_eq!(pace.answered(&told(3), YOUNG, 0.5).pause, Some(Duration::from_secs(3)));
        }
        assert_eq!(pace, Pace::default());
    }

    #[test]
    fn who_cannot_pay_waits_within_the_last_half_of_the_longest_wait() {
        let mut pace = Pace::default();
        while pace.budget.pay() {}
        for (chance, seconds) in [(0.0, 450), (0.5, 675), (1.0, 900)] {
            assert_eq!(pace.answered(&SILENCE, YOUNG, chance).pause, Some(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn the_pause_holds_for_the_device_when_the_batch_is_given_up() {
        let mut pace = Pace::default();
        let old = MAX_AGE.saturating_sub(Duration::from_secs(5));
        let step = pace.answered(&told(10), old, 0.5);
        assert_eq!(step, Step { fate: Fate::TooOld, pause: Some(Duration::from_secs(10)) });
        let step = pace.answered(&told(5), old, 0.5);
        assert_eq!(step.fate, Fate::Again(Duration::from_secs(5)));
        while pace.budget.pay() {}
        assert_eq!(pace.answered(&SILENCE, old, 0.0).fate, Fate::TooOld);
    }
}
