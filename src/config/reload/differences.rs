//! Where two configurations differ: by the settings' paths, never by their values, so that a secret that was changed is
//! told, too.

use std::collections::{BTreeSet, HashMap};

use crate::config::{
    Config, Key, KeyDigest, print_written,
    secret::Secret,
    setting::Setting,
    tree::{Node, Value},
};

/// The settings of `other` that are not those of `one`, in the order of the file; then secrets, then keys, which are told by
/// their names: `keys.sdk.quota`. Other places in lists are those of `other`.
pub(in crate::config) fn differences(one: &Config, other: &Config) -> Vec<Setting> {
    let mut found = Vec::new();
    if let (Some(one), Some(other)) = (tree(one), tree(other)) {
        compare(&one, &other, &Setting::default(), &mut found);
    }
    // In the trees every secret looks alike.
    for ((setting, one), (_, other)) in secrets(one).into_iter().zip(secrets(other)) {
        if one != other && !found.iter().any(|found| found.overlaps(&setting)) {
            found.push(setting);
        }
    }
    keys(one, other, &mut found);
    found
}

/// What is written in `config`, as a tree: tables in their order, secrets as `***`. A default that follows from another
/// setting does not differ by itself. Keys are left out.
fn tree(config: &Config) -> Option<Value> {
    let config = Config { keys: Vec::new(), ..config.clone() };
    Node::from_file(&print_written(&config)).ok().map(|node| node.value)
}

/// Every secret but those of keys.
pub(in crate::config) fn secrets(config: &Config) -> Vec<(Setting, &Secret)> {
    let mut secrets = own_secrets(config);
    secrets.extend([
        ("warehouse.connection.password".into(), &config.warehouse.connection.password),
        ("rollups.export.password".into(), &config.rollups.export.password),
    ]);
    secrets
}

/// Those of them that are made for the instance, so that they can be random and long: passwords of other systems are what
/// those allow.
pub(super) fn own_secrets(config: &Config) -> Vec<(Setting, &Secret)> {
    vec![("admin.token".into(), &config.admin.token), ("privacy.hash_key".into(), &config.privacy.hash_key)]
}

/// Notes how the keys differ. Their order says nothing, nor which text they stand in.
fn keys(one: &Config, other: &Config, found: &mut Vec<Setting>) {
    let setting = |name: &str| Setting::from("keys").key(name);
    let (ones, others) = (by_name(one), by_name(other));
    let mut told = BTreeSet::new();
    for key in other.all_keys().chain(one.all_keys()) {
        if !told.insert(&key.name) {
            continue;
        }
        match (ones.get(key.name.as_str()), others.get(key.name.as_str())) {
            (Some((old, were)), Some((new, are))) => {
                let Key { name: _, key: _, key_hash: _, streams, browser, quota } = new;
                for (part, differs) in [
                    ("key", were != are),
                    ("streams", *streams != old.streams),
                    ("browser", *browser != old.browser),
                    ("quota", *quota != old.quota),
                ] {
                    found.extend(differs.then(|| setting(&key.name).key(part)));
                }
            }
            _ => found.push(setting(&key.name)),
        }
    }
}

/// The keys of `config` by their names, each with its secrets. There may be many: neither is looked for among the others.
fn by_name(config: &Config) -> HashMap<&str, (&Key, BTreeSet<KeyDigest>)> {
    let mut found = HashMap::new();
    for key in config.all_keys() {
        let (_, secrets) = found.entry(key.name.as_str()).or_insert_with(|| (key, BTreeSet::new()));
        secrets.extend(key.digest());
    }
    found
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
