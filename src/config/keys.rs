//! `[[keys]]`: who may post.
//!
//! Keys come from the configuration, from the environment, and from the file that `keys_file` names; plain or as their
//! SHA-256. Whoever has read a hash cannot send with it.
//!
//! # Rotation
//!
//! A key is known by its name: it stands in the ids of events, in the metrics, and its quota is the name's. Several
//! sections of one name are one key that several secrets open: a new one is added beside the old, devices are given the
//! new, and the old is taken out when no device sends it any more. So such sections agree in everything but the secret,
//! which is checked.

mod file;

use std::{collections::HashMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(super) use self::file::{KeysFile, read};
use super::{quota::Quota, report::Report, secret::Secret, setting::Setting};
use crate::batch::StreamName;

/// A key that devices post with.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// Its name, in metrics and logs and in the identity of events: 1 to 64 of `[a-z0-9_-]`. A key is replaced by a
    /// new one of the same name, or retries are not recognised; both may be there for as long as that takes.
    pub name: String,
    /// What requests carry: at least 16 bytes of printable ASCII without spaces. This or `key_hash`.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key: Secret,
    /// The SHA-256 of what requests carry: `sha256:` and 64 hexadecimal digits, as `logweir key new` prints it.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key_hash: Secret,
    /// The streams that it may post to. Default empty: all.
    pub streams: Vec<String>,
    /// Whether it may also come as `?key=`, for web pages that cannot set headers. Default false: query strings end up
    /// in access logs.
    pub browser: bool,
    /// What all devices that have it may send in all. Default: as much as they like.
    pub quota: Quota,
}

/// The SHA-256 of a secret.
pub type KeyDigest = [u8; 32];

/// The longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The shortest key, in bytes: 128 bits if it is random.
const MIN_KEY_BYTES: usize = 16;
/// The most keys of one list.
const MAX_KEYS: usize = 10_000;
/// What a hash begins with.
const SHA256: &str = "sha256:";

impl Key {
    /// Whether it may post to `stream`.
    pub fn opens(&self, stream: &str) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|name| name == stream)
    }

    /// The SHA-256 of its secret; `None` if it has none, which did not pass the checks.
    pub fn digest(&self) -> Option<KeyDigest> {
        if self.key_hash.is_empty() {
            (!self.key.is_empty()).then(|| key_digest(self.key.expose()))
        } else {
            parse_hash(self.key_hash.expose())
        }
    }
}

/// The SHA-256 of `secret`.
fn key_digest(secret: &str) -> KeyDigest {
    Sha256::digest(secret).into()
}

/// What `key_hash` is for `secret`.
pub fn key_hash(secret: &str) -> String {
    format!("{SHA256}{}", hex(&key_digest(secret)))
}

/// `bytes` in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn parse_hash(text: &str) -> Option<KeyDigest> {
    let hex = text.strip_prefix(SHA256).filter(|hex| hex.len() == 64)?;
    let digits = hex.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
    bytes.try_into().ok()
}

/// Keys that stand in one text, and what is found wrong there.
pub(super) struct Listed<'k> {
    pub keys: &'k [Key],
    pub report: &'k mut Report,
    /// Whether the environment may say what they are.
    pub environment: bool,
}

/// Checks each key, and what two of them are to each other.
pub(super) fn check(mut lists: Vec<Listed<'_>>) {
    for list in &mut lists {
        let keys = list.keys.len();
        if keys > MAX_KEYS {
            list.report.wrong("keys", format!("has {keys} of them, more than {MAX_KEYS}"), "declare fewer");
        }
        for (index, key) in list.keys.iter().enumerate() {
            list.alone(index, key);
        }
    }
    together(&mut lists);
}

fn setting(index: usize, key: &str) -> Setting {
    Setting::from("keys").index(index).key(key)
}

