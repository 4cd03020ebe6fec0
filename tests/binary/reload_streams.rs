//! Streams are declared and widened while the server runs; what would break loads is refused as a whole.

use crate::{
    client::Client,
    process::{Place, Server},
    reload::{KEYS, in_force, post, post_on, reload, serve, write},
};

const KEY: &str = "the-key-of-the-sdk-0";

fn answers(client: &mut Client, stream: &str, bodies: &[&str]) -> Vec<u16> {
    bodies.iter().map(|body| post_on(client, KEY, stream, body)).collect()
}

#[test]
fn a_stream_is_added_and_used_on_connections_that_are_open() {
    let place = Place::new();
    let strict = |streams: &str| {
        let base = "[[sinks]]\nname = 'files'\ndir = 'objects'\n[drain]\nlinger = '0s'\n[watch]\ninterval = '0s'\n";
        place.write("f.toml", &format!("{base}{KEYS}[streams.heard]\n{streams}"));
    };
    strict("");
    let server = Server::start(place.command(&["--config", "f.toml"]));
    let mut client = Client::connect(server.address).unwrap();
    assert_eq!(answers(&mut client, "seen", &["[{}]"]), [404]);
    strict("[streams.seen.fields]\nn = 'int'\n");
    reload(&server, "taken_over");
    assert_eq!(answers(&mut client, "seen", &["[{\"n\": 1}]", "[{\"n\": \"x\"}]"]), [200, 422]);
    assert_eq!(answers(&mut client, "heard", &["[{\"n\": \"x\"}]"]), [200]);

    strict("[streams.seen.fields]\nn = 'int'\nmore = { type = 'string', max_bytes = 2 }\n");
    reload(&server, "taken_over");
    let bodies = ["[{\"n\": 1}]", "[{\"n\": 2, \"more\": \"ab\"}]", "[{\"n\": 3, \"more\": \"abc\"}]"];
    assert_eq!(answers(&mut client, "seen", &bodies), [200, 200, 422]);
    strict("[streams.seen.fields]\nn = 'int'\nmore = { type = 'string', max_bytes = 3 }\n");
    reload(&server, "taken_over");
    assert_eq!(answers(&mut client, "seen", &[bodies[2]]), [200]);

    // What is not declared any more stays until a restart.
    strict("");
    reload(&server, "taken_over");
    assert_eq!(answers(&mut client, "seen", &[bodies[2], "[{\"n\": \"x\"}]"]), [200, 422]);
    let ended = server.stop();
    let told = ended.entry("these settings have changed and need a restart").unwrap();
    assert_eq!(told["settings"], "streams.seen");
    let objects = crate::objects::read(&place.path("objects"));
    let lines: usize =
        objects.iter().filter(|object| !object.rejected && object.stream == "seen").map(|o| o.lines.len()).sum();
    assert_eq!(lines, 5);
}

#[test]
fn a_stream_that_was_seen_becomes_a_declared_one() {
    let place = Place::new();
    let base = format!("{KEYS}[limits]\nstreams = 2\n");
    let seen = format!("{base}[streams.seen]\nunknown_fields = 'keep'\n[streams.seen.fields]\nn = 'int'\n");
    let server = serve(&place, &base);
    let mut clients = [(); 4].map(|()| Client::connect(server.address).unwrap());
    for client in &mut clients {
        assert_eq!(answers(client, "seen", &["[{\"n\": 1, \"m\": \"x\"}]"]), [200]);
    }
    write(&place, &seen);
    reload(&server, "taken_over");
    for client in &mut clients {
        assert_eq!(answers(client, "seen", &["[{\"n\": \"x\"}]", "[{\"n\": 7}]"]), [422, 200]);
    }
    // There is a place for one more, and not for two: what was seen keeps its own.
    assert_eq!(answers(&mut clients[0], "heard", &["[{}]"]), [200]);
    let before = in_force(&server);
    write(&place, &format!("{seen}[streams.third]\n[hints]\nsampling = 0.5\n"));
    reload(&server, "refused");
    assert_eq!((in_force(&server), post(&server)), (before, (200, None)), "all or nothing");
    let ended = server.stop();
    assert!(ended.stderr.contains("more than the 2 that limits.streams allows"), "{}", ended.stderr);
}

#[test]
fn what_would_break_loads_is_refused_with_everything_that_comes_with_it() {
    let place = Place::new();
    let fields = |count: &str, more: &str| format!("{KEYS}[streams.heard.fields]\ncount = '{count}'\n{more}");
    let server = serve(&place, &fields("int", ""));
    let before = in_force(&server);
    let changed = fields("double", "more = 'int'\n[streams.seen]\n[hints]\nsampling = 0.5\n[[mute]]\nkey = 'sdk'\n");
    write(&place, &changed);
    reload(&server, "refused");
    assert_eq!((in_force(&server), post(&server)), (before, (200, None)));
    let refused = server.entry(crate::reload_keys::REFUSED);
    let problems = refused["problems"].as_str().unwrap();
    assert!(problems.contains("streams.heard.fields.count: its type was BIGINT, and is DOUBLE"), "{problems}");

    // `check --since` says the same of the same change.
    place.write("old.toml", &std::fs::read_to_string(place.path("logweir.toml")).unwrap().replace("'double'", "'int'"));
    let checked = place.run(&["check", "--config", "logweir.toml", "--since", "old.toml"]);
    assert_eq!(checked.code, Some(crate::checks::EXIT_CONFIG));
    let reason = problems.lines().nth(1).unwrap().trim();
    assert!(checked.stderr.contains(reason), "{reason} is not in {}", checked.stderr);

    write(&place, &changed.replace("'double'", "'int'"));
    reload(&server, "taken_over");
    assert_eq!(post(&server), (429, Some("0.5".into())));
    server.stop();
}
