//! A configuration that is read again while the instance runs: what it takes over, and what needs a restart.
//!
//! Taken over: `mute`, `hints`, `fleet`, and the quotas of keys that the instance knows by name. Everything else was built into
//! the instance when it started. It is told by name and never by value, so a secret that was changed is told, too.

use super::{
    Config,
    secret::Secret,
    setting::Setting,
    tree::{Node, Value},
};

/// What becomes of a configuration that is read again.
#[derive(Debug)]
pub struct Reload {
    /// What is in effect from now on: what ran, with what can be taken over. Its keys stand as they stood.
    pub config: Config,
    /// The settings that differ from what is in effect, in the order of the file, secrets last: they need a restart.
    /// Places in lists are those of the configuration that was read.
    pub restart: Vec<Setting>,
}

/// What the instance that runs with `running` makes of `read`.
pub fn reload(running: &Config, read: &Config) -> Reload {
    let mut config = running.clone();
    config.mute.clone_from(&read.mute);
    config.hints.clone_from(&read.hints);
    config.fleet.clone_from(&read.fleet);
    // What loads and counts is another process.
    config.warehouse.clone_from(&read.warehouse);
    config.rollups.clone_from(&read.rollups);
    for key in &mut config.keys {
        if let Some(same) = read.keys.iter().find(|same| same.name == key.name) {
            key.quota.clone_from(&same.quota);
        }
    }
    let restart = differences(&config, read);
    Reload { config, restart }
}

/// The settings of `read` that are not those in effect.
fn differences(in_effect: &Config, read: &Config) -> Vec<Setting> {
    // Keys are told apart by name; their order says nothing.
    let mut in_effect = in_effect.clone();
    in_effect.keys.sort_by_key(|key| read.keys.iter().position(|same| same.name == key.name).unwrap_or(usize::MAX));
    let mut found = Vec::new();
    if let (Some(one), Some(other)) = (tree(&in_effect), tree(read)) {
        compare(&one, &other, &Setting::default(), &mut found);
    }
    // In the trees every secret looks alike.
    for ((setting, one), (_, other)) in secrets(&in_effect).into_iter().zip(secrets(read)) {
        if one != other && !found.iter().any(|found| found.overlaps(&setting)) {
            found.push(setting);
        }
    }
    found
}

/// What is written in `config`, as a tree: tables in their order, secrets as `***`. A default that follows from another
/// setting does not differ by itself.
fn tree(config: &Config) -> Option<Value> {
    Node::from_file(&super::print_written(config)).ok().map(|node| node.value)
}

/// Every secret.
fn secrets(config: &Config) -> Vec<(Setting, &Secret)> {
    let mut secrets =
        vec![("admin.token".into(), &config.admin.token), ("privacy.hash_key".into(), &config.privacy.hash_key)];
    let key = |index: usize| Setting::from("keys").index(index).key("key");
    secrets.extend(config.keys.iter().enumerate().map(|(index, found)| (key(index), &found.key)));
    secrets
}

/// Notes where `one` and `other`, which stand at `setting`, differ: the narrowest settings that tell it.
fn compare(one: &Value, other: &Value, setting: &Setting, found: &mut Vec<Setting>) {
    match (one, other) {
        (Value::Table(ones), Value::Table(others)) => {
            let before = found.len();
            for (key, node) in others {
                let within = setting.clone().key(key);
                match ones.iter().find(|(name, _)| name == key) {
                    Some((_, one)) => compare(&one.value, &node.value, &within, found),
                    None => found.push(within),
                }
            }
            let gone = ones.iter().filter(|(key, _)| others.iter().all(|(name, _)| name != key));
            found.extend(gone.map(|(key, _)| setting.clone().key(key)));
            // The order of fields is that of a table's columns.
            if found.len() == before && !ones.iter().map(|(key, _)| key).eq(others.iter().map(|(key, _)| key)) {
                found.push(setting.clone());
            }
        }
        (Value::List(ones), Value::List(others)) if ones.len() == others.len() => {
            for (index, (one, other)) in ones.iter().zip(others).enumerate() {
                compare(&one.value, &other.value, &setting.clone().index(index), found);
            }
        }
        _ if same(one, other) => {}
        _ => found.push(setting.clone()),
    }
}

