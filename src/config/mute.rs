//! `[[mute]]`: who is refused whatever they send.

use serde::{Deserialize, Serialize};

use super::period::Period;

/// Who is refused whatever they send, until the rule is taken out again: what is told to come back late.
///
/// A request is muted if it is all that a rule selects. What a rule leaves out selects every request; one at least it
/// has to say.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mute {
    /// The name of a key. Default none: requests with any key.
    pub key: Option<String>,
    /// A stream. Default none: batches for any.
    pub stream: Option<String>,
    /// What `X-Sdk-Version` says: 1 to 64 bytes of printable ASCII, of which a `*` at the end stands for any rest.
    /// Default none: any version, and requests that do not tell theirs.
    pub sdk: Option<String>,
    /// The share of devices, above 0 and up to 1, told apart by the hash of `X-Device-Id`: the same ones at every
    /// instance and after every start. Default none: all, and requests that do not tell theirs.
    pub devices: Option<f64>,
    /// When they are told to come back, 1 min to 7 days. Default 6 h: a device that asks four times a day costs next to
    /// nothing, and one that was muted by mistake is back on the same day.
    pub retry_after: Period,
}

impl Default for Mute {
    fn default() -> Self {
        Self { key: None, stream: None, sdk: None, devices: None, retry_after: Period::hours(6) }
    }
}

impl Mute {
    /// The share of devices that it mutes.
    pub fn share(&self) -> f64 {
        self.devices.unwrap_or(1.0)
    }
}
