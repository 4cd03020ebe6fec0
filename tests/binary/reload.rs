//! SIGHUP: who is muted, what keys may send and what devices are told changes while the server runs.

use rustix::process::Signal;

use crate::{
    client::{Client, get},
    process::{Place, Server},
};

const KEYS: &str = "[[keys]]\nname = 'sdk'\nkey = 'the-key-of-the-sdk-0'\n";

fn serve(place: &Place, text: &str) -> Server {
    write(place, text);
    Server::start(place.command(&["--config", "logweir.toml"]))
}

fn write(place: &Place, text: &str) {
    let sink =
        "[[sinks]]\nname = 'files'\ndir = 'objects'\n[ingest]\nundeclared_streams = 'accept'\n[drain]\nlinger = '0s'\n";
    place.write("logweir.toml", &format!("{sink}{text}"));
}

/// What a batch with the key is answered.
fn post(server: &Server) -> (u16, Option<String>) {
    let headers = &[("content-type", "application/json"), ("x-api-key", "the-key-of-the-sdk-0")];
    let post = crate::client::Post { stream: "heard", headers, body: b"[{}]" };
    let answer = Client::connect(server.address).unwrap().post(post).unwrap();
    (answer.status, answer.header("logweir-sampling").map(ToOwned::to_owned))
}

fn reloads(server: &Server, outcome: &str) -> u64 {
    let metrics = get(server.admin, "/metrics").text();
    let series = format!("logweir_reloads_total{{outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
}

fn reload(server: &Server, outcome: &str) {
    let before = reloads(server, outcome);
    server.signal(Signal::HUP);
    let taken = (0..400).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(25));
        reloads(server, outcome) > before
    });
    assert!(taken, "nothing was reloaded");
}

#[test]
fn a_mute_a_quota_and_a_hint_come_and_go_without_a_restart() {
    let place = Place::new();
    let server = serve(&place, KEYS);
    assert_eq!(post(&server), (200, None));

    write(&place, &format!("{KEYS}[hints]\nsampling = 0.5\n[[mute]]\nkey = 'sdk'\n"));
    reload(&server, "taken_over");
    assert_eq!(post(&server), (429, Some("0.5".into())));

    write(&place, &format!("{KEYS}quota = {{ requests = 0.1, burst = '10s' }}\n[spool]\nseal_after = '30s'\n"));
    reload(&server, "taken_over");
    let told = server.entry("these settings have changed and need a restart");
    assert_eq!(told["settings"], "spool.seal_after");
    assert_eq!(post(&server), (200, None), "the mute is gone");
    let last = [(); 5].map(|()| post(&server).0)[4];
    assert_eq!(last, 429, "and the quota is there");

    write(&place, "[hints]\nsampling = 2.0\n");
    reload(&server, "refused");
    assert_eq!(post(&server).0, 429, "what is not sound changes nothing");
    let ended = server.stop();
    assert!(!ended.stderr.contains("the-key-of-the-sdk-0"), "{}", ended.stderr);
}