/// Whether two values that hold no others are the same.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Integer(one), Value::Integer(other)) => one == other,
        (Value::Float(one), Value::Float(other)) => one.to_bits() == other.to_bits(),
        (Value::Boolean(one), Value::Boolean(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Hints, Key, Loaded, Mute, Quota, Source, load, print_effective},
        *,
    };

    const RUNNING: &str = "
        [admin]
        token = 'hush-0123456789-one'
        [[sinks]]
        name = 'files'
        dir = 'objects'
        [[keys]]
        name = 'app'
        key = 'hush-0123456789-app'
        streams = ['heard']
        quota = { requests = 10 }
        [[keys]]
        name = 'web'
        key = 'hush-0123456789-web'
        [privacy]
        hash_key = 'hush-0123456789-two'
        [streams.heard]
        [streams.heard.fields]
        at = 'timestamp'
        count = 'int'
        [hints]
        sampling = 1.0
    ";

    fn config(text: &str) -> Config {
        let source = Source::Text { name: "f.toml".to_owned(), text: text.to_owned() };
        let Loaded { config, .. } = load(source, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
        config
    }

    fn restart(reload: &Reload) -> Vec<String> {
        reload.restart.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mute_hints_and_quotas_are_taken_over_and_nothing_else_is() {
        let running = config(RUNNING);
        let read = config(
            &(RUNNING.replace("requests = 10", "bytes = '1MiB'").replace("sampling = 1.0", "send_interval = '1m'")
                + "[[mute]]\nkey = 'web'\n[spool]\nmax_rate = '20MiB'\n"),
        );
        let reload = reload(&running, &read);
        assert_eq!(restart(&reload), ["spool.max_rate"]);
        assert_eq!(reload.config.mute, [Mute { key: Some("web".to_owned()), ..Mute::default() }]);
        assert_eq!(reload.config.hints, Hints { sampling: None, ..read.hints.clone() });
        assert_eq!(reload.config.keys[0].quota, read.keys[0].quota);
        assert_eq!(reload.config.spool, running.spool);
        assert!(reload.config != read && restart(&super::reload(&reload.config, &reload.config)).is_empty());
    }

    #[test]
    fn every_other_setting_is_told_by_its_path() {
        let running = config(RUNNING);
        for (from, to, told) in [
            ("[admin]", "[admin]\nlisten = '127.0.0.1:9191'", &["admin.listen"][..]),
            ("[admin]", "[server]\nbehind_proxy = true\n[admin]", &["server.behind_proxy"]),
            ("[admin]", "[fleet]\ninstances = 2\n[admission]\ntarget = '2s'\n[admin]", &["admission.target"]),
            ("'objects'", "'elsewhere'", &["sinks[0].dir"]),
            ("'objects'", "'objects'\n[[sinks]]\nname = 'more'\ndir = 'more'", &["sinks"]),
            ("['heard']", "[]", &["keys[0].streams"]),
            (
                "[streams.heard]",
                "[streams.seen]\n[streams.heard]\npriority = 'low'",
                &["streams.seen", "streams.heard.priority"],
            ),
            ("[streams.heard]", "[streams.heard]\ntime_field = 'at'", &["streams.heard.time_field"]),
            ("count = 'int'", "", &["streams.heard.fields.count"]),
            ("count = 'int'", "count = 'double'", &["streams.heard.fields.count.type"]),
            // The order of a table's columns.
            ("at = 'timestamp'\n        count = 'int'", "count = 'int'\nat = 'timestamp'", &["streams.heard.fields"]),
        ] {
            let read = config(&RUNNING.replace(from, to));
            assert_eq!(restart(&reload(&running, &read)), told, "{to}");
            assert_eq!(restart(&reload(&read, &running)).len(), told.len(), "{to}, the other way round");
        }
    }

    #[test]
    fn a_secret_that_changed_is_told_and_not_printed() {
        let running = config(RUNNING);
        for (secret, told) in
            [("one", "admin.token"), ("app", "keys[0].key"), ("web", "keys[1].key"), ("two", "privacy.hash_key")]
        {
            let read = config(&RUNNING.replace(&format!("-{secret}'"), "-new'"));
            let reload = reload(&running, &read);
            assert_eq!(restart(&reload), [told]);
            assert!(!format!("{reload:?}").contains("hush"), "{reload:?}");
        }
        let none = config(&RUNNING.replace("token = 'hush-0123456789-one'", ""));
        assert_eq!(restart(&reload(&running, &none)), ["admin.token"]);
    }

    #[test]
    fn no_secret_is_left_out_of_the_comparison() {
        let config = config(RUNNING);
        assert_eq!(secrets(&config).len(), print_effective(&config).matches("***").count());
    }

    #[test]
    fn keys_are_told_apart_by_name_and_their_order_is_nothing() {
        let running = config(RUNNING);
        let mut read = running.clone();
        read.keys.reverse();
        read.keys[0].quota = Quota { events: 7.0, ..Quota::default() };
        let reload = reload(&running, &read);
        assert_eq!(restart(&reload), Vec::<String>::new());
        let quotas: Vec<_> = reload.config.keys.iter().map(|key| (key.name.as_str(), key.quota.events)).collect();
        assert_eq!(quotas, [("app", 0.0), ("web", 7.0)]);

        let gone = Config { keys: vec![running.keys[1].clone()], ..running.clone() };
        let without = super::reload(&running, &gone);
        assert_eq!((restart(&without), without.config.keys.len()), (vec!["keys".to_owned()], 2));
        let other = Config {
            keys: vec![running.keys[0].clone(), Key { name: "tv".to_owned(), ..running.keys[1].clone() }],
            ..running.clone()
        };
        assert_eq!(restart(&super::reload(&running, &other)), ["keys[1].name"]);
    }
}
