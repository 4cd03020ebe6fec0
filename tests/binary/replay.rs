//! The spool of a dead instance is stored by another machine, under the keys that it would have had (P2).

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use logweir::ledger::Heartbeat;
use rustix::process::Signal;

use crate::{
    objects,
    process::{END, Ended, Place, Process, Server},
    tracer::{Book, Load},
};

/// Segments that are sealed soon, so that the dead instance leaves sealed ones and an open one.
const SETTINGS: [(&str, &str); 1] = [("SPOOL__SEAL_AFTER", "1s")];

#[test]
fn the_spool_of_a_dead_instance_is_stored_under_its_own_keys_however_often_it_is_replayed() {
    let (dead, other) = (Place::new(), Place::new());
    // The instance stores its first segments, then its sink breaks, then the instance.
    let server = dead.serve(&SETTINGS);
    let mut book = Book::default();
    book.send_one(server.address, "stored", 20);
    server.entry("stored an object");
    fs::rename(dead.path("data/objects"), other.path("objects-before")).unwrap();
    dead.write("data/objects", "");
    let load = Load::start(server.address, 4, "left");
    sleep(Duration::from_millis(1_500));
    server.kill();
    book.merge(load.join());

    // The volume is attached elsewhere; the bucket is the same.
    fs::create_dir(other.path("data")).unwrap();
    fs::rename(other.path("objects-before"), other.path("data/objects")).unwrap();
    fs::rename(dead.path("data/spool"), other.path("volume")).unwrap();
    let before = objects::keys(&other.path("data/objects"));
    assert_eq!(before.len(), 1);
    let ended = replay(&other, "volume");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.entry("replaying a spool").unwrap()["segments"].as_u64().unwrap() >= 1, "{}", ended.stderr);
    book.compare(&other.path("data/objects"));
    let keys = objects::keys(&other.path("data/objects"));
    assert!(keys.len() > 1);
    let instances: BTreeSet<_> = objects::read(&other.path("data/objects")).into_iter().map(|o| o.instance).collect();
    assert_eq!(instances.len(), 1, "everything carries the dead instance's name");

    // Whoever reads the heartbeats knows that nothing more is to come of it.
    let heartbeats = heartbeats(&other);
    let (last, before) = heartbeats.split_last().unwrap();
    assert!(last.ended && before.iter().all(|heartbeat| !heartbeat.ended), "{heartbeats:?}");
    assert!(before.iter().all(|heartbeat| heartbeat.instance == last.instance && heartbeat.started < last.started));
    assert!(!before.is_empty() && instances.contains(&last.instance.to_string()), "{heartbeats:?}");

    let again = replay(&other, "volume");
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(objects::keys(&other.path("data/objects")), keys);
    // Its cursor lost, everything is found stored.
    fs::remove_file(other.path("volume/cursor-files")).unwrap();
    assert_eq!(replay(&other, "volume").code, Some(0));
    assert_eq!(objects::keys(&other.path("data/objects")), keys);
}

#[test]
fn a_spool_that_lives_or_does_not_exist_is_not_replayed() {
    let place = Place::new();
    let ended = replay(&place, "nothing-here");
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains("there is no spool at nothing-here"), "{}", ended.stderr);
    assert!(!place.path("nothing-here").exists(), "nothing is made by asking");

    let server = place.serve(&[]);
    let ended = replay(&place, "data/spool");
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains("another process uses the spool"), "{}", ended.stderr);
    server.stop();
}

/// Every heartbeat in the embedded default's place, in the order of the processes.
fn heartbeats(place: &Place) -> Vec<Heartbeat> {
    heartbeats_in(&place.path("data/objects"))
}

/// The same below any root.
pub(crate) fn heartbeats_in(objects: &Path) -> Vec<Heartbeat> {
    let mut found = Vec::new();
    let mut dirs = vec![objects.join("_ledger/heartbeats")];
    while let Some(dir) = dirs.pop() {
        // None has been written yet.
        let Ok(entries) = fs::read_dir(dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(Heartbeat::read(&fs::read(path).unwrap()).unwrap());
            }
        }
    }
    found.sort_by_key(|heartbeat: &Heartbeat| (heartbeat.started, heartbeat.at));
    found
}

