//! `logweir audit`: the books balance (P3), also after a process was killed, and it says so by its exit code.

use std::{fs, net::TcpListener, thread::sleep, time::Duration};

use logweir::batch::Clock;
use serde_json::json;

use crate::{
    checks::EXIT_CONFIG,
    client::Client,
    objects,
    process::{Ended, Place, Server},
    tracer::{Book, Load},
};

/// The exit code of sysexits.h for a store that cannot be read.
const EXIT_UNAVAILABLE: i32 = 69;
const HOUR: i64 = 3_600_000;

/// Audits what was received within the last hour.
fn audit(place: &Place, more: &[&str]) -> Ended {
    let now = Clock::starting_at(None).now();
    let (from, to) = (now.saturating_add(-HOUR).to_string(), now.saturating_add(HOUR).to_string());
    place.run(&[&["audit", "--from", &from, "--to", &to], more].concat())
}

/// The last row: spooled, stored, rejected spooled, rejected stored, difference.
fn total(ended: &Ended) -> Vec<u64> {
    let row = ended.stdout.lines().find(|line| line.starts_with("total ")).expect(&ended.stdout);
    row.split_whitespace().skip(1).map(|figure| figure.parse().unwrap()).collect()
}

fn adds_up(ended: &Ended) {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("everything adds up"), "{}", ended.stdout);
}

#[test]
fn an_audit_adds_up_while_the_server_runs_and_after_it_has_ended_and_names_what_is_removed() {
    let place = Place::new();
    let server = place.serve(&[("SPOOL__SEAL_AFTER", "1s"), ("LEDGER__INTERVAL", "1s")]);
    let mut client = Client::connect(server.address).unwrap();
    let events = json!([{ "a": 1 }, { "a": 2 }, 7]);
    for _ in 0..10 {
        assert_eq!(client.post_json("heard", &events).unwrap().status, 200);
    }
    adds_up(&audit(&place, &[]));
    sleep(Duration::from_secs(3));
    let running = audit(&place, &[]);
    adds_up(&running);
    assert_eq!(total(&running), [20, 20, 10, 10, 0], "{}", running.stdout);
    assert!(running.stdout.contains(" ~20 ") && running.stdout.contains("complete up to "), "{}", running.stdout);
    assert_eq!(client.post_json("seen", &events).unwrap().status, 200);
    server.stop();
    for more in [&[][..], &["--quick"], &["--sink", "files"]] {
        let ended = audit(&place, more);
        adds_up(&ended);
        assert_eq!(total(&ended), [22, 22, 11, 11, 0], "{}", ended.stdout);
        assert!(ended.stdout.contains("has ended and stored everything"), "{}", ended.stdout);
    }

    let root = place.path("data/objects");
    let key = objects::keys(&root).into_iter().find(|key| key.starts_with("seen/")).unwrap();
    fs::remove_file(root.join(&key)).unwrap();
    for more in [&[][..], &["--quick"]] {
        let ended = audit(&place, more);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""), "{}", ended.stdout);
        assert!(ended.stdout.contains(&format!("missing: {key} (2 events)")), "{}", ended.stdout);
        assert!(ended.stdout.ends_with("\n1 difference"), "{}", ended.stdout);
    }
}

#[test]
fn a_sink_of_some_streams_in_zstd_adds_up_beside_one_of_all() {
    let place = Place::new();
    place.write(
        "config.toml",
        "[[sinks]]\nname = 'files'\ndir = 'data/objects'\n\
         [[sinks]]\nname = 'some'\ndir = 'data/some'\ncodec = 'zstd'\nstreams = ['seen']\n\
         [spool]\nseal_after = '1s'\n[ledger]\ninterval = '1s'\n[streams.seen]\n[streams.heard]\n",
    );
    let server = Server::start(place.command(&["--config", "config.toml"]));
    let mut client = Client::connect(server.address).unwrap();
    for stream in ["heard", "seen", "seen"] {
        assert_eq!(client.post_json(stream, &json!([{ "a": 1 }, { "a": 2 }, 7])).unwrap().status, 200);
    }
    server.stop();
    for (sink, figures) in [("files", [6, 6, 3, 3, 0]), ("some", [4, 4, 2, 2, 0])] {
        for more in [&["--sink", sink][..], &["--sink", sink, "--quick"]] {
            let ended = audit(&place, &[&["--config", "config.toml"], more].concat());
            adds_up(&ended);
            assert_eq!(total(&ended), figures, "{}", ended.stdout);
            // Its heartbeats, too, are about what it has.
            assert_eq!(ended.stdout.contains("  heard "), sink == "files", "{}", ended.stdout);
        }
    }
    let keys = objects::keys(&place.path("data/some"));
    assert!(keys.iter().all(|key| key.contains("seen/") && key.ends_with(".ndjson.zst")), "{keys:?}");
}

