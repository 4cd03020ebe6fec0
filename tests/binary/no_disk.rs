//! An instance that keeps nothing: what it acknowledged is in the bucket, whatever becomes of the process.

use std::{fs, thread::sleep, time::Duration};

use rustix::process::Signal;

use crate::{
    bucket::Bucket,
    fault_proxy::Weather,
    figures::{asked, tell},
    firehose_server::FirehoseServer,
    process::{END, Ended, Place, Server, status_bytes},
    tracer::{Book, Load, STREAMS, name_in},
};

/// How often the process is killed, unless `LOGWEIR_TEST_KILL_ROUNDS` says otherwise.
const ROUNDS: usize = 6;
/// Connections that wait for their answers when it is.
const CONNECTIONS: usize = 12;
const NO_DISK: [(&str, &str); 4] =
    [("SPOOL__KIND", "none"), ("SPOOL__WINDOW", "50ms"), ("SPOOL__MEMORY", "8MiB"), ("INGEST__STORED_TIMEOUT", "3s")];

/// Firehose alone, in windows that cost nothing: it has no objects.
const FIREHOSE_ALONE: &str = r#"
spool = { kind = "none", window = "50ms" }
[ingest]
undeclared_streams = "accept"
[limits]
encoded_body = "256KiB"
decoded_body = "256KiB"
output = "512KiB"
[drain]
linger = "0s"
[[sinks]]
name = "stream"
kind = "firehose"
delivery_stream = "{stream}"
rejected_stream = "bad"
region = "ap-northeast-2"
endpoint = "{endpoint}"
linger = "20ms"
attempt_timeout = "1500ms"
backoff_min = "10ms"
backoff_max = "300ms"
"#;

/// Nothing but the configuration is in the directory that the processes ran in.
fn assert_left_nothing(place: &Place) {
    let names: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["logweir.toml"]);
}

#[test]
fn kills_at_any_moment_with_s3_failing_lose_nothing_that_was_called_stored() {
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    let seed = fastrand::u64(..);
    tell(format_args!("seed of the faults: {seed}"));
    bucket.bad_day(seed);
    for round in 0..asked("KILL_ROUNDS", ROUNDS) {
        let server = bucket.serve(&place, &NO_DISK);
        let load = Load::start(server.address, CONNECTIONS, &format!("{round}"));
        sleep(Duration::from_millis(300 + fastrand::u64(..1_500)));
        if round % 3 == 2 {
            server.signal(Signal::TERM);
            sleep(Duration::from_millis(fastrand::u64(..300)));
        }
        server.signal(Signal::KILL);
        // A drain may have been faster.
        let ended = server.wait(END);
        assert!([None, Some(0)].contains(&ended.code), "{}", ended.stderr);
        book.merge(load.join());
    }
    bucket.good_day();
    let server = bucket.serve(&place, &NO_DISK);
    book.send_one(server.address, "last", 3);
    server.stop();
    assert!(!book.acknowledged.is_empty() && !book.uncertain.is_empty(), "no kill came in the middle of a load");
    tell(book.compare(&bucket.objects()));
    assert_left_nothing(&place);
}

#[test]
fn sigterm_answers_who_waits_and_everything_that_was_called_stored_is() {
    let (place, bucket) = (Place::new(), Bucket::new());
    let server = bucket.serve(&place, &NO_DISK);
    let load = Load::start(server.address, CONNECTIONS, "load");
    sleep(Duration::from_millis(700));
    let ended = server.stop();
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
    let book = load.join();
    assert!(book.acknowledged.len() > 50);
    book.compare(&bucket.objects());
    assert_left_nothing(&place);
}

#[test]
fn a_drain_without_s3_calls_nothing_stored_and_says_what_is_gone() {
    let (place, bucket) = (Place::new(), Bucket::new());
    bucket.turn(Weather::Down);
    let server = bucket.serve(&place, &[&NO_DISK[..], &[("DRAIN__TIMEOUT", "2s")]].concat());
    let load = Load::start(server.address, CONNECTIONS, "load");
    sleep(Duration::from_millis(500));
    let ended = server.stop();
    let gone = ended.entry("stopped; what is not stored is gone, and was not called stored");
    assert!(gone.is_some_and(|gone| gone["segments_left"].as_u64().unwrap() > 0), "{}", ended.stderr);
    let book = load.join();
    assert!(book.acknowledged.is_empty() && !book.uncertain.is_empty());
    assert_left_nothing(&place);
}

