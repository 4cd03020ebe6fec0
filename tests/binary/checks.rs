//! `logweir check`: a sound configuration is printed as it is in effect, a broken one is told with everything that is
//! wrong with it.

use std::path::Path;

use crate::{
    process::{Ended, Place},
    tracer::Book,
};

/// The exit code for a configuration that is wrong, of sysexits.h.
pub(crate) const EXIT_CONFIG: i32 = 78;

/// A broken configuration, and what is told of it: line, setting, what is wrong, and a part of the remedy.
type Broken = (&'static str, usize, &'static str, &'static str, &'static str);

const SINK: &str = "[[sinks]]\nname = 'files'\ndir = 'objects'\n";

/// A stream, which a configuration needs that refuses others.
const STREAM: &str = "[streams.any]\n";

/// What stands behind [`SINK`], so that lines count from 4.
const BROKEN: [Broken; 10] = [
    ("[spool]\ndisk_quotta = '1GiB'\n", 5, "spool.disk_quotta", "is no setting", "did you mean `disk_quota`?"),
    (
        "[spool]\nsegment_size = '2GiB'\ndisk_quota = '1GiB'\n",
        5,
        "spool.segment_size",
        "is 2 GiB, more than spool.disk_quota (1 GiB)",
        "",
    ),
    (
        "[server]\nlisten = '0.0.0.0:8080'\n",
        5,
        "server.listen",
        "is 0.0.0.0:8080, which others can reach, and there is no key",
        "add a [[keys]] section, or listen on 127.0.0.1",
    ),
    (
        "[[sinks]]\nname = 'lake'\nrequired = false\nkind = 's3'\nbucket = 'b'\n[streams.heard]\nack = 'stored'\n",
        10,
        "streams.heard.ack",
        "is \"stored\", and no sink is required",
        "set required = true on a sink, or ack = \"spooled\"",
    ),
    (
        "[ingest]\nundeclared_streams = 'refuse'\n",
        5,
        "ingest.undeclared_streams",
        "is \"refuse\", and no stream is declared",
        "add a [streams.NAME] section",
    ),
    ("[server]\nidle_timeout = '30s'\n", 5, "server.idle_timeout", "is 30s, not more than the 1m", ""),
    ("[queue]\nbytes = '20MiB'\n", 5, "queue.bytes", "is 20 MiB, less than the largest batch (25 MiB", "raise it"),
    (
        "[[mute]]\nretry_after = '1h'\n",
        4,
        "mute[0]",
        "selects nothing, and would mute everyone",
        "add key, stream, sdk",
    ),
    (
        "[spool]\nmax_rate = '1MiB'\n",
        5,
        "spool.max_rate",
        "is 1 MiB, less than pacing.capacity_floor (10 MiB)",
        "raise it, or lower pacing.capacity_floor",
    ),
    ("[log]\nlevel = 'inof'\n", 5, "log.level", "is \"inof\", which it cannot be", "did you mean `info`?"),
];

/// A place where no variable covers what the file says of the ports.
fn check(place: &Place, file: &str) -> Ended {
    let mut command = place.command(&["check", "--config", file]);
    for setting in ["SERVER__LISTEN", "ADMIN__LISTEN", "LOG__FORMAT"] {
        command.env_remove(format!("LOGWEIR__{setting}"));
    }
    crate::process::Process::start(command).wait(crate::process::END)
}

#[test]
fn the_documented_configuration_is_sound_and_what_is_printed_of_it_can_be_loaded_again() {
    let place = Place::new();
    let documented = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/logweir.toml");
    let first = check(&place, documented.to_str().unwrap());
    assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""));
    for told in ["is sound", "objects a day", "the disk quota of 10 GiB lasts", "the memory ceiling is"] {
        assert!(first.stdout.contains(told), "nothing of {told}:\n{}", first.stdout);
    }
    place.write("again.toml", &first.stdout);
    let again = check(&place, "again.toml");
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    let behind_the_name = |printed: &str| printed.split_once('\n').unwrap().1.to_owned();
    assert_eq!(behind_the_name(&again.stdout), behind_the_name(&first.stdout));
}

#[test]
fn what_is_printed_shows_the_environment_too() {
    let place = Place::new();
    let mut command = place.command(&["check"]);
    command.env("LOGWEIR__SPOOL__DISK_QUOTA", "20GiB");
    let ended = crate::process::Process::start(command).wait(crate::process::END);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("disk_quota = \"20GiB\""), "{}", ended.stdout);
}