#[test]
fn the_books_balance_after_a_process_was_killed_and_started_again() {
    const SETTINGS: [(&str, &str); 3] =
        [("SPOOL__SEAL_AFTER", "1s"), ("LEDGER__INTERVAL", "1s"), ("SPOOL__SYNC_INTERVAL", "5ms")];
    let place = Place::new();
    let mut book = Book::default();
    for round in 0..3 {
        let server = place.serve(&SETTINGS);
        let load = Load::start(server.address, 4, &format!("round-{round}"));
        sleep(Duration::from_millis(800 + fastrand::u64(..1_400)));
        server.kill();
        book.merge(load.join());
        // What is on its way, or in the spool of a process that is dead, is no difference.
        adds_up(&audit(&place, &[]));
    }
    place.serve(&SETTINGS).stop();
    book.compare(&place.path("data/objects"));
    let ended = audit(&place, &[]);
    adds_up(&ended);
    let objects = objects::read(&place.path("data/objects"));
    let lines = |rejected| {
        let of_book = objects.iter().filter(|object| object.rejected == rejected);
        of_book.map(|object| object.lines.len() as u64).sum::<u64>()
    };
    let (accepted, rejected) = (lines(false), lines(true));
    assert_eq!(total(&ended), [accepted, accepted, rejected, rejected, 0], "{}", ended.stdout);
    assert!(accepted + rejected >= book.acknowledged.len() as u64 && accepted > 100);
    assert!(ended.stdout.contains("has ended and stored everything"), "{}", ended.stdout);
}

#[test]
fn what_cannot_be_audited_is_told_by_the_exit_code() {
    let place = Place::new();
    for (arguments, told) in [
        (&["--from", "yesterday", "--to", "2026-11-23"][..], "\"yesterday\" is no time"),
        (&["--from", "2026-11-23", "--to", "2026-11-22"], "--to must lie behind --from"),
        (
            &["--from", "2026-11-22", "--to", "2026-11-23", "--sink", "lake"],
            "no sink \"lake\": the configuration has files",
        ),
        (&["--from", "2026-11-22", "--to", "2026-11-23", "--config", "none.toml"], "none.toml: cannot be read"),
        (&["--from", "2026-11-22", "--to", "2026-11-23", "--warehouse"], "--warehouse needs a [warehouse]"),
    ] {
        let ended = place.run(&[&["audit"], arguments].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(EXIT_CONFIG), ""), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(told), "{arguments:?}: {}", ended.stderr);
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = "[[sinks]]\nname = 'lake'\nkind = 's3'\nbucket = 'logs'\nregion = 'x'\npath_style = true\n";
    place.write("f.toml", &format!("{sink}endpoint = 'http://{closed}'\n[streams.heard]\n"));
    let now = Clock::starting_at(None).now();
    let (from, to) = (now.saturating_add(-HOUR).to_string(), now.to_string());
    let mut command = place.command(&["audit", "--config", "f.toml", "--from", &from, "--to", &to]);
    command.envs([("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")]);
    let ended = crate::process::Process::start(command).wait(crate::process::END);
    assert_eq!(ended.code, Some(EXIT_UNAVAILABLE), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot read _ledger/heartbeats/"), "{}", ended.stderr);
}

#[test]
fn without_heartbeats_the_books_still_tell_what_is_stored() {
    let place = Place::new();
    let server = place.serve(&[("LEDGER__HEARTBEATS", "false")]);
    Book::default().send_one(server.address, "one", 5);
    server.stop();
    let ended = audit(&place, &[]);
    adds_up(&ended);
    assert_eq!(total(&ended), [5, 5, 0, 0, 0], "{}", ended.stdout);
    assert!(ended.stdout.contains("there are no heartbeats"), "{}", ended.stdout);
    assert!(!place.path("data/objects/_ledger/heartbeats").exists());
}
