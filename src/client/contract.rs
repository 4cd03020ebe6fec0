//! What an SDK does with an answer: the normative table, in code.
//!
//! | answer | the batch |
//! |---|---|
//! | 200, 202, 422 | is forgotten: the server has it, rejected events too |
//! | 400, 404, 405, 413, 415, 431 | is dropped and counted: it can never be taken |
//! | 401, 403 | is kept, and tried once an hour: somebody will mend the key |
//! | 408, 429, 5xx, no answer, anything else | goes again later under the same id |
//!
//! *Later* is when the answer says, if it does: at least 100 milliseconds and at most a day from now, whatever it says. Else
//! it is anywhere between nothing and a bound that doubles from 1 second up to 15 minutes. 7 days after it was made, a batch
//! is dropped and counted, whatever was answered.
//!
//! This file is plain data and arithmetic: no clock, no chance of its own, no memory, no I/O. A simulation of millions of
//! devices calls it as the client does.

use std::time::Duration;

/// The first bound of a wait that the server does not name.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The last bound of a wait that the server does not name.
pub const BACKOFF_MAX: Duration = Duration::from_mins(15);
/// The wait after an answer that blames the key.
pub const KEY_WAIT: Duration = Duration::from_hours(1);
/// The shortest wait that an answer can ask for. A retry at the server's time costs no retry budget, so that a slip of the
/// server could ask for a flood otherwise.
pub const MIN_NAMED_WAIT: Duration = Duration::from_millis(100);
/// The longest wait that an answer can ask for. An operator may mute devices for a week: they ask once a day whether that
/// still holds, so that one who has changed his mind is heard within a day, and a batch outlives several such answers.
pub const MAX_NAMED_WAIT: Duration = Duration::from_hours(24);
/// How old a batch may become before it is given up.
pub const MAX_AGE: Duration = Duration::from_hours(7 * 24);

/// What an answer means for the batch it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The server has it. Forget it.
    Forget,
    /// It can never be taken. Drop it, and count that.
    Drop,
    /// The key is to blame. Keep it, and try again once an hour.
    TryHourly,
    /// Send the same batch with the same id later.
    RetryLater,
}

impl Verdict {
    /// The table: the verdict of an answer's `status`, or of no answer at all.
    ///
    /// What the table does not name was not said by the server but by something before it (a captive portal's 302, a
    /// proxy's 410): that promises nothing, and rules nothing out.
    pub const fn of(status: Option<u16>) -> Self {
        match status {
            Some(200 | 202 | 422) => Self::Forget,
            Some(400 | 404 | 405 | 413 | 415 | 431) => Self::Drop,
            Some(401 | 403) => Self::TryHourly,
            _ => Self::RetryLater,
        }
    }
}

/// What the contract needs to know of an answer. The default is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answer {
    /// The status; `None` if there was no answer: no connection, a cut one, or none in time.
    pub status: Option<u16>,
    /// The header `Retry-After`, which is whole seconds.
    pub retry_after: Option<Duration>,
    /// `retry_after_ms` of the body.
    pub retry_after_ms: Option<u64>,
}

impl Answer {
    /// An answer that says nothing but its status.
    pub const fn of(status: u16) -> Self {
        Self { status: Some(status), retry_after: None, retry_after_ms: None }
    }

    /// What it means for the batch.
    pub const fn verdict(&self) -> Verdict {
        Verdict::of(self.status)
    }

    /// The wait that the server asks for, if it does and if the verdict is to send again later: from [`MIN_NAMED_WAIT`] to
    /// [`MAX_NAMED_WAIT`].
    ///
    /// The body's milliseconds are the slot that the server has set aside. The header is the same slot in whole seconds;
    /// who obeys only that comes together with all others of its second.
    pub fn wait(&self) -> Option<Duration> {
        if self.verdict() != Verdict::RetryLater {
            return None;
        }
        let wait = self.retry_after_ms.map(Duration::from_millis).or(self.retry_after)?;
        // No time at all names none.
        if wait.is_zero() { None } else { Some(wait.clamp(MIN_NAMED_WAIT, MAX_NAMED_WAIT)) }
    }
}

/// Exponential back-off with full jitter: a wait lies anywhere between nothing and a bound that doubles with each failure.
///
/// Full jitter, since what failed for one device failed for all of them in the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound after the first failure.
    pub min: Duration,
    /// The bound that is not exceeded.
    pub max: Duration,
}

