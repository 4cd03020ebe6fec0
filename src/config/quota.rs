//! `keys.quota`: what a key may send in all.

use serde::{Deserialize, Serialize};

use super::{period::Period, size::Size};

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
}

impl Allowance {
    /// Whether there is no limit at all.
    pub fn is_unlimited(&self) -> bool {
        self.requests.is_none() && self.bytes.is_none() && self.events.is_none()
    }
}
