//! `[[keys]]`: who may post.

use serde::{Deserialize, Serialize};

use super::{quota::Quota, report::Report, secret::Secret, setting::Setting};
use crate::batch::StreamName;

/// A key that devices post with.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// Its name, in metrics and logs and in the identity of events: 1 to 64 of `[a-z0-9_-]`. A key is replaced by a
    /// new one of the same name, or retries are not recognised.
    pub name: String,
    /// What requests carry: at least 16 bytes of printable ASCII without spaces.
    pub key: Secret,
    /// The streams that it may post to. Default empty: all.
    pub streams: Vec<String>,
    /// Whether it may also come as `?key=`, for web pages that cannot set headers. Default false: query strings end up
    /// in access logs.
    pub browser: bool,
    /// What all devices that have it may send in all. Default: as much as they like.
    pub quota: Quota,
}

/// The longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The shortest key, in bytes: 128 bits if it is random.
const MIN_KEY_BYTES: usize = 16;

impl Key {
    /// Whether it may post to `stream`.
    pub fn opens(&self, stream: &str) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|name| name == stream)
    }
}

/// Checks each key, and that no two are alike.
pub(super) fn check(keys: &[Key], report: &mut Report) {
    let setting = |index: usize, key: &str| Setting::from("keys").index(index).key(key);
    for (index, key) in keys.iter().enumerate() {
        if !is_name(&key.name) {
            report.wrong(
                setting(index, "name"),
                format!("is {:?}, which is no name of a key", key.name),
                "choose 1 to 64 lower-case letters, digits, `_` or `-`",
            );
        }
        let value = key.key.expose();
        if value.len() < MIN_KEY_BYTES {
            report.wrong(
                setting(index, "key"),
                format!("has {} bytes, fewer than {MIN_KEY_BYTES}", value.len()),
                format!("set LOGWEIR__KEYS__{index}__KEY to the output of `openssl rand -hex 16`"),
            );
        } else if !value.bytes().all(|b| b.is_ascii_graphic()) {
            report.wrong(
                setting(index, "key"),
                "has a character that no header can carry",
                "choose printable ASCII without spaces",
            );
        }
        for (place, stream) in key.streams.iter().enumerate().filter(|(_, stream)| !StreamName::is_valid(stream)) {
            report.wrong(
                setting(index, "streams").index(place),
                format!("is {stream:?}, which is no name of a stream"),
                "choose a lower-case letter followed by up to 62 lower-case letters, digits or underscores",
            );
        }
        key.quota.check(&setting(index, "quota"), report);
        for (earlier, other) in keys[..index].iter().enumerate() {
            if key.name == other.name {
                report.between(
                    setting(index, "name"),
                    &[setting(earlier, "name")],
                    format!("is {:?}, as keys[{earlier}].name is", key.name),
                    "choose another name: it tells in the metrics who sent what",
                );
            }
            if key.key == other.key && value.len() >= MIN_KEY_BYTES {
                report.between(
                    setting(index, "key"),
                    &[setting(earlier, "key")],
                    format!("is the same as keys[{earlier}].key"),
                    "choose another key, or nobody can tell who sent what",
                );
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}
