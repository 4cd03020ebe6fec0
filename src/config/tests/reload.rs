//! A configuration that is read again: each setting is taken over or told.

use super::{
    super::reload::{
        differences::{differences, secrets},
        listed, merged, reload,
    },
    files::{load_examples, with_examples},
    *,
};
use crate::config::{
    read::read,
    tree::{Node, Value},
};

const RUNNING: &str = "
    [admin]
    token = 'hush-0123456789-one'
    [[sinks]]
    name = 'files'
    dir = 'objects'
    [[sinks]]
    name = 'more'
    dir = 'others'
    required = false
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
    priority = 'normal'
    [streams.heard.fields]
    at = 'timestamp'
    count = 'int'
    model = { type = 'string', max_bytes = 8 }
    [hints]
    sampling = 1.0
";

fn text(text: &str) -> Source {
    Source::Text { name: "f.toml".to_owned(), text: text.to_owned() }
}

fn running() -> Loaded {
    load(text(RUNNING), std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn again(read: &str, running: &Loaded) -> Result<Reload, Problems> {
    reload(text(read), std::iter::empty(), running)
}

fn paths(settings: &[Setting]) -> Vec<String> {
    settings.iter().map(ToString::to_string).collect()
}

/// What the running configuration with `from` replaced by `to` comes to: what is taken over, and what needs a restart.
fn told(from: &str, to: &str) -> (Vec<String>, Vec<String>) {
    assert!(RUNNING.contains(from), "{from}");
    let reload = again(&RUNNING.replacen(from, to, 1), &running()).unwrap_or_else(|problems| panic!("{problems}"));
    (paths(&reload.changed), paths(&reload.restart))
}

#[test]
fn what_can_be_taken_over_is_and_what_cannot_is_told() {
    for (from, to, taken, restart) in [
        ("[admin]", "[admin]", &[][..], &[][..]),
        ("[admin]", "[admin]\nlisten = '127.0.0.1:9191'", &[], &["admin.listen"]),
        (
            "[admin]",
            "[fleet]\ninstances = 2\n[admission]\ntarget = '2s'\n[admin]",
            &["fleet.instances"],
            &["admission.target"],
        ),
        ("[admin]", "[log]\nlevel = 'debug'\nformat = 'json'\n[admin]", &["log.level"], &["log.format"]),
        ("[admin]", "[watch]\ninterval = '0s'\n[admin]", &["watch.interval"], &[]),
        ("[admin]", "[[mute]]\nkey = 'web'\n[admin]", &["mute"], &[]),
        ("sampling = 1.0", "send_interval = '1m'", &["hints.send_interval", "hints.sampling"], &[]),
        ("'objects'", "'elsewhere'", &[], &["sinks[0].dir"]),
        ("'objects'", "'objects'\n[[sinks]]\nname = 'third'\ndir = 'third'", &[], &["sinks"]),
        (
            "required = false",
            "required = false\nmax_lag_age = '2h'\nlevel = 2",
            &["sinks[1].max_lag_age"],
            &["sinks[1].level"],
        ),
        ("required = false", "required = false\nmax_lag_bytes = '1GiB'", &["sinks[1].max_lag_bytes"], &[]),
        ("required = false", "", &[], &["sinks[1].required"]),
        ("['heard']", "[]", &["keys.app.streams"], &[]),
        ("requests = 10", "requests = 20", &["keys.app.quota"], &[]),
        ("name = 'web'", "name = 'web'\nbrowser = true", &["keys.web.browser"], &[]),
        ("name = 'web'", "name = 'tv'", &["keys.tv", "keys.web"], &[]),
        ("-web'", "-new'", &["keys.web.key"], &[]),
        ("[privacy]", "[[keys]]\nname = 'web'\nkey = 'hush-0123456789-new'\n[privacy]", &["keys.web.key"], &[]),
        ("-one'", "-new'", &[], &["admin.token"]),
        ("-two'", "-new'", &[], &["privacy.hash_key"]),
        ("[streams.heard]", "[streams.seen]\n[streams.heard]", &["streams.seen"], &[]),
        ("'normal'", "'low'\nack = 'memory'", &["streams.heard.ack", "streams.heard.priority"], &[]),
        ("max_bytes = 8", "max_bytes = 9", &["streams.heard.fields.model.max_bytes"], &[]),
        ("max_bytes = 8 }", "max_bytes = 8 }\nmore = 'uuid'", &["streams.heard.fields.more"], &[]),
        // None of these breaks loads, or that is judged elsewhere; and none is a widening.
        ("max_bytes = 8", "max_bytes = 7", &[], &["streams.heard.fields.model.max_bytes"]),
        ("count = 'int'", "", &[], &["streams.heard.fields.count"]),
        ("count = 'int'", "count = 'double'", &[], &["streams.heard.fields.count.type"]),
        ("count = 'int'", "count = 'int'\nmore = 'uuid'", &[], &["streams.heard.fields.more"]),
        ("at = 'timestamp'\n    count = 'int'", "count = 'int'\n    at = 'timestamp'", &[], &["streams.heard.fields"]),
        ("'normal'", "'low'\ntime_field = 'at'", &["streams.heard.priority"], &["streams.heard.time_field"]),
        ("'normal'", "'normal'\nunknown_fields = 'reject'", &[], &["streams.heard.unknown_fields"]),
    ] {
        assert_eq!(
            told(from, to),
            (taken.iter().map(ToString::to_string).collect(), restart.iter().map(ToString::to_string).collect()),
            "{to}"
        );
    }
}

#[test]
fn what_is_in_effect_is_what_ran_with_what_is_taken_over() {
    let running = running();
    let read = RUNNING.replace("requests = 10", "requests = 20").replace("'objects'", "'elsewhere'");
    let reload = again(&(read + "[streams.seen]\n"), &running).unwrap();
    let Loaded { config, streams, .. } = &reload.in_effect;
    assert!((config.keys[0].quota.requests - 20.0).abs() < f64::EPSILON);
    assert_eq!(config.sinks, running.config.sinks);
    assert_eq!(streams.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(), ["heard", "seen"]);
    assert_eq!(streams[0].schema.id(), running.streams[0].schema.id(), "what has not changed is the same");
    let next = again(RUNNING, &reload.in_effect).unwrap();
    assert_eq!(paths(&next.restart), ["streams.seen"], "a stream stays until a restart");
    assert!(next.in_effect.streams.iter().any(|stream| stream.name.as_str() == "seen"));
    assert_eq!(paths(&next.changed), ["keys.app.quota"]);
}

#[test]
fn what_would_not_go_with_what_needs_a_restart_is_refused_as_a_whole() {
    // No required sink would take the new stream until the sink that does is started.
    let read = RUNNING.replace("dir = 'objects'", "dir = 'objects'\nstreams = ['heard']") + "[streams.seen]\n";
    let first =
        load(text(&RUNNING.replace("dir = 'objects'", "dir = 'objects'\nstreams = ['heard']")), std::iter::empty());
    let with = read.replace("streams = ['heard']\n    [[sinks]]", "streams = ['heard', 'seen']\n    [[sinks]]");
    assert_ne!(read, with);
    let problems = again(&with, &first.unwrap()).unwrap_err().to_string();
    assert!(problems.contains("as long as what needs a restart is not in effect: sinks[0].streams"), "{problems}");
    assert!(problems.starts_with("f.toml:"), "{problems}");
    // Half of the quota that runs is less than half of the one that was read.
    let lag = RUNNING.replace("required = false", "required = false\nmax_lag_bytes = '8GiB'");
    let problems = again(&(lag + "[spool]\ndisk_quota = '20GiB'\n"), &running()).unwrap_err().to_string();
    assert!(problems.contains("sinks[1].max_lag_bytes is 8 GiB, more than 5 GiB"), "{problems}");
}

#[test]
fn what_is_not_sound_changes_nothing_and_everything_is_told() {
    let read = RUNNING.replace("sampling = 1.0", "sampling = 2.0").replace("-web'", "'") + "[[mute]]\nkey = 'nobody'\n";
    let problems = again(&read, &running()).unwrap_err();
    assert_eq!(places(&problems), ["f.toml:18 keys[1].key", "f.toml:28 hints.sampling", "f.toml:30 mute[0].key"]);
    assert!(!format!("{problems:?}").contains("hush"));
}

#[test]
fn no_secret_is_left_out_of_the_comparison_and_none_is_printed() {
    let Loaded { config, .. } = load_with(
        RUNNING,
        &[("LOGWEIR__WAREHOUSE__CONNECTION__PASSWORD", "hush"), ("LOGWEIR__ROLLUPS__EXPORT__PASSWORD", "hush")],
    )
    .unwrap();
    let masks = print_effective(&config).matches("***").count();
    assert_eq!(secrets(&config).len() + config.keys.len(), masks);
    let reload = again(&RUNNING.replace("-0123456789-", "-9876543210-"), &running()).unwrap();
    assert_eq!(paths(&reload.changed), ["keys.app.key", "keys.web.key"]);
    assert_eq!(paths(&reload.restart), ["admin.token", "privacy.hash_key"]);
    assert!(!format!("{reload:?}").contains("hush"), "{reload:?}");
}

#[test]
fn keys_are_told_apart_by_name_and_their_order_and_their_place_are_nothing() {
    let mut running = running();
    let text = RUNNING.replace("name = 'app'", "name = 'tmp'").replace("name = 'web'", "name = 'app'");
    let text = text.replace("name = 'tmp'", "name = 'web'").replace("-app'", "-tmp'").replace("-web'", "-app'");
    let text = text.replace("-tmp'", "-web'");
    assert_eq!(paths(&again(&text, &running).unwrap().changed).len(), 4, "streams and quotas have changed places");
    running.config.keys.reverse();
    assert_eq!(paths(&again(RUNNING, &running).unwrap().changed), Vec::<String>::new());
    running.config.keys_of_file = running.config.keys.split_off(1);
    assert_eq!(paths(&again(RUNNING, &running).unwrap().changed), Vec::<String>::new());
}

#[test]
fn another_setting_or_secret_makes_another_fingerprint_and_a_hash_is_as_good_as_its_key() {
    let of = |text: &str| load_with(text, &[]).unwrap().config.fingerprint();
    let hashed =
        RUNNING.replace("key = 'hush-0123456789-web'", &format!("key_hash = '{}'", key_hash("hush-0123456789-web")));
    let all = [
        RUNNING.to_owned(),
        hashed.clone(),
        RUNNING.replace("-web'", "-new'"),
        RUNNING.replace("-one'", "-new'"),
        RUNNING.replace("requests = 10", "requests = 11"),
        RUNNING.replace("'timestamp'", "'date'"),
    ]
    .map(|text| of(&text));
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len(), "{all:?}");
    assert_eq!(of(RUNNING), all[0]);
    assert!(all.iter().all(|number| *number < 1 << 48));
    let (plain, hashed) = (load_with(RUNNING, &[]).unwrap(), load_with(&hashed, &[]).unwrap());
    assert!(differences(&plain.config, &hashed.config).is_empty());
}

#[test]
fn a_password_of_another_system_has_no_part_in_the_fingerprint() {
    let of = |variables: &[(&str, &str)]| load_with(RUNNING, variables).unwrap().config.fingerprint();
    for password in ["LOGWEIR__WAREHOUSE__CONNECTION__PASSWORD", "LOGWEIR__ROLLUPS__EXPORT__PASSWORD"] {
        // Whether there is one at all is no secret.
        assert_eq!(of(&[(password, "hush")]), of(&[(password, "summer-2026")]), "{password}");
    }
    for own in ["LOGWEIR__ADMIN__TOKEN", "LOGWEIR__PRIVACY__HASH_KEY", "LOGWEIR__KEYS__0__KEY"] {
        assert_ne!(of(&[(own, "hush-0123456789-0")]), of(&[(own, "hush-0123456789-1")]), "{own}");
    }
}

#[test]
fn a_line_of_the_log_names_so_many_settings_and_counts_the_rest() {
    let settings = |count: usize| (0..count).map(|at| Setting::from("keys").index(at)).collect::<Vec<_>>();
    assert_eq!(listed(&settings(2)), "keys[0], keys[1]");
    assert!(listed(&settings(20)).ends_with("keys[18], keys[19]"));
    let told = listed(&settings(20_000));
    assert!(told.ends_with("keys[19], and 19980 more"), "{told}");
}

/// Many times as long as that takes is still less than it takes to look each key up among all the others.
#[test]
fn as_many_keys_as_there_may_be_are_compared_one_by_one() {
    let mut running = running().config;
    let key = |number: usize| Key {
        name: format!("key-{number:05}"),
        key_hash: Secret::new(format!("sha256:{number:064}")),
        ..Key::default()
    };
    (running.keys, running.keys_of_file) = ((0..10_000).map(key).collect(), (10_000..20_000).map(key).collect());
    let mut read = running.clone();
    for key in read.keys.iter_mut().chain(&mut read.keys_of_file) {
        key.browser = true;
    }
    let before = std::time::Instant::now();
    assert_eq!(differences(&running, &read).len(), 20_000);
    assert!(before.elapsed() < std::time::Duration::from_secs(10), "{:?}", before.elapsed());
}

/// The files that were to be read are known, so that it is noticed when they are mended.
#[test]
fn what_is_refused_says_which_files_it_was_to_be_read_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let load = || load(Source::File(path("f.toml")), std::iter::empty());
    let is_noticed = |name: &str, text: &[u8]| {
        let mut look = load().unwrap_err().look().clone();
        assert_eq!([look.is_changed(), look.is_changed()], [false, false], "{name}: nothing has changed");
        std::fs::write(path(name), text).unwrap();
        assert_eq!([look.is_changed(), look.is_changed()], [false, true], "{name}");
    };
    let sound = format!("keys_file = 'keys.toml'\n{SINK}{STREAM}");
    is_noticed("f.toml", b"\xff");
    is_noticed("f.toml", b"[[sinks");
    is_noticed("f.toml", b"[nonsense]");
    is_noticed("f.toml", sound.as_bytes());
    is_noticed("keys.toml", b"\xff");
    is_noticed("keys.toml", b"[[keys");
    is_noticed("keys.toml", b"");
    is_noticed("keys.toml", b"[[keys]]\nname = 'a'\nkey = 'short'\n");
    is_noticed("keys.toml", b"[[keys]]\nname = 'a'\nkey = '0123456789abcdef'\n");
    load().unwrap();
}