impl Backoff {
    /// The back-off of the table: from [`BACKOFF_MIN`] to [`BACKOFF_MAX`].
    pub const DEVICE: Self = Self { min: BACKOFF_MIN, max: BACKOFF_MAX };

    /// The most that is waited after `failures` in a row; the first is 1.
    pub fn bound(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.min.saturating_mul(1 << doublings).min(self.max)
    }

    /// The wait after `failures` in a row, for a `chance` between 0 and 1.
    pub fn wait(&self, failures: u32, chance: f64) -> Duration {
        // What is no number counts as none; `clamp` would let it through.
        let share = if chance > 0.0 { chance.min(1.0) } else { 0.0 };
        self.bound(failures).mul_f64(share)
    }
}

/// How long to wait before the batch goes again: what the answer says, else by [`Backoff::DEVICE`] after `failures` in a row
/// (the first is 1), for a `chance` between 0 and 1. `None`: it does not go again.
pub fn when(answer: &Answer, failures: u32, chance: f64) -> Option<Duration> {
    match answer.verdict() {
        Verdict::Forget | Verdict::Drop => None,
        Verdict::TryHourly => Some(KEY_WAIT),
        Verdict::RetryLater => Some(answer.wait().unwrap_or_else(|| Backoff::DEVICE.wait(failures, chance))),
    }
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The server has it.
    Forgotten,
    /// It can never be taken; counted as dropped.
    Refused,
    /// It would be older than [`MAX_AGE`] when it could go again; counted as dropped.
    TooOld,
    /// It goes again after this.
    Again(Duration),
}

