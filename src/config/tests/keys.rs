//! Keys: plain and hashed, in one text and in a file of their own, and while they are rotated.

use super::{rules::broken, *};

const HUSH: &str = "hush-0123456789-hush";

fn key(name: &str, secret: &str, more: &str) -> String {
    format!("[[keys]]\nname = '{name}'\n{secret}\n{more}\n")
}

fn plain(name: &str, secret: &str) -> String {
    key(name, &format!("key = '{secret}'"), "")
}

/// Loads a configuration that names a keys file which says `keys`, with `more`.
fn load_file(keys: &str, more: &str) -> Result<Loaded, Problems> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys.toml"), keys).unwrap();
    std::fs::write(dir.path().join("f.toml"), format!("keys_file = 'keys.toml'\n{SINK}{more}{STREAM}")).unwrap();
    load(Source::File(dir.path().join("f.toml")), std::iter::empty())
}

/// What is told, with the place in its file.
fn told(problems: &Problems) -> Vec<String> {
    let short = |place: &Place| match place {
        Place::File { name, at } => {
            let line = at.map_or_else(String::new, |at| format!(":{}", at.line));
            format!("{}{line}", name.rsplit('/').next().unwrap())
        }
        Place::Variable(name) => name.clone(),
    };
    problems.iter().map(|problem| format!("{} {}", short(&problem.place), problem.setting)).collect()
}

#[test]
fn a_key_has_a_secret_or_its_hash() {
    let hash = |text: &str| key("a", &format!("key_hash = '{text}'"), "");
    let config = load_text(&hash(&key_hash(HUSH))).unwrap().config;
    assert_eq!(config.keys[0].digest(), Key { key: Secret::new(HUSH), ..Key::default() }.digest());
    let both = key("a", &format!("key = '{HUSH}'\nkey_hash = '{}'", key_hash(HUSH)), "");
    broken(&[
        (&both, 7, "keys[0].key_hash", "is given beside the key itself"),
        (&hash(HUSH), 6, "keys[0].key_hash", "is no hash of a key"),
        (&key("a", "", ""), 4, "keys[0].key", "has 0 bytes, fewer than 16"),
        (&(hash(&key_hash(HUSH)) + &plain("b", HUSH)), 10, "keys[1].key", "is the same as keys[0].key_hash"),
    ]);
    let unread = load_text("[[keys]]\nname = 'a'\nkey_hash = 7\n").unwrap_err();
    assert_eq!(places(&unread), ["f.toml:6 keys[0].key_hash"]);
}

#[test]
fn two_secrets_open_one_key_if_they_agree_in_everything_else() {
    let two = |more: &str, others: &str| {
        key("a", "key = '0123456789abcdef'", more) + &key("a", "key = 'fedcba9876543210'", others)
    };
    let config = load_text(&two("quota = { requests = 2 }", "quota = { requests = 2.0 }")).unwrap().config;
    assert_eq!(config.all_keys().count(), 2);
    broken(&[
        (&two("", "browser = true"), 11, "keys[1].browser", "is not that of keys[0], which has the same name"),
        (&two("", "quota = { requests = 2 }"), 11, "keys[1].quota", "is not that of keys[0]"),
        (&(two("", "streams = ['heard']") + "[streams.heard]\n"), 11, "keys[1].streams", "is not that of keys[0]"),
    ]);
}

#[test]
fn keys_of_a_file_are_keys_like_others() {
    let file = key("tv", &format!("key_hash = '{}'", key_hash(HUSH)), "streams = ['any']");
    let Loaded { config, warnings, .. } = load_file(&file, &plain("app", "0123456789abcdef")).unwrap();
    assert_eq!(config.all_keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["app", "tv"]);
    assert_eq!(warnings, Vec::<String>::new(), "hashes may be read");
    assert!(print_effective(&config).starts_with("keys_file = \"keys.toml\"\n"));
    // One that is in both is one with two secrets, and what opens an address to others is a key wherever it stands.
    load_file(&plain("app", HUSH), &plain("app", "0123456789abcdef")).unwrap();
    let open = "[server]\nlisten = '0.0.0.0:80'\n[[mute]]\nkey = 'tv'\n";
    load_file(&file, open).unwrap();
    assert_eq!(told(&load_file("", open).unwrap_err()), ["f.toml:1 keys_file"], "one thing is missing");
}

#[test]
fn a_keys_file_without_a_key_is_refused_unless_there_is_one_elsewhere() {
    for file in ["", "# logweir key new\n", "keys = []\n"] {
        let problems = load_file(file, "").unwrap_err();
        assert_eq!(told(&problems), ["f.toml:1 keys_file"], "{problems}");
        assert!(problems.to_string().contains("everybody could post"), "{problems}");
        load_file(file, &plain("app", HUSH)).unwrap();
    }
    // What is wrong with the keys is told, and nothing else.
    assert_eq!(told(&load_file("", "[[keys]]\nnme = 'a'\n").unwrap_err()).len(), 2);
}