#[test]
fn without_s3_memory_stays_below_the_ceiling_and_the_instance_recovers() {
    let (place, bucket) = (Place::new(), Bucket::new());
    bucket.turn(Weather::Down);
    let settings =
        [&NO_DISK[..], &[("INGEST__STORED_TIMEOUT", "300ms"), ("SPOOL__MEMORY", "16MiB"), ("QUEUE__BYTES", "8MiB")]];
    let server = bucket.serve(&place, &settings.concat());
    let ceiling = server.entry("memory ceiling")["bytes"].as_u64().unwrap();
    let load = Load::padded(server.address, CONNECTIONS, "outage", 8_000);
    let refused = || {
        let scraped = crate::client::get(server.admin, "/metrics").text();
        let line =
            scraped.lines().find(|line| line.starts_with("logweir_refusals_total{cause=\"disk\"}")).unwrap_or("0");
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 100.0
    };
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while !refused() {
        assert!(std::time::Instant::now() < deadline, "the memory never fills");
        sleep(Duration::from_millis(50));
    }
    let peak = status_bytes(server.id(), "VmHWM");
    assert!(peak < ceiling, "{peak} bytes were resident, and the ceiling is {ceiling}");
    bucket.turn(Weather::Clear);
    load.end();
    let mut book = load.join();
    assert!(book.acknowledged.is_empty());
    let mut sent = 0;
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while book.try_one(server.address, &format!("after-{sent}"), 2).status != 200 {
        sent += 1;
        assert!(std::time::Instant::now() < deadline, "it does not recover");
        sleep(Duration::from_millis(50));
    }
    server.stop();
    let audit = book.compare(&bucket.objects());
    assert!(audit.uncertain_found > 0, "what was told 503 comes all the same");
    assert_left_nothing(&place);
}

#[test]
fn with_firehose_alone_what_was_called_stored_has_arrived_whenever_the_process_is_killed() {
    let (place, firehose, mut book) = (Place::new(), FirehoseServer::start([]), Book::default());
    place.write("logweir.toml", &FIREHOSE_ALONE.replace("{endpoint}", &firehose.endpoint()));
    for round in 0..asked("KILL_ROUNDS", ROUNDS) {
        let mut command = place.command(&["--config", "logweir.toml"]);
        command.env("AWS_ACCESS_KEY_ID", "anybody").env("AWS_SECRET_ACCESS_KEY", "anything");
        let server = Server::start(command);
        let load = Load::start(server.address, CONNECTIONS, &format!("{round}"));
        sleep(Duration::from_millis(300 + fastrand::u64(..700)));
        server.kill();
        book.merge(load.join());
    }
    assert!(!book.acknowledged.is_empty() && !book.uncertain.is_empty(), "no kill came in the middle of a load");
    let lines = STREAMS.iter().chain(&["bad"]).flat_map(|stream| firehose.lines(stream));
    let arrived: std::collections::BTreeSet<_> = lines.map(|line| name_in(&line)).collect();
    let lacking: Vec<_> = book.acknowledged.iter().filter(|name| !arrived.contains(*name)).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    tell(format_args!("{} events acknowledged, {} arrived", book.acknowledged.len(), arrived.len()));
    assert_left_nothing(&place);
}

#[test]
fn what_a_spool_still_holds_where_nothing_is_kept_any_more_is_told_until_it_is_replayed() {
    const CONFIG: &str = "ingest = { undeclared_streams = 'accept' }\ndrain = { linger = '0s' }\n[[sinks]]\nname = 'lake'\n\
                          dir = 'lake'\n";
    let (place, mut book) = (Place::new(), Book::default());
    place.write("disk.toml", &format!("spool = {{ dir = 'spool' }}\n{CONFIG}"));
    place.write("none.toml", &format!("spool = {{ kind = 'none', dir = 'spool' }}\n{CONFIG}"));
    let told =
        |ended: &Ended| ended.stderr.contains("spool.kind is") || ended.stdout.contains("warning: spool.kind is");
    let check = || place.run(&["check", "--config", "none.toml"]);
    let serve = |config: &str| Server::start(place.command(&["--config", config]));

    assert!(!told(&check()), "there is no spool yet");
    let server = serve("disk.toml");
    book.send_one(server.address, "kept", 20);
    server.stop();
    let checked = check();
    assert!(!told(&checked), "everything was stored: {}", checked.stdout);

    // A file stands where the sink's directory should be.
    fs::rename(place.path("lake"), place.path("before")).unwrap();
    place.write("lake", "");
    let server = serve("disk.toml");
    book.send_one(server.address, "left", 20);
    server.kill();
    let checked = check();
    let warning = "warning: spool.kind is \"none\", and the spool in spool still holds 1 segment (";
    assert!(checked.stdout.contains(warning), "{}", checked.stdout);
    let remedy = "run `logweir replay --spool spool --config FILE`";
    assert!(checked.stdout.contains(remedy), "{}", checked.stdout);
    fs::remove_file(place.path("lake")).unwrap();
    fs::rename(place.path("before"), place.path("lake")).unwrap();
    let ended = serve("none.toml").stop();
    assert!(ended.stderr.contains(remedy), "{}", ended.stderr);

    let replayed = place.run(&["replay", "--spool", "spool", "--config", "none.toml"]);
    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    book.compare(&place.path("lake"));
    let checked = check();
    assert!(!told(&checked), "{}", checked.stdout);
    assert!(!told(&serve("none.toml").stop()));
}