/// What is written in the reference, each setting with another value, one at a time.
#[test]
fn every_setting_of_the_reference_is_taken_over_or_told() {
    let running = load_examples();
    let mut settings = Vec::new();
    let tree = Node::from_file(&with_examples()).unwrap_or_else(|_| panic!("not TOML"));
    leaves(&tree, &Setting::default(), &mut settings);
    assert!(settings.len() > 120, "{}", settings.len());
    for setting in settings {
        let path = setting.to_string();
        // What becomes of fields depends on what they were: that is told above.
        if path.contains(".fields.") {
            continue;
        }
        let config = with_another(&setting, &running.config);
        let read = Loaded { config, ..running.clone() };
        let in_effect = merged(&running, &read);
        let taken = differences(&running.config, &in_effect);
        let restart = differences(&in_effect, &read.config);
        let all = differences(&running.config, &read.config);
        assert!(!all.is_empty(), "{path} is not compared");
        let is_taken = ["keys", "hints.", "fleet.", "mute", "warehouse.", "rollups.", "log.level", "watch."]
            .iter()
            .any(|prefix| path.starts_with(prefix))
            || path.ends_with("].max_lag_bytes")
            || path.ends_with("].max_lag_age")
            // The schema is the same here, so that the declaration is.
            || path.starts_with("streams.");
        let expected = if is_taken { (all.clone(), Vec::new()) } else { (Vec::new(), all.clone()) };
        assert_eq!((taken, restart), expected, "{path}");
    }
}