/// What becomes of a batch of `age` that got `answer`; `failures` and `chance` as in [`when`].
pub fn fate(answer: &Answer, age: Duration, failures: u32, chance: f64) -> Fate {
    match (answer.verdict(), when(answer, failures, chance)) {
        (Verdict::Forget, _) => Fate::Forgotten,
        (_, None) => Fate::Refused,
        (_, Some(wait)) if age.saturating_add(wait) > MAX_AGE => Fate::TooOld,
        (_, Some(wait)) => Fate::Again(wait),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(retry_after: Option<u64>, retry_after_ms: Option<u64>) -> Answer {
        Answer { retry_after: retry_after.map(Duration::from_secs), retry_after_ms, ..Answer::of(429) }
    }

    #[test]
    fn each_status_has_the_verdict_of_the_table() {
        let mut counts = [0; 4];
        for status in 100..1_000 {
            let verdict = Verdict::of(Some(status));
            let expected = match status {
                200 | 202 | 422 => Verdict::Forget,
                400 | 404 | 405 | 413 | 415 | 431 => Verdict::Drop,
                401 | 403 => Verdict::TryHourly,
                _ => Verdict::RetryLater,
            };
            assert_eq!(verdict, expected, "{status}");
            counts[verdict as usize] += 1;
        }
        assert_eq!(counts, [3, 6, 2, 889]);
        assert_eq!(Verdict::of(None), Verdict::RetryLater);
        assert_eq!(Answer::default().verdict(), Verdict::RetryLater);
    }

    #[test]
    fn the_numbers_are_those_of_the_contract() {
        assert_eq!((BACKOFF_MIN.as_secs(), BACKOFF_MAX.as_secs()), (1, 900));
        assert_eq!((KEY_WAIT.as_secs(), MAX_AGE.as_secs()), (3_600, 604_800));
        assert_eq!((MIN_NAMED_WAIT.as_millis(), MAX_NAMED_WAIT.as_secs()), (100, 86_400));
    }

    #[test]
    fn bounds_double_from_a_second_to_a_quarter_of_an_hour() {
        let bounds: Vec<_> = (0..=12).map(|failures| Backoff::DEVICE.bound(failures).as_secs()).collect();
        assert_eq!(bounds, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(Backoff::DEVICE.bound(u32::MAX), BACKOFF_MAX);
    }

    #[test]
    fn milliseconds_stand_before_the_header_and_the_header_before_the_back_off() {
        let chance = 0.5;
        assert_eq!(when(&refused(Some(2), Some(1_234)), 9, chance), Some(Duration::from_millis(1_234)));
        assert_eq!(when(&refused(Some(2), None), 9, chance), Some(Duration::from_secs(2)));
        assert_eq!(when(&refused(None, None), 3, chance), Some(Duration::from_secs(2)));
        assert_eq!(when(&Answer::default(), 1, chance), Some(Duration::from_millis(500)));
        assert_eq!(when(&refused(Some(0), None), 1, chance), Some(Duration::from_millis(500)));
        assert_eq!(when(&refused(Some(1), Some(0)), 1, chance), Some(Duration::from_millis(500)));
    }

    #[test]
    fn no_answer_makes_a_device_come_back_at_once_or_silences_it_for_more_than_a_day() {
        let wait = |seconds, millis| refused(seconds, millis).wait().map(|wait| wait.as_millis());
        assert_eq!(wait(None, Some(1)), Some(100));
        assert_eq!(wait(None, Some(101)), Some(101));
        for (seconds, millis) in [(604_800, 604_800_000), (u64::MAX, u64::MAX)] {
            assert_eq!([wait(Some(seconds), None), wait(None, Some(millis))], [Some(86_400_000); 2]);
        }
        // A young batch outlives a mute of a week that was named but once.
        assert_eq!(fate(&refused(Some(604_800), None), BACKOFF_MIN, 1, 0.5), Fate::Again(MAX_NAMED_WAIT));
    }

    #[test]
    fn only_a_batch_that_goes_again_waits() {
        let told = |status| Answer { status: Some(status), ..refused(Some(5), Some(4_500)) };
        assert_eq!(when(&told(200), 1, 0.5), None);
        assert_eq!(when(&told(400), 1, 0.5), None);
        // An hour is an hour: the key does not become good sooner.
        assert_eq!(when(&told(401), 1, 0.5), Some(KEY_WAIT));
        assert_eq!(when(&told(503), 1, 0.5), Some(Duration::from_millis(4_500)));
    }

    #[test]
    fn a_batch_is_given_up_when_it_would_be_older_than_seven_days() {
        let fate = |status, age| fate(&Answer::of(status), age, 1, 1.0);
        let second = Duration::from_secs(1);
        assert_eq!(fate(503, MAX_AGE.saturating_sub(second)), Fate::Again(second));
        assert_eq!(fate(503, MAX_AGE), Fate::TooOld);
        assert_eq!(fate(401, MAX_AGE.saturating_sub(KEY_WAIT)), Fate::Again(KEY_WAIT));
        assert_eq!(fate(401, MAX_AGE.saturating_sub(second)), Fate::TooOld);
        assert_eq!(fate(200, Duration::MAX), Fate::Forgotten);
        assert_eq!(fate(400, Duration::MAX), Fate::Refused);
        assert_eq!(fate(503, Duration::MAX), Fate::TooOld);
    }

    proptest! {
        #[test]
        fn waits_lie_between_nothing_and_their_bound(failures: u32, chance in prop_oneof![0.0..=1.0, any::<f64>()]) {
            let wait = Backoff::DEVICE.wait(failures, chance);
            let bound = Backoff::DEVICE.bound(failures);
            prop_assert!(wait <= bound, "{wait:?} > {bound:?}");
            prop_assert!((BACKOFF_MIN..=BACKOFF_MAX).contains(&bound));
            prop_assert!(Backoff::DEVICE.bound(failures.saturating_add(1)) >= bound);
        }

        /// Chance decides over the whole width: half of it is half of the bound.
        #[test]
        fn jitter_is_full(failures in 0_u32..40) {
            let (backoff, bound) = (Backoff::DEVICE, Backoff::DEVICE.bound(failures));
            prop_assert_eq!(backoff.wait(failures, 0.0), Duration::ZERO);
            prop_assert_eq!(backoff.wait(failures, 0.5), bound / 2);
            prop_assert_eq!(backoff.wait(failures, 1.0), bound);
        }

        #[test]
        fn no_answer_makes_a_batch_wait_for_more_than_a_day_or_longer_than_it_may_live(
            status in proptest::option::of(100_u16..600),
            seconds in proptest::option::of(any::<u64>()),
            millis in proptest::option::of(any::<u64>()),
            age in any::<u64>().prop_map(Duration::from_millis),
            (failures, chance) in (any::<u32>(), any::<f64>()),
        ) {
            let answer = Answer { status, ..refused(seconds, millis) };
            let wait = when(&answer, failures, chance);
            prop_assert!(wait.is_none_or(|wait| wait <= MAX_NAMED_WAIT));
            if let Fate::Again(again) = fate(&answer, age, failures, chance) {
                prop_assert_eq!(Some(again), wait);
                prop_assert!(age + again <= MAX_AGE);
            }
        }
    }
}
