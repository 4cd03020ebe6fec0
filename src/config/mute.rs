//! `[[mute]]`: who is refused whatever they send.

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report, setting::Setting};
use crate::batch::StreamName;

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

/// The most rules: every request is held against them.
const MAX_RULES: usize = 1_000;
/// The longest version of an SDK, in bytes: as in `X-Sdk-Version`.
const MAX_SDK_BYTES: usize = 64;

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

/// Checks each rule by itself.
pub(super) fn check(rules: &[Mute], report: &mut Report) {
    if rules.len() > MAX_RULES {
        report.wrong(
            "mute",
            format!("has {} rules, more than {MAX_RULES}", rules.len()),
            "join them: a * at the end of sdk stands for any rest, and what is left out for anything",
        );
    }
    for (index, rule) in rules.iter().enumerate() {
        let setting = || Setting::from("mute").index(index);
        if rule.key.is_none() && rule.stream.is_none() && rule.sdk.is_none() && rule.devices.is_none() {
            report.wrong(
                setting(),
                "selects nothing, and would mute everyone",
                "add key, stream, sdk or devices; devices = 1 is everyone",
            );
        }
        if let Some(stream) = rule.stream.as_ref().filter(|stream| !StreamName::is_valid(stream)) {
            report.wrong(
                setting().key("stream"),
                format!("is {stream:?}, which is no name of a stream"),
                "choose a lower-case letter followed by up to 62 lower-case letters, digits or underscores",
            );
        }
        if let Some((sdk, fault)) = rule.sdk.as_deref().and_then(|sdk| Some((sdk, sdk_fault(sdk)?))) {
            report.wrong(
                setting().key("sdk"),
                format!("is {sdk:?}, which {fault}"),
                "write what X-Sdk-Version says, such as \"android/2.3.1\", or \"android/2.3.*\" for all that begin so",
            );
        }
        if let Some(devices) = rule.devices {
            report.share(setting().key("devices"), devices);
        }
        let retry_after = Period::minutes(1)..=Period::hours(7 * 24);
        report.within(setting().key("retry_after"), &rule.retry_after, &retry_after);
    }
}

fn sdk_fault(sdk: &str) -> Option<&'static str> {
    let version = sdk.strip_suffix('*').unwrap_or(sdk);
    if sdk.is_empty() {
        Some("no SDK says of itself")
    } else if sdk.len() > MAX_SDK_BYTES {
        Some("has more than 64 bytes")
    } else if !sdk.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        Some("has a character that is not printable ASCII")
    } else if version.contains('*') {
        Some("has a * elsewhere than at its end")
    } else if sdk.trim() != sdk {
        Some("begins or ends with a space, as no header does")
    } else {
        None
    }
}