#[test]
fn what_limits_devices_is_told_as_one_instance_keeps_it() {
    let place = Place::new();
    let key = "[[keys]]\nname = 'app'\nkey = '0123456789abcdef'\nquota = { requests = 100, events = 5000 }\n";
    place.write("f.toml", &format!("{SINK}{key}[[mute]]\nkey = 'app'\nsdk = 'android/2.3.*'\n{STREAM}"));
    let mut command = place.command(&["check", "--config", "f.toml"]);
    for (name, value) in [("FLEET__INSTANCES", "40"), ("MUTE__1__DEVICES", "0.25"), ("HINTS__SAMPLING", "0.5")] {
        command.env(format!("LOGWEIR__{name}"), value);
    }
    let ended = crate::process::Process::start(command).wait(crate::process::END);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = "# key app: each of 40 instances lets in 2.5 requests/s, 125 events/s, and saves up 10s of them\n\
                # 2 mute rules are in effect\n\
                # devices are given hints: to keep 0.5 of their events";
    assert!(ended.stdout.trim_end().ends_with(told), "{}", ended.stdout);
    assert!(!ended.stdout.contains("0123456789abcdef"), "{}", ended.stdout);
}

#[test]
fn a_broken_configuration_is_told_by_line_setting_and_remedy_whether_it_is_checked_or_served() {
    for (text, line, setting, what, remedy) in BROKEN {
        let place = Place::new();
        let sink =
            if setting == "streams.heard.ack" { SINK.replace("dir", "required = false\ndir") } else { SINK.into() };
        let line = line + sink.lines().count() - SINK.lines().count();
        let stream = if setting == "ingest.undeclared_streams" { "" } else { STREAM };
        place.write("f.toml", &format!("{sink}{text}{stream}"));
        let checked = check(&place, "f.toml");
        assert_eq!((checked.code, checked.stdout.as_str()), (Some(EXIT_CONFIG), ""), "{setting}: {}", checked.stderr);
        let told = format!("f.toml:{line}: {setting} {what}");
        assert!(checked.stderr.contains(&told), "not told:\n{told}\n{}", checked.stderr);
        let after = checked.stderr.split_once(&told).unwrap().1;
        let told_remedy = after.split_once("\n  remedy: ").map(|(_, remedy)| remedy.lines().next().unwrap());
        assert!(told_remedy.is_some_and(|told| !told.is_empty() && told.contains(remedy)), "{setting}: {after}");
        assert_eq!(checked.stderr.matches("remedy: ").count(), 1, "one problem, one remedy: {}", checked.stderr);
    }
}

#[test]
fn a_server_does_not_start_with_a_broken_configuration() {
    let place = Place::new();
    place.write("f.toml", &format!("{SINK}[spool]\ndisk_quotta = '1GiB'\n{STREAM}"));
    for arguments in [&["--config", "f.toml"][..], &["serve", "--config", "f.toml"]] {
        let ended = place.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(EXIT_CONFIG), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains("f.toml:5: spool.disk_quotta is no setting"), "{}", ended.stderr);
    }
    assert!(!place.path("data").exists() && !place.path("objects").exists());
    let ended = place.run(&["--config", "missing.toml"]);
    assert_eq!(ended.code, Some(EXIT_CONFIG), "{}", ended.stderr);
    assert!(ended.stderr.contains("missing.toml: cannot be read: No such file"), "{}", ended.stderr);
}

#[test]
fn everything_that_is_wrong_is_told_in_one_run() {
    let place = Place::new();
    let text = "\
        [server]\nlisten = '0.0.0.0:8080'\nidle_timeout = '30s'\n\
        [queue]\nbytes = '20MiB'\n\
        [spool]\ndisk_quotta = '1GiB'\nsegment_size = '9GiB'\n\
        [log]\nlevel = 'inof'\n\
        [streams.heard]\nack = 'stored'\n";
    place.write("f.toml", &format!("{}{text}", SINK.replace("dir", "required = false\ndir")));
    let mut command = place.command(&["check", "--config", "f.toml"]);
    command.env_remove("LOGWEIR__SERVER__LISTEN").env("LOGWEIR__DRAIN__LINGER", "soon");
    let ended = crate::process::Process::start(command).wait(crate::process::END);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(EXIT_CONFIG), ""), "{}", ended.stderr);
    let told: Vec<&str> = ended.stderr.lines().step_by(2).collect();
    let expected = [
        "f.toml:6: server.listen",
        "f.toml:7: server.idle_timeout",
        "f.toml:9: queue.bytes",
        "f.toml:11: spool.disk_quotta",
        "f.toml:12: spool.segment_size",
        "f.toml:14: log.level",
        "f.toml:16: streams.heard.ack",
        "environment variable LOGWEIR__DRAIN__LINGER: drain.linger",
    ];
    assert_eq!(told.len(), expected.len(), "{}", ended.stderr);
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.trim_start_matches("logweir: ").starts_with(expected), "{told}\n{expected}");
    }
}