#[test]
fn a_keys_file_that_is_broken_is_told_with_its_lines() {
    let key = plain("app", "0123456789abcdef");
    for (file, told_of_it) in [
        ("[[keys]]\nname = 'a'\nkye = 'x'\n", &["keys.toml:1 keys[0].key", "keys.toml:3 keys[0].kye"][..1]),
        ("[[keys]]\nname = 'a'\nkey = 'short'\n", &["keys.toml:3 keys[0].key"]),
        ("[[keys]]\nname = 'A'\nkey = '0123456789abcdeX'\n", &["keys.toml:2 keys[0].name"]),
        ("[[keys]]\nname = 'a'\nkey = '0123456789abcdef'\n", &["keys.toml:3 keys[0].key"]),
        ("[[keys]]\nname = 'a'\nkey = '0123456789abcdeX'\nstreams = ['other']\n", &["keys.toml:4 keys[0].streams[0]"]),
        (
            "[[keys]]\nname = 'a'\nkey = '0123456789abcdeX'\nquota = { events = -1 }\n",
            &["keys.toml:4 keys[0].quota.events"],
        ),
        ("[[keys]]\nname = 'app'\nkey = '0123456789abcdeX'\nbrowser = true\n", &["keys.toml:4 keys[0].browser"]),
        ("[[keys]]\nname = 'a\n\n[[keys]\n", &["keys.toml:2 ", "keys.toml:4 "]),
        ("[server]\nworkers = 1\n", &["keys.toml:1 "]),
    ] {
        let problems = load_file(file, &key).unwrap_err();
        let found = told(&problems);
        assert!(told_of_it.iter().all(|told| found.iter().any(|found| found == told)), "{file}: {problems}");
        assert!(found.len() <= 2, "{problems}");
    }
    let missing = load_with(&format!("keys_file = '/no/such/file'\n{SINK}{STREAM}[[mute]]\nkey = 'x'\n"), &[]);
    let missing = missing.unwrap_err();
    assert_eq!(places(&missing), ["f.toml:1 keys_file"], "nothing follows from what could not be read");
    assert!(missing.to_string().contains("which cannot be read: No such file"), "{missing}");
}

#[test]
fn a_keys_file_that_others_can_read_is_warned_of_if_that_matters() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (file, keys) = (dir.path().join("f.toml"), dir.path().join("keys.toml"));
    std::fs::write(&file, format!("keys_file = 'keys.toml'\n{SINK}{STREAM}")).unwrap();
    std::fs::write(&keys, plain("a", HUSH)).unwrap();
    for (mode, warnings) in [(0o644, 1), (0o640, 0)] {
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = load(Source::File(file.clone()), std::iter::empty()).unwrap();
        assert_eq!(loaded.warnings.len(), warnings, "{mode:o}: {:?}", loaded.warnings);
    }
}

/// However a file is broken, and wherever its parts stand, nothing of a key is in what is told of it.
#[test]
fn no_error_of_a_keys_file_shows_a_key() {
    let sound =
        key("app", &format!("key = '{HUSH}'"), &format!("[[keys]]\nname = 'b'\nkey_hash = '{}'", key_hash(HUSH)));
    let hash = &key_hash(HUSH)[7..];
    let mut files = vec![
        format!("[[keys]]\n{HUSH} = 'app'\n"),
        format!("[[keys]]\nname = '{HUSH}!'\nkey = 'app'\n"),
        format!("{HUSH} = 'app'\n"),
        format!("['{HUSH}']\n"),
        format!("[[keys]]\nkey = ['{HUSH}']\nname = {{ '{HUSH}' = 1 }}\n"),
        format!("[[keys]]\nkey = {{ '{HUSH}' = '{HUSH}' }}\nkey_hash = '{HUSH}'\n"),
        format!("[[keys]]\nkey = '{HUSH}'\nkey = '{HUSH}'\n'{HUSH}' = 1\n'{HUSH}' = 2\n"),
        format!("[[keys]]\nbrowser = '{HUSH}'\nquota = '{HUSH}'\nquota.'{HUSH}' = 1\n"),
        format!("[[keys]]\nquota = {{ '{HUSH}' = 1, burst = '{HUSH}' }}\n"),
        HUSH.to_owned(),
        format!(
            "[[keys]]\nname = '{HUSH}!'\nkey = '{HUSH}'\n[[keys]]\nname = '{HUSH}!'\nkey = 'x{HUSH}'\nbrowser = true\n"
        ),
        // A name that a key may have, and that may be one all the same.
        format!(
            "[[keys]]\nname = '{HUSH}'\nkey = 'x{HUSH}'\n[[keys]]\nname = '{HUSH}'\nkey = 'y{HUSH}'\nbrowser = true\n"
        ),
    ];
    for at in (0..sound.len()).filter(|at| sound.is_char_boundary(*at)) {
        for put in ["", "'", "\"", "\n", "[", "]", "=", "#", "\\", "\u{0}", "{"] {
            files.push(format!("{}{put}{}", &sound[..at], &sound[at + 1..]));
        }
        files.push(sound[..at].to_owned());
    }
    for file in files {
        let Err(problems) = load_file(&file, "") else { continue };
        let printed = format!("{problems}{problems:?}");
        // Parts of a key too.
        for secret in [HUSH, hash] {
            let parts = secret.as_bytes().windows(8).map(|part| std::str::from_utf8(part).unwrap());
            let shown: Vec<_> = parts.filter(|part| printed.contains(part)).collect();
            assert!(shown.is_empty(), "{shown:?} in {problems}\nof\n{file}");
        }
    }
}
