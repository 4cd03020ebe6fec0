//! What changes while the server runs: on SIGHUP, and when a file of its configuration has changed.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    client::{Client, Post, get},
    process::{Place, Server},
};

pub(crate) const KEYS: &str = "[[keys]]\nname = 'sdk'\nkey = 'the-key-of-the-sdk-0'\n";
/// How long anything may take that must happen at all: far more than it takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) fn serve(place: &Place, text: &str) -> Server {
    write(place, text);
    Server::start(place.command(&["--config", "logweir.toml"]))
}

/// Writes a configuration that is read again on SIGHUP only, unless `text` says otherwise.
pub(crate) fn write(place: &Place, text: &str) {
    let watch = if text.contains("[watch]") { "" } else { "[watch]\ninterval = '0s'\n" };
    let base =
        "[[sinks]]\nname = 'files'\ndir = 'objects'\n[ingest]\nundeclared_streams = 'accept'\n[drain]\nlinger = '0s'\n";
    // What stands before the first table stays there.
    let (top, tables) = text.split_at(text.find('[').unwrap_or(text.len()));
    place.write("logweir.toml", &format!("{top}{base}{watch}{tables}"));
}

/// Waits until `look` sees what it is looking for.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(LOOK);
    }
}

pub(crate) fn post_on(client: &mut Client, key: &str, stream: &str, body: &str) -> u16 {
    let headers = &[("content-type", "application/json"), ("x-api-key", key)];
    client.post(Post { stream, headers, body: body.as_bytes() }).unwrap().status
}

/// What a batch with the key is answered.
pub(crate) fn post(server: &Server) -> (u16, Option<String>) {
    let headers = &[("content-type", "application/json"), ("x-api-key", "the-key-of-the-sdk-0")];
    let post = Post { stream: "heard", headers, body: b"[{}]" };
    let answer = Client::connect(server.address).unwrap().post(post).unwrap();
    (answer.status, answer.header("logweir-sampling").map(ToOwned::to_owned))
}

/// What a series shows.
fn metric(server: &Server, series: &str) -> u64 {
    let metrics = get(server.admin, "/metrics").text();
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(ToOwned::to_owned));
    value.map_or(0, |value| value.parse().unwrap())
}

pub(crate) fn reloads(server: &Server, outcome: &str) -> u64 {
    metric(server, &format!("logweir_reloads_total{{outcome=\"{outcome}\"}}"))
}

/// The version and the hash of the configuration in force.
pub(crate) fn in_force(server: &Server) -> (u64, u64) {
    (metric(server, "logweir_config_version"), metric(server, "logweir_config_hash"))
}

pub(crate) fn reload(server: &Server, outcome: &str) {
    let before = reloads(server, outcome);
    server.signal(Signal::HUP);
    await_reload(server, outcome, before);
}

pub(crate) fn await_reload(server: &Server, outcome: &str, before: u64) {
    until("a reload", || (reloads(server, outcome) > before).then_some(()));
}

#[test]
fn a_mute_a_quota_and_a_hint_come_and_go_without_a_restart() {
    let place = Place::new();
    let server = serve(&place, KEYS);
    assert_eq!(post(&server), (200, None));
    let (version, first) = in_force(&server);
    assert_eq!(version, 1);

    write(&place, &format!("{KEYS}[hints]\nsampling = 0.5\n[[mute]]\nkey = 'sdk'\n"));
    reload(&server, "taken_over");
    assert_eq!(post(&server), (429, Some("0.5".into())));
    let (version, second) = in_force(&server);
    assert!(version == 2 && second != first, "{first} {second}");

    write(&place, &format!("{KEYS}quota = {{ requests = 0.1, burst = '10s' }}\n[spool]\nseal_after = '30s'\n"));
    reload(&server, "taken_over");
    let told = server.entry("these settings have changed and need a restart");
    assert_eq!(told["settings"], "spool.seal_after");
    assert_eq!(post(&server), (200, None), "the mute is gone");
    let last = [(); 5].map(|()| post(&server).0)[4];
    assert_eq!(last, 429, "and the quota is there");

    let before = in_force(&server);
    write(&place, "[hints]\nsampling = 2.0\n");
    reload(&server, "refused");
    assert_eq!(post(&server).0, 429, "what is not sound changes nothing");
    assert_eq!(in_force(&server), before);
    let refused = server.entry("the configuration was read again and is refused: everything stays as it was");
    assert!(refused["problems"].as_str().unwrap().starts_with("logweir.toml:"), "{refused}");

    write(&place, KEYS);
    reload(&server, "taken_over");
    assert_eq!(in_force(&server), (4, first), "it is the first again");
    let ended = server.stop();
    assert!(!ended.stderr.contains("the-key-of-the-sdk-0"), "{}", ended.stderr);
    let told = ended.entry("the configuration was read again and is in force").unwrap();
    assert_eq!((&told["version"], &told["changed"]), (&2.into(), &"hints.sampling, mute".into()));
}

#[test]
fn the_level_of_the_log_changes_without_a_restart() {
    let place = Place::new();
    let server = serve(&place, KEYS);
    let refuse = |stream: &str| {
        let mut client = Client::connect(server.address).unwrap();
        assert_eq!(post_on(&mut client, "a-wrong-key-0123456789", stream, "[]"), 401);
    };
    refuse("heard");
    write(&place, &format!("{KEYS}[log]\nlevel = 'debug'\n"));
    reload(&server, "taken_over");
    refuse("heard");
    server.entry("a request was not taken");
    write(&place, &format!("{KEYS}[log]\nlevel = 'error'\n[hints]\nsampling = 0.5\n"));
    reload(&server, "taken_over");
    refuse("heard");
    write(&place, KEYS);
    reload(&server, "taken_over");
    let ended = server.stop();
    assert_eq!(ended.stderr.matches("a request was not taken").count(), 1, "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("is in force").count(), 3, "each change is told, whichever way: {}", ended.stderr);
}
