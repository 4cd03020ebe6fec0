//! What is acknowledged survives a process that is killed at any moment while S3 and the network to it do badly whatever
//! they can (P1, P7), and is stored once (P2).

use std::{thread::sleep, time::Duration};

use rustix::process::Signal;

use crate::{
    bucket::Bucket,
    fault_proxy::Weather,
    figures::{asked, tell},
    process::{END, Place, Process, Server},
    tracer::{Book, Load},
};

/// How often the process is killed, unless `LOGWEIR_TEST_KILL_ROUNDS` says otherwise.
const ROUNDS: usize = 12;
/// The same, where there is time.
const MANY_ROUNDS: usize = 120;
/// How many faults S3 still makes when there are no more kills, if that many requests come.
const LAST_FAULTS: usize = 40;
/// How long what is left after many rounds may take.
const LIMIT: Duration = Duration::from_mins(30);
/// Connections that are in the middle of something when it is.
const CONNECTIONS: usize = 6;

/// In the middle of what a process is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Its start, in which it takes up what the last one left, several times in a row.
    Start,
    /// Requests and whatever goes with them.
    Load,
    /// An upload.
    Upload,
    /// Its drain, after SIGTERM.
    Drain,
}

#[test]
fn kills_at_any_moment_with_s3_and_its_network_failing_lose_nothing_acknowledged_and_store_it_once() {
    kill(asked("KILL_ROUNDS", ROUNDS));
}

#[test]
#[ignore = "takes minutes: tests/run without --fast"]
fn many_more_kills_at_any_moment_lose_nothing_acknowledged_and_store_it_once() {
    kill(asked("KILL_ROUNDS", MANY_ROUNDS));
}

fn kill(rounds: usize) {
    let seed = fastrand::u64(..);
    tell(format_args!("seed of the faults: {seed}"));
    let (place, bucket) = (Place::new(), Bucket::new());
    bucket.bad_day(seed);
    let mut book = Book::default();
    let mut kills = 0;
    for round in 0..rounds {
        let moment = [Moment::Load, Moment::Start, Moment::Upload, Moment::Drain][round % 4];
        if let Moment::Start = moment {
            kills += kill_starts(&bucket, &place);
        }
        let server = bucket.serve(&place, &[]);
        let load = Load::start(server.address, CONNECTIONS, &format!("{round}"));
        kills += kill_one(moment, &bucket, server);
        book.merge(load.join());
    }
    assert!(!book.acknowledged.is_empty() && !book.uncertain.is_empty(), "no kill came in the middle of a load");
    // A part of what is left meets the faults of S3 alone, the rest none.
    bucket.turn(Weather::Clear);
    let server = bucket.serve(&place, &[("DRAIN__TIMEOUT", "1h")]);
    bucket.wait_for_faults(LAST_FAULTS);
    bucket.good_day();
    let ended = server.stop_within(LIMIT);
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
    let (audit, faults) = (book.compare(&bucket.objects()), bucket.server.met_at_random());
    tell(format_args!("{kills} kills in {rounds} rounds, {faults} faults of S3: {audit}"));
    assert!(faults > 0, "S3 did nothing wrong");
}

/// Kills `server` in the middle of `moment`: how many kills that was.
fn kill_one(moment: Moment, bucket: &Bucket, server: Server) -> usize {
    match moment {
        Moment::Load | Moment::Start => sleep(up_to_millis(1_500)),
        Moment::Upload => {
            sleep(up_to_millis(500));
            bucket.server.seen();
            // Storms may keep every upload away; then the kill comes all the same.
            bucket.wait_for_put();
            sleep(up_to_millis(5));
        }
        Moment::Drain => {
            sleep(up_to_millis(1_000));
            server.signal(Signal::TERM);
            sleep(up_to_millis(500));
            server.signal(Signal::KILL);
            // It may have been faster.
            let ended = server.wait(END);
            assert!([None, Some(0)].contains(&ended.code), "{}", ended.stderr);
            return usize::from(ended.code.is_none());
        }
    }
    server.kill();
    1
}

/// Kills processes while they start, each a little later than the one before: how many.
fn kill_starts(bucket: &Bucket, place: &Place) -> usize {
    const STARTS: u64 = 6;
    for start in 0..STARTS {
        let process = Process::start(bucket.command(place, &[]));
        sleep(Duration::from_millis(start * 8) + up_to_millis(8));
        process.signal(Signal::KILL);
        assert_eq!(process.wait(END).code, None, "a start that is killed ends by that");
    }
    STARTS as usize
}

fn up_to_millis(most: u64) -> Duration {
    Duration::from_micros(fastrand::u64(..most * 1_000))
}
