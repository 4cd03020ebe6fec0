//! `keys.quota`: what a key may send in all.

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report, setting::Setting, size::Size};

/// What all devices with a key may send in all, to the whole fleet. What is more is refused.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Requests a second, up to 1,000,000,000; a fraction is fine. Default 0: no limit.
    pub requests: f64,
    /// Bytes a second of decoded bodies, up to 1 TiB. Default 0: no limit.
    pub bytes: Size,
    /// Events a second, up to 1,000,000,000; a fraction is fine. Default 0: no limit.
    pub events: f64,
    /// How long a key may save up what it does not use, to send it at once, 1 s to an hour. Default 10 s: devices come
    /// in bunches, and a quota is about who sends too much, not about when.
    pub burst: Period,
}

impl Default for Quota {
    fn default() -> Self {
        Self { requests: 0.0, bytes: Size::default(), events: 0.0, burst: Period::seconds(10) }
    }
}

/// The highest rate of requests and events, a second: what no machine does.
const MAX_RATE: f64 = 1e9;
/// What is saved up within a burst, at least. Less than one by what a division loses: 0.3 shared by three makes one in
/// ten seconds.
const LEAST_SAVED: f64 = 1.0 - 1e-9;

/// What one instance lets in of a quota, each a second; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// Requests a second.
    pub requests: Option<f64>,
    /// Decoded bytes a second.
    pub bytes: Option<f64>,
    /// Events a second.
    pub events: Option<f64>,
    /// How long it saves up.
    pub burst: Period,
}

impl Quota {
    /// What each of `instances` lets in.
    pub fn of_instance(&self, instances: u32) -> Allowance {
        let part = |rate: f64| (rate > 0.0).then(|| rate / f64::from(instances.max(1)));
        Allowance {
            requests: part(self.requests),
            bytes: part(self.bytes.get() as f64),
            events: part(self.events),
            burst: self.burst,
        }
    }

    /// Holds each part to its range. `setting` is where the quota stands.
    pub(super) fn check(&self, setting: &Setting, report: &mut Report) {
        let key = |key: &str| setting.clone().key(key);
        report.within(key("requests"), &self.requests, &(0.0..=MAX_RATE));
        report.within(key("bytes"), &self.bytes, &(Size::default()..=Size::gib(1024)));
        report.within(key("events"), &self.events, &(0.0..=MAX_RATE));
        report.within(key("burst"), &self.burst, &(Period::seconds(1)..=Period::hours(1)));
    }

    /// Whether each of `instances` ever lets anything in: at least one of everything is saved up within the burst.
    pub(super) fn check_parts(&self, setting: &Setting, instances: u32, report: &mut Report) {
        let allowance = self.of_instance(instances);
        let seconds = self.burst.get().as_secs_f64();
        for (key, rate, one) in [
            ("requests", allowance.requests, "request"),
            ("bytes", allowance.bytes, "byte"),
            ("events", allowance.events, "event"),
        ] {
            if rate.is_none_or(|rate| rate * seconds >= LEAST_SAVED) {
                continue;
            }
            let each =
                if instances == 1 { "the instance".to_owned() } else { format!("each of {instances} instances") };
            report.between(
                setting.clone().key(key),
                &[setting.clone().key("burst"), "fleet.instances".into()],
                format!("is so little that {each} lets in less than one {one} in a burst ({})", self.burst),
                "raise it or the burst, or write 0 for no limit; who is to send nothing is muted by [[mute]]",
            );
        }
    }
}

impl Allowance {
    /// Whether there is no limit at all.
    pub fn is_unlimited(&self) -> bool {
        self.requests.is_none() && self.bytes.is_none() && self.events.is_none()
    }
}