fn leaves(node: &Node, setting: &Setting, found: &mut Vec<Setting>) {
    match &node.value {
        Value::Table(entries) => {
            for (key, node) in entries {
                leaves(node, &setting.clone().key(key), found);
            }
        }
        Value::List(elements) if elements.iter().any(|element| matches!(element.value, Value::Table(_))) => {
            for (index, node) in elements.iter().enumerate() {
                leaves(node, &setting.clone().index(index), found);
            }
        }
        _ => found.push(setting.clone()),
    }
}

/// The example configuration with another value of `setting`: the first of many that can be read.
fn with_another(setting: &Setting, running: &Config) -> Config {
    const WORDS: &str = "2s 3s 3MiB 127.0.0.1:1 ~/x x 7 0.25 true false 11 ['x'] [] none file s3 firehose now oldest stored \
                         memory low high loader copy_job none keep reject postgres redshift wire data off verify gzip zstd \
                         single lines kms json pretty debug warn accept refuse sha256:00";
    let text = with_examples();
    for word in WORDS.split_whitespace() {
        let mut tree = Node::from_file(&text).unwrap_or_else(|_| panic!("not TOML"));
        let variables = [
            ("LOGWEIR__PRIVACY__HASH_KEY".to_owned(), "an example of a secret".to_owned()),
            ("LOGWEIR__KEYS_FILE".to_owned(), "config/keys.toml".to_owned()),
            (environment::variable(setting), word.to_owned()),
        ];
        // The last of a name stands.
        let variables = variables.into_iter().collect::<std::collections::BTreeMap<_, _>>();
        assert_eq!(environment::overlay(&mut tree, variables.into_iter()), []);
        let (config, misreads): (Config, _) = read(&mut tree);
        let config = Config { keys_of_file: running.keys_of_file.clone(), ..config };
        if misreads.is_empty() && config != *running {
            return config;
        }
    }
    panic!("{setting} has no other value among those that are tried");
}
