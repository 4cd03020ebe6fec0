//! Secrets are used and never shown: not by `check`, not in a log at its most talkative, not in an answer.

use serde_json::json;

use crate::{
    checks::EXIT_CONFIG,
    client::{Client, Post},
    process::{Ended, Place, Server},
};

const KEY: &str = "hush-key-of-the-sdk-0123456789";
const BROWSER_KEY: &str = "hush-key-of-the-page-0123456789";
const TOKEN: &str = "hush-admin-token-0123456789";
const HASH_KEY: &str = "hush-privacy-key-0123456789";
const VALUE: &str = "hush-value-of-an-event";

fn configuration(level: &str) -> String {
    format!(
        "[log]\nlevel = '{level}'\n[admin]\ntoken = '{TOKEN}'\n[privacy]\nhash_key = '{HASH_KEY}'\n\
         [[keys]]\nname = 'sdk'\nkey = '{KEY}'\n[[keys]]\nname = 'page'\nkey = '{BROWSER_KEY}'\nbrowser = true\n\
         [drain]\nlinger = '0s'\n[[sinks]]\nname = 'files'\ndir = 'objects'\n\
         [streams.heard.fields]\nwho = {{ type = 'string', private = 'hash' }}\nplace = {{ type = 'json', private = 'drop' }}\n"
    )
}

fn assert_silent(ended: &Ended) {
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!told.contains("hush"), "a secret was told:\n{told}");
}

#[test]
fn neither_check_nor_a_talkative_server_tells_a_secret() {
    let place = Place::new();
    place.write("f.toml", &configuration("trace"));
    let checked = place.run(&["check", "--config", "f.toml"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert_eq!(checked.stdout.matches("\"***\"").count(), 4, "{}", checked.stdout);
    assert_silent(&checked);

    let server = Server::start(place.command(&["--config", "f.toml"]));
    let mut client = Client::connect(server.address).unwrap();
    let json = ("content-type", "application/json");
    let bearer = format!("Bearer {KEY}");
    let query = format!("heard?key={BROWSER_KEY}");
    let wrong_query = format!("heard?key={KEY}");
    let events = json!([{ "who": VALUE, "place": { "at": VALUE } }, { "who": [VALUE] }]).to_string();
    for (stream, headers, body, status) in [
        ("heard", &[json, ("authorization", bearer.as_str())][..], events.as_str(), 200),
        ("heard", &[json, ("x-api-key", KEY)], &events, 200),
        (&query, &[json], &events, 200),
        (&wrong_query, &[json], &events, 403),
        ("heard", &[json, ("x-api-key", "hush-wrong")], &events, 401),
        ("hush-stream", &[json, ("x-api-key", KEY)], &events, 404),
        ("heard", &[json, ("x-api-key", KEY)], "[{\"who\":\"hush-value", 400),
    ] {
        let answer = client.post(Post { stream, headers, body: body.as_bytes() }).unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(!answer.text().contains("hush"), "{}", answer.text());
    }
    let mut admin = Client::connect(server.admin).unwrap();
    assert_eq!(admin.get("/metrics").unwrap().status, 401);
    let ended = server.stop();
    assert!(ended.entry("a request was not taken").is_some(), "the log is not talkative: {}", ended.stderr);
    assert_silent(&ended);
    // What is private is hashed or dropped before anything is written anywhere, rejected events included.
    for dir in ["objects", "data/spool"] {
        for key in crate::objects::keys(&place.path(dir)) {
            let bytes = std::fs::read(place.path(dir).join(&key)).unwrap();
            assert!(!bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes()), "{dir}/{key}");
        }
    }
    for object in crate::objects::read(&place.path("objects")) {
        for line in &object.lines {
            assert!(!line.0.iter().any(|(_, value)| value.to_string().contains("hush")), "{}", object.key);
        }
    }
}

/// Secrets come, go and are broken while the server runs: in the configuration, in its keys file, plain and hashed.
#[test]
fn no_reload_tells_a_secret() {
    let place = Place::new();
    let hash = "68757368".repeat(8);
    let keys = |secret: &str| format!("[[keys]]\nname = 'file'\n{secret}\n");
    let text = |level: &str| format!("keys_file = 'keys.toml'\n{}[watch]\ninterval = '1s'\n", configuration(level));
    place.write("keys.toml", &keys("key = 'hush-key-of-the-file-0123456789'"));
    place.write("f.toml", &text("trace"));
    let checked = place.run(&["check", "--config", "f.toml"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert_silent(&checked);
    let server = Server::start(place.command(&["--config", "f.toml"]));
    let message = "the configuration was read again and is ";
    let changes = [
        ("keys.toml", keys(&format!("key_hash = 'sha256:{hash}'"))),
        ("keys.toml", keys("key_hash = 'hush-no-hash'")),
        ("keys.toml", keys("hush-key-0123456789 = 'key'")),
        ("keys.toml", keys("key = \"hush-key-0123456789")),
        ("keys.toml", keys("key = 'hush-next-key-0123456789'")),
        ("f.toml", text("trace").replace("hush-", "hush-next-")),
        ("f.toml", text("trace").replace("hush-key-of-the-sdk-0123456789", "hush").replace(TOKEN, "hush")),
        ("f.toml", text("trace").replace("keys.toml", "keys.toml.gone")),
    ];
    for (told, (file, what)) in changes.into_iter().enumerate() {
        place.write(file, &what);
        server.signal(rustix::process::Signal::HUP);
        crate::reload::until("the reload", || (server.log().matches(message).count() > told).then_some(()));
    }
    let ended = server.stop();
    assert_silent(&ended);
    assert!(!ended.stderr.contains(&hash[..16]), "a hash was told:\n{}", ended.stderr);
    for setting in ["keys.file.key", "keys.sdk.key, keys.page.key", "admin.token, privacy.hash_key", "keys_file is "] {
        assert!(ended.stderr.contains(setting), "nothing of {setting}: {}", ended.stderr);
    }
}

#[test]
fn a_broken_configuration_is_told_without_its_secrets() {
    let place = Place::new();
    let broken = configuration("talkative").replace("browser = true", "browser = 'hush'").replace(TOKEN, "hush");
    place.write("f.toml", &broken);
    let mut command = place.command(&["check", "--config", "f.toml"]);
    command.env("LOGWEIR__PRIVACY__HASH_KEY", "hush").env("LOGWEIR__KEYS__0__KEY", "hush hush hush hush");
    let ended = crate::process::Process::start(command).wait(crate::process::END);
    assert_eq!(ended.code, Some(EXIT_CONFIG));
    for setting in ["log.level", "admin.token", "privacy.hash_key", "keys[0].key", "keys[1].browser"] {
        assert!(ended.stderr.contains(setting), "nothing of {setting}: {}", ended.stderr);
    }
    assert_silent(&ended);
}