impl Listed<'_> {
    fn alone(&mut self, index: usize, key: &Key) {
        let report = &mut *self.report;
        if !is_key_name(&key.name) {
            // It is not repeated: it may be the key, in the wrong place.
            report.wrong(
                setting(index, "name"),
                "is no name of a key",
                "choose 1 to 64 lower-case letters, digits, `_` or `-`",
            );
        }
        let remedy = if self.environment {
            format!("set LOGWEIR__KEYS__{index}__KEY to the output of `openssl rand -hex 16`")
        } else {
            "take what `logweir key new` prints".to_owned()
        };
        let value = key.key.expose();
        if !key.key_hash.is_empty() {
            if !key.key.is_empty() {
                report.between(
                    setting(index, "key_hash"),
                    &[setting(index, "key")],
                    "is given beside the key itself",
                    "leave one of them out",
                );
            } else if parse_hash(key.key_hash.expose()).is_none() {
                report.wrong(
                    setting(index, "key_hash"),
                    "is no hash of a key",
                    "write \"sha256:\" and 64 hexadecimal digits, as `logweir key new` prints it",
                );
            }
        } else if value.len() < MIN_KEY_BYTES {
            report.between(
                setting(index, "key"),
                &[setting(index, "key_hash")],
                format!("has {} bytes, fewer than {MIN_KEY_BYTES}", value.len()),
                remedy,
            );
        } else if !value.bytes().all(|b| b.is_ascii_graphic()) {
            report.wrong(
                setting(index, "key"),
                "has a character that no header can carry",
                "choose printable ASCII without spaces",
            );
        }
        for (place, _) in key.streams.iter().enumerate().filter(|(_, name)| !StreamName::is_valid(name)) {
            report.wrong(
                setting(index, "streams").index(place),
                "is no name of a stream",
                "choose a lower-case letter followed by up to 62 lower-case letters, digits or underscores",
            );
        }
        key.quota.check(&setting(index, "quota"), report);
    }
}

/// Notes keys of one name that do not agree, and secrets that are there twice.
fn together(lists: &mut [Listed<'_>]) {
    let mut names: HashMap<&str, (usize, usize)> = HashMap::new();
    let mut digests: HashMap<KeyDigest, (usize, usize)> = HashMap::new();
    for list in 0..lists.len() {
        let keys = lists[list].keys;
        for (index, key) in keys.iter().enumerate() {
            let whose = |(other, place): (usize, usize), lists: &[Listed<'_>]| {
                let text = if other == list { String::new() } else { format!(" of {}", lists[other].report.name()) };
                (format!("keys[{place}]"), text, if other == list { Some(place) } else { None })
            };
            // What is no name is told already; and it may be the key.
            let first =
                if is_key_name(&key.name) { *names.entry(&key.name).or_insert((list, index)) } else { (list, index) };
            if first != (list, index) {
                let same = &lists[first.0].keys[first.1];
                let (other, of, here) = whose(first, lists);
                for (part, agrees) in [
                    ("streams", key.streams == same.streams),
                    ("browser", key.browser == same.browser),
                    ("quota", key.quota == same.quota),
                ] {
                    if !agrees {
                        lists[list].report.between(
                            setting(index, part),
                            &here.map(|place| setting(place, part)).into_iter().collect::<Vec<_>>(),
                            format!("is not that of {other}{of}, which has the same name"),
                            "choose another name; or, to let a new secret and an old one open the same key, write the same",
                        );
                    }
                }
            }
            let Some(digest) = key.digest() else { continue };
            let first = *digests.entry(digest).or_insert((list, index));
            if first != (list, index) {
                let which = |key: &Key| if key.key_hash.is_empty() { "key" } else { "key_hash" };
                let theirs = which(&lists[first.0].keys[first.1]);
                let (other, of, here) = whose(first, lists);
                lists[list].report.between(
                    setting(index, which(key)),
                    &here.map(|place| setting(place, theirs)).into_iter().collect::<Vec<_>>(),
                    format!("is the same as {other}.{theirs}{of}"),
                    "choose another key, or nobody can tell who sent what",
                );
            }
        }
    }
}

/// Whether `name` can be that of a key.
pub fn is_key_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_its_key_in_either_case_and_nothing_else_is_one() {
        let plain = Key { key: Secret::new("0123456789abcdef"), ..Key::default() };
        let hash = key_hash("0123456789abcdef");
        assert_eq!(hash, "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f");
        for text in [hash.clone(), format!("sha256:{}", hash[7..].to_uppercase())] {
            let hashed = Key { key_hash: Secret::new(text), ..Key::default() };
            assert_eq!(hashed.digest(), plain.digest());
        }
        for text in ["", &hash[7..], &hash[..70], &format!("{hash}0"), &hash.replace('9', "g"), &hash.replace('9', "é")]
        {
            assert_eq!(parse_hash(text), None, "{text}");
        }
        assert_eq!(Key::default().digest(), None);
    }
}