/// A sink that takes everything, and one that sends to Firehose.
const TWO: &str = "\
    [[sinks]]\nname = 'files'\ndir = 'objects'\ncodec = 'zstd'\n\
    [[sinks]]\nname = 'hose'\nkind = 'firehose'\nrequired = false\nmax_lag_bytes = '1GiB'\ndelivery_stream = 'logs-{stream}'\n\
    [streams.heard]\n";

#[test]
fn each_sink_is_told_with_its_terms_its_memory_and_its_costs() {
    let place = Place::new();
    place.write("f.toml", TWO);
    let checked = check(&place, "f.toml");
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    for told in [
        "\n# sink files: directory objects, required, all streams, zstd at level 1, 2 objects at a time in up to ",
        "\n# sink files: up to 2016 objects and pages of the books are put a day, for 1 stream\n",
        "\n# sink hose: Firehose, to logs-{stream}, best effort (it may lag 1 GiB or 1d, whichever comes first), all \
         streams without rejected events, what is never taken goes to files, 2 calls at a time in up to ",
        "\n# sink hose: at 100 events/s of 600 stored bytes a stream makes about 13140000 records a month of ",
    ] {
        assert!(checked.stdout.contains(told), "nothing of {told}:\n{}", checked.stdout);
    }
    let warnings: Vec<&str> = checked.stdout.lines().filter(|line| line.contains("warning")).collect();
    assert!(matches!(warnings[..], [warning] if warning.contains("do not read zstd")), "{warnings:?}");
}

#[test]
fn settings_that_make_tiny_objects_are_warned_of_and_sound_all_the_same() {
    let place = Place::new();
    place.write("f.toml", &format!("{TWO}[spool]\nseal_after = '10s'\n"));
    let checked = check(&place, "f.toml");
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    let told =
        "# warning: objects are tiny, about 117.2 KiB (at 100 events/s of 600 stored bytes, with a seal every 10s): ";
    assert!(checked.stdout.contains(told) && checked.stdout.contains("raise spool.seal_after"), "{}", checked.stdout);
}

#[test]
fn what_a_sink_still_held_that_is_configured_no_more_is_told_and_where_a_new_one_begins() {
    let place = Place::new();
    let sink = |name: &str, more: &str| format!("[[sinks]]\nname = '{name}'\ndir = 'objects-{name}'\n{more}\n");
    let rest =
        "[spool]\nseal_after = '1s'\n[ingest]\nundeclared_streams = 'accept'\n[drain]\nlinger = '0s'\ntimeout = '2s'\n";
    let before = sink("files", "") + &sink("gone", "required = false") + rest;
    place.write("before.toml", &before);
    // Where its objects should be made there is a file.
    place.write("objects-gone", "");
    let first = check(&place, "before.toml");
    assert!(
        first.code == Some(0) && !first.stdout.contains(" has no place in the spool"),
        "there is no spool: {first:?}"
    );
    let server = crate::process::Server::start(place.command(&["--config", "before.toml"]));
    let mut book = Book::default();
    book.send_one(server.address, "heard", 20);
    server.entry("an object could not be stored; trying again");
    let after = sink("files", "") + &sink("copy", "start = 'now'") + rest;
    place.write("after.toml", &after);
    // Beside the running server, and after it.
    let beside = check(&place, "after.toml");
    assert_eq!((beside.code, beside.stderr.as_str()), (Some(0), ""));
    let told = "# warning: sink gone is not configured any more, and has not taken ";
    assert!(beside.stdout.contains(told), "{}", beside.stdout);
    server.stop();
    let checked = check(&place, "after.toml");
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    let of_gone = format!("{told}1 segment (");
    assert!(checked.stdout.contains(&of_gone), "{}", checked.stdout);
    assert!(checked.stdout.contains(") of the spool in ./data/spool: nothing is kept for it"), "{}", checked.stdout);
    let of_copy = "# sink copy has no place in the spool in ./data/spool yet: it begins with what comes, and takes nothing of the";
    assert!(checked.stdout.contains(of_copy), "{}", checked.stdout);
    let same = check(&place, "before.toml").stdout;
    assert!(!same.contains("not configured any more") && !same.contains("has no place"), "{same}");
}
