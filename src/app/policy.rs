//! What the configuration says about keys, mutes, hints and quotas, as the workers use it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    admission::{Allowance, Mute, Quota, SdkPattern},
    batch::StreamName,
    config::{Config, KeyDigest},
    http::{Hints, Key, Keyring, Policy},
};

/// The policy of `config`. A quota that says the same as in `before`, for a key of the same name, is taken over with what
/// it stands at: who replaces a key does not fill its quota.
pub(super) fn policy(config: &Config, before: Option<&Policy>) -> Policy {
    let mutes = config.mute.iter().map(|mute| Mute {
        key: mute.key.clone(),
        stream: mute.stream.clone(),
        sdk: mute.sdk.as_deref().map(SdkPattern::new),
        devices: mute.share(),
        retry_after: mute.retry_after.get(),
    });
    let hints = Hints::new(config.hints.send_interval.map(|period| whole_seconds(period.get())), config.hints.sampling);
    Policy { keys: keyring(config, before), mutes: mutes.collect(), hints }
}

/// The keys of `config`. Those of one name are one key with several secrets.
fn keyring(config: &Config, before: Option<&Policy>) -> Keyring {
    let known: HashMap<&str, &Key> =
        before.into_iter().flat_map(|before| before.keys.keys()).map(|key| (key.name.as_str(), key)).collect();
    let mut keys: Vec<(Key, Vec<KeyDigest>)> = Vec::new();
    let mut places = HashMap::new();
    for key in config.all_keys() {
        let place = *places.entry(key.name.as_str()).or_insert(keys.len());
        if place == keys.len() {
            let streams = key.streams.iter().filter_map(|name| StreamName::new(name).ok());
            let streams = (!key.streams.is_empty()).then(|| streams.collect());
            let quota = quota(config, key, known.get(key.name.as_str()).copied());
            let key = Key { name: key.name.clone(), streams, browser: key.browser, quota, ..Key::default() };
            keys.push((key, Vec::new()));
        }
        if let Some((_, digests)) = keys.get_mut(place) {
            digests.extend(key.digest());
        }
    }
    Keyring::new(keys)
}

/// What `key` may send, if that is limited. It was `known` before, if it was there.
fn quota(config: &Config, key: &crate::config::Key, known: Option<&Key>) -> Option<Arc<Quota>> {
    let allowance = allowance(config, &key.quota);
    match known.and_then(|known| known.quota.clone()) {
        Some(known) if known.allowance() == allowance => Some(known),
        _ => allowance.limits().then(|| Arc::new(Quota::new(allowance, config.pacing.retry_after_cap.get()))),
    }
}

/// Rounded up.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1_000) as u64
}

/// This instance's part of what the fleet grants.
fn allowance(config: &Config, quota: &crate::config::Quota) -> Allowance {
    let part = quota.of_instance(config.fleet.instances);
    Allowance { requests: part.requests, bytes: part.bytes, events: part.events, burst: part.burst.get() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, Source, load};

    fn config(keys: &str) -> Config {
        let text = format!("[[sinks]]\nname = 'f'\ndir = 'o'\n[streams.any]\n{keys}");
        let source = Source::Text { name: "f.toml".to_owned(), text };
        let Loaded { config, .. } = load(source, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
        config
    }

    fn key(name: &str, secret: &str, quota: &str) -> String {
        format!("[[keys]]\nname = '{name}'\nkey = '{secret}-0123456789abcdef'\n{quota}\n")
    }

    /// Many times as long as that takes is still less than it takes to look each key up among all the others.
    #[test]
    fn as_many_keys_as_there_may_be_are_put_in_force_one_by_one() {
        let mut config = config("");
        config.keys = (0..20_000)
            .map(|number| crate::config::Key { name: format!("key-{number:05}"), ..crate::config::Key::default() })
            .collect();
        let first = policy(&config, None);
        let before = std::time::Instant::now();
        assert_eq!(policy(&config, Some(&first)).keys.keys().count(), 20_000);
        assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    }

    #[test]
    fn a_key_that_is_replaced_keeps_what_its_quota_stands_at_and_two_of_a_name_share_it() {
        let limit = "quota = { requests = 2 }";
        let first = policy(&config(&(key("web", "zero", "") + &key("app", "old", limit))), None);
        let rotated = key("app", "new", limit) + &key("tv", "tv", limit) + &key("app", "old", limit);
        let second = policy(&config(&rotated), Some(&first));
        let quota = |policy: &Policy, name: &str| {
            let mut found = policy.keys.keys().filter(|key| key.name == name);
            let quota = found.next().unwrap().quota.clone();
            assert!(found.next().is_none(), "{name} is there twice");
            quota
        };
        assert!(quota(&first, "web").is_none());
        let app = quota(&first, "app").unwrap();
        assert!(Arc::ptr_eq(&app, &quota(&second, "app").unwrap()));
        assert!(!Arc::ptr_eq(&app, &quota(&second, "tv").unwrap()));
        let more = policy(&config(&key("app", "new", "quota = { requests = 3 }")), Some(&second));
        assert!(!Arc::ptr_eq(&app, &quota(&more, "app").unwrap()));
    }
}