#[test]
fn a_replay_whose_last_heartbeat_cannot_be_written_is_to_be_done_again() {
    let place = Place::new();
    let server = place.serve(&SETTINGS);
    let mut book = Book::default();
    book.send_one(server.address, "stored", 5);
    server.kill();
    // A file stands where the heartbeats' directory should be.
    let heartbeats = place.path("data/objects/_ledger/heartbeats");
    let _ = fs::remove_dir_all(&heartbeats);
    fs::create_dir_all(heartbeats.parent().unwrap()).unwrap();
    fs::write(&heartbeats, "").unwrap();
    let ended = replay(&place, "data/spool");
    assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    assert!(ended.stderr.contains("replay the spool again"), "{}", ended.stderr);
    book.compare(&place.path("data/objects"));
    fs::remove_file(&heartbeats).unwrap();
    assert_eq!(replay(&place, "data/spool").code, Some(0));
    assert!(self::heartbeats(&place).iter().all(|heartbeat| heartbeat.ended));
}

fn replay(place: &Place, spool: &str) -> Ended {
    place.run(&["replay", "--spool", spool])
}

#[test]
fn what_another_sink_of_the_instance_still_needs_is_kept() {
    let place = Place::new();
    let config = |sinks: &[&str]| {
        let sink = |name: &&str| format!("[[sinks]]\nname = '{name}'\ndir = '{name}'\n");
        let sinks: String = sinks.iter().map(sink).collect();
        format!("[ingest]\nundeclared_streams = 'accept'\n[spool]\ndir = 'spool'\n[drain]\nlinger = '0s'\n{sinks}")
    };
    place.write("both.toml", &config(&["lake", "archive"]));
    place.write("one.toml", &config(&["lake"]));
    // A file stands where the second sink's directory should be.
    place.write("archive", "");
    let server = Server::start(place.command(&["--config", "both.toml"]));
    let mut book = Book::default();
    book.send_one(server.address, "kept", 20);
    server.kill();

    let replay = |config: &str| place.run(&["replay", "--spool", "spool", "--config", config]);
    let ended = replay("one.toml");
    assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    book.compare(&place.path("lake"));
    let has_ended = |objects: &str| heartbeats_in(&place.path(objects)).iter().any(|heartbeat| heartbeat.ended);
    assert!(!has_ended("lake"), "nobody here knows whether the archive is required");
    fs::remove_file(place.path("archive")).unwrap();
    let ended = replay("both.toml");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    book.compare(&place.path("archive"));
    assert!(has_ended("lake") && has_ended("archive"));
}

#[test]
fn a_best_effort_sink_that_is_dead_does_not_keep_a_replay_from_telling_the_end() {
    let place = Place::new();
    let config = "ingest = { undeclared_streams = 'accept' }\nspool = { dir = 'spool' }\ndrain = { linger = '0s' }\n\
                  [[sinks]]\nname = 'lake'\ndir = 'lake'\n\
                  [[sinks]]\nname = 'copy'\ndir = 'copy'\nrequired = false\nbackoff_min = '10ms'\nbackoff_max = '100ms'\n";
    place.write("logweir.toml", config);
    // A file stands where its directory should be.
    place.write("copy", "");
    let server = Server::start(place.command(&["--config", "logweir.toml"]));
    let mut book = Book::default();
    book.send_one(server.address, "kept", 20);
    server.kill();

    let command = || place.command(&["replay", "--spool", "spool", "--config", "logweir.toml"]);
    let replay = Process::start(command());
    let deadline = Instant::now() + END;
    let has_ended = |objects: &str| heartbeats_in(&place.path(objects)).iter().any(|heartbeat| heartbeat.ended);
    while !has_ended("lake") {
        assert!(Instant::now() < deadline, "nobody is told of the end");
        sleep(Duration::from_millis(20));
    }
    book.compare(&place.path("lake"));
    replay.signal(Signal::TERM);
    let ended = replay.wait(END);
    assert_eq!(ended.code, Some(75), "{}", ended.stderr);
    assert!(ended.entry("not everything is stored; what is not stays in the spool").is_some(), "{}", ended.stderr);

    fs::remove_file(place.path("copy")).unwrap();
    let ended = Process::start(command()).wait(END);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    book.compare(&place.path("copy"));
    assert!(has_ended("copy"));
}
