//! What is acknowledged survives a process that is killed at any moment, with a bucket and Firehose that fail independently
//! of each other: the bucket has it once, Firehose at least once (P1, P2, P7).

use std::{thread::sleep, time::Duration};

use crate::{
    fault_proxy::Weather,
    figures::{asked, tell},
    firehose::TwoSinks,
    firehose_server::bad_day,
    process::{END, Place, Process},
    tracer::{Book, Load},
};

/// How often the process is killed, unless `LOGWEIR_TEST_KILL_ROUNDS` says otherwise.
const ROUNDS: usize = 10;
const CONNECTIONS: usize = 4;
/// How long what is left may take.
const LIMIT: Duration = Duration::from_mins(10);

#[test]
fn kills_at_any_moment_with_two_failing_sinks_lose_nothing_acknowledged() {
    let seed = fastrand::u64(..);
    tell(format_args!("seed of the faults: {seed}"));
    let (place, sinks) = (Place::new(), TwoSinks::new());
    sinks.bucket.bad_day(seed);
    sinks.firehose.fault_at_random(seed, bad_day());
    let mut book = Book::default();
    for round in 0..asked("KILL_ROUNDS", ROUNDS) {
        if round % 3 == 2 {
            let process = Process::start(sinks.command(&place, &[], ""));
            sleep(up_to_millis(60));
            process.signal(rustix::process::Signal::KILL);
            process.wait(END);
        }
        let server = sinks.serve(&place, &[], "");
        let load = Load::start(server.address, CONNECTIONS, &format!("{round}"));
        sleep(up_to_millis(1_500));
        server.kill();
        book.merge(load.join());
    }
    assert!(!book.acknowledged.is_empty() && !book.uncertain.is_empty(), "no kill came in the middle of a load");
    sinks.bucket.turn(Weather::Clear);
    sinks.bucket.good_day();
    sinks.firehose.fault_at_random(0, Vec::new());
    let ended = sinks.serve(&place, &[("DRAIN__TIMEOUT", "1h")], "").stop_within(LIMIT);
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
    let audit = book.compare(&sinks.bucket.objects());
    let lacking = sinks.lacking(&book);
    assert!(lacking.is_empty(), "{} of {} are not in Firehose", lacking.len(), book.acknowledged.len());
    let arrived = sinks.arrived();
    let invented = arrived.keys().find(|name| !book.acknowledged.contains(*name) && !book.uncertain.contains(*name));
    assert_eq!(invented, None, "nobody sent it");
    tell(format_args!("{audit}; Firehose has {} events, {} lines of them twice", arrived.len(), sinks.doubled()));
}

fn up_to_millis(most: u64) -> Duration {
    Duration::from_micros(fastrand::u64(..most * 1_000))
}
