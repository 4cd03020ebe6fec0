//! What the server asks of all its devices, in the headers of its answers.
//!
//! Operators turn these when a fleet is too loud. A hint holds until an answer says otherwise: another value of the same
//! header, or an answer that a batch was taken and that has no such header. Other answers without it change nothing, since
//! a load balancer in front of the server may have given them.

use std::time::Duration;

use http::HeaderMap;

/// The header with the whole seconds that lie between two requests, at least.
pub const SEND_INTERVAL: &str = "logweir-send-interval";
/// The header with the share of events to keep, 0 to 1.
pub const SAMPLING: &str = "logweir-sampling";
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

    /// Takes over what an answer said; `taken` is whether it says that a batch was taken.
    pub fn hear(&mut self, heard: Self, taken: bool) {
        if taken {
            *self = heard;
        }
        self.send_interval = heard.send_interval.or(self.send_interval);
        self.sampling = heard.sampling.or(self.sampling);
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
        let minute = Some(Duration::from_mins(1));
        let mut hints = Hints { send_interval: minute, sampling: Some(0.1) };
        hints.hear(Hints::default(), false);
        assert_eq!(hints, Hints { send_interval: minute, sampling: Some(0.1) }, "a proxy's answer has no hints");
        hints.hear(Hints { send_interval: None, sampling: Some(1.0) }, false);
        assert_eq!(hints, Hints { send_interval: minute, sampling: Some(1.0) });
        hints.hear(Hints { send_interval: None, sampling: Some(0.5) }, true);
        assert_eq!(hints, Hints { send_interval: None, sampling: Some(0.5) }, "the server has lifted one");
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
