//! What the server asks of all its devices, in the headers of its answers.
//!
//! Operators turn these when a fleet is too loud. A hint holds until an answer says otherwise: another value of the same
//! header, or an answer that a batch was taken and that has no such header. Other answers without it change nothing, since
//! a load balancer in front of the server may have given them. A day after it was heard last, a hint lapses: a device that
//! keeps no event asks nothing, and would never hear that it may again.

use std::time::Duration;

use http::HeaderMap;

/// The header with the whole seconds that lie between two requests, at least.
pub const SEND_INTERVAL: &str = "logweir-send-interval";
/// The header with the share of events to keep, 0 to 1.
pub const SAMPLING: &str = "logweir-sampling";
/// How long hints hold that are not heard again.
pub const MAX_HINT_AGE: Duration = Duration::from_hours(24);
/// The longest interval that is obeyed, so that a slip of an operator does not silence a fleet that only hears him when
/// it sends.
pub const MAX_SEND_INTERVAL: Duration = Duration::from_hours(24);

/// What the server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Hints {
    /// How much lies between two requests, at least.
    pub send_interval: Option<Duration>,
    /// The share of events to keep.
    pub sampling: Option<f64>,
}

impl Hints {
    /// The hints of an answer. What cannot be read counts as not there.
    pub fn read(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
        let seconds = text(SEND_INTERVAL).and_then(|text| text.parse().ok());
        let share = text(SAMPLING).and_then(|text| text.parse().ok());
        Self {
            send_interval: seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_SEND_INTERVAL)),
            sampling: share.filter(|share| (0.0..=1.0).contains(share)),
        }
    }

    /// Whether an event is kept, for a `chance` from 0 to below 1.
    pub fn keeps(&self, chance: f64) -> bool {
        self.sampling.is_none_or(|share| chance < share)
    }

    /// How old a batch may become before it is closed, where `age` is what the application set; `backlog` is whether others
    /// wait.
    ///
    /// One request takes one batch, so that batches are closed no faster than they go. While others wait, they are closed
    /// half as fast as they go: a backlog would stay for ever otherwise.
    pub fn batch_age(&self, age: Duration, backlog: bool) -> Duration {
        let Some(interval) = self.send_interval else { return age };
        age.max(if backlog { interval * 2 } else { interval })
    }
}

/// Hints, as a device remembers them; times are of its uptime.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Heeded {
    hints: Hints,
    /// When an answer had hints.
    heard: Duration,
}

impl Heeded {
    /// Takes over what an answer says at `now`; `taken` is whether it says that a batch was taken.
    pub fn hear(&mut self, heard: Hints, taken: bool, now: Duration) {
        let before = if taken { Hints::default() } else { self.at(now) };
        if heard != Hints::default() {
            self.heard = now;
        }
        self.hints = Hints {
            send_interval: heard.send_interval.or(before.send_interval),
            sampling: heard.sampling.or(before.sampling),
        };
    }

    /// The hints that hold at `now`.
    pub fn at(&self, now: Duration) -> Hints {
        if now.saturating_sub(self.heard) > MAX_HINT_AGE { Hints::default() } else { self.hints }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn hints_are_read_from_the_headers_of_an_answer() {
        let read = Hints::read(&headers(&[("Logweir-Send-Interval", "60"), ("Logweir-Sampling", "0.1")]));
        assert_eq!(read, Hints { send_interval: Some(Duration::from_mins(1)), sampling: Some(0.1) });
        assert_eq!(Hints::read(&HeaderMap::new()), Hints::default());
    }

    #[test]
    fn what_makes_no_sense_is_no_hint() {
        for bad in ["", "x", "-1", "NaN", "inf", "1.5"] {
            assert_eq!(Hints::read(&headers(&[(SAMPLING, bad)])), Hints::default(), "{bad}");
            assert_eq!(Hints::read(&headers(&[(SEND_INTERVAL, bad)])), Hints::default(), "{bad}");
        }
        let read = Hints::read(&headers(&[(SEND_INTERVAL, "18446744073709551615")]));
        assert_eq!(read.send_interval, Some(MAX_SEND_INTERVAL));
    }

    #[test]
    fn a_hint_holds_until_an_answer_says_otherwise() {
        let now = Duration::from_secs(7);
        let mut heeded = Heeded::default();
        let mut hear = |send_interval: Option<u64>, sampling, taken| {
            let send_interval = send_interval.map(Duration::from_secs);
            heeded.hear(Hints { send_interval, sampling }, taken, now);
            let Hints { send_interval, sampling } = heeded.at(now);
            (send_interval.map(|interval| interval.as_secs()), sampling)
        };
        assert_eq!(hear(Some(60), Some(0.1), false), (Some(60), Some(0.1)));
        assert_eq!(hear(None, None, false), (Some(60), Some(0.1)), "a proxy's answer has no hints");
        assert_eq!(hear(None, Some(1.0), false), (Some(60), Some(1.0)));
        assert_eq!(hear(None, Some(0.5), true), (None, Some(0.5)), "the server has lifted one");
        assert_eq!(hear(None, None, true), (None, None), "and the other");
    }

    #[test]
    fn a_hint_lapses_a_day_after_it_was_heard_last() {
        let (second, mut heeded) = (Duration::from_secs(1), Heeded::default());
        let nothing = Hints { send_interval: None, sampling: Some(0.0) };
        heeded.hear(nothing, true, second);
        heeded.hear(Hints::default(), false, second * 2);
        assert_eq!(heeded.at(second + MAX_HINT_AGE), nothing);
        assert_eq!(heeded.at(second * 2 + MAX_HINT_AGE), Hints::default());
        heeded.hear(nothing, false, second * 3);
        assert_eq!(heeded.at(second * 3 + MAX_HINT_AGE), nothing);
    }

    #[test]
    fn sampling_keeps_its_share() {
        let kept = |sampling| {
            let hints = Hints { sampling, ..Hints::default() };
            (0..1_000).filter(|n| hints.keeps(f64::from(*n) / 1e3)).count()
        };
        assert_eq!([None, Some(1.0), Some(0.1), Some(0.0)].map(kept), [1_000, 1_000, 100, 0]);
    }

    #[test]
    fn batches_are_closed_no_faster_than_they_go_and_a_backlog_drains() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
        let hints = Hints { send_interval: Some(minute), sampling: None };
        assert_eq!((hints.batch_age(second, false), hints.batch_age(second, true)), (minute, minute * 2));
        assert_eq!(hints.batch_age(minute * 3, true), minute * 3);
        assert_eq!(Hints::default().batch_age(second, true), second);
    }
}
