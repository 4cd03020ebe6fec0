//! The whole path of a line: spool, follower, driver, sink, Firehose.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use logweir::{
    batch::Book,
    metrics::{Metrics, SINK_LINES, SINK_RECORDS},
    sink::{Backoff, Filter, LineDriver, LineSettings, Packing},
    spool::{Follower, Terms},
};
use tokio::time::timeout;

use crate::{
    SINK,
    firehose_server::{Call, Fault, FirehoseServer, bad_day},
    live_spool::LiveSpool,
    sink, stream,
};

const STREAMS: [&str; 2] = ["heard", "shown"];
const BATCH_LINES: usize = 50;
/// How long everything may take.
const PATIENCE: Duration = Duration::from_mins(3);

fn line_settings(spool: &LiveSpool) -> LineSettings {
    LineSettings {
        sink: SINK.into(),
        instance: spool.instance,
        concurrency: 4,
        // So small that there are many calls.
        stretch_bytes: 16 * 1024,
        linger: Duration::from_millis(5),
        attempt_timeout: PATIENCE,
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(20)),
        filter: Filter::default(),
    }
}

fn line(number: usize) -> String {
    format!("{{\"event_id\":\"{number}\",\"text\":\"{}\"}}", "x".repeat(number % 200))
}

/// The lines of records that were taken by some of the calls, and how often.
fn taken<'a>(calls: impl Iterator<Item = &'a Call>) -> BTreeMap<(String, String), usize> {
    let mut lines = BTreeMap::new();
    for call in calls {
        for (record, _) in call.records.iter().filter(|(_, taken)| *taken) {
            for line in std::str::from_utf8(record).unwrap().lines() {
                *lines.entry((call.delivery_stream.clone(), line.to_owned())).or_default() += 1;
            }
        }
    }
    lines
}

/// What a counter of the sink stands at, whose labels end in `outcome`.
fn count(metrics: &Metrics, outcome: &str) -> u64 {
    let counts = metrics.counts(&[&SINK_LINES, &SINK_RECORDS]);
    counts.iter().filter(|count| count.labels.last().unwrap() == outcome).map(|count| count.value).sum()
}

/// Puts batches of lines into a live spool, which is followed into `server` until everything is delivered: what was put, by
/// delivery stream, and the metrics.
async fn deliver(
    server: &FirehoseServer,
    packing: Packing,
    attempt_timeout: Duration,
    batches: usize,
) -> (BTreeMap<(String, String), usize>, Arc<Metrics>) {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = LiveSpool::open(dir.path(), 256 * 1024);
    let sink = Arc::new(sink(server, packing).counted_in(&spool.metrics));
    let follower = Follower::new(spool.shelf.consumer(SINK, Terms::REQUIRED));
    spool.shelf.all_joined();
    let settings = LineSettings { attempt_timeout, ..line_settings(&spool) };
    let driver = LineDriver::new(settings, sink, follower, None, &spool.metrics);
    let running = tokio::spawn(driver.run());

    let mut sent = BTreeMap::new();
    for batch in 0..batches {
        let name = STREAMS[batch % STREAMS.len()];
        let lines: Vec<String> = (batch * BATCH_LINES..(batch + 1) * BATCH_LINES).map(line).collect();
        let text = lines.join("\n") + "\n";
        spool.put(&stream(name), Book::Accepted, text).await.await.unwrap();
        sent.extend(lines.into_iter().map(|line| ((format!("logweir-{name}"), line), 1)));
    }
    // Not its business: without a delivery stream they would be told of.
    spool.put(&stream("heard"), Book::Rejected, "{\"bad\":true}\n".into()).await.await.unwrap();
    let metrics = Arc::clone(&spool.metrics);
    tokio::task::spawn_blocking(move || spool.close()).await.unwrap();
    // It ends once everything is delivered.
    timeout(PATIENCE, running).await.unwrap().unwrap();
    (sent, metrics)
}

#[tokio::test]
async fn every_line_arrives_and_only_what_may_have_arrived_is_there_twice() {
    for (seed, packing) in [(1, Packing::Lines), (2, Packing::Single)] {
        let server = FirehoseServer::start([]);
        server.fault_at_random(seed, bad_day());
        // No attempt ends for the sake of time.
        let (sent, metrics) = deliver(&server, packing, PATIENCE, 80).await;
        let calls = server.calls();
        let arrived = taken(calls.iter());
        assert!(arrived.keys().eq(sent.keys()), "every line is there, and no other");
        let (ambiguous, clear): (Vec<&Call>, Vec<&Call>) = calls.iter().partition(|call| call.fault.is_ambiguous());
        assert_eq!(taken(clear.iter().copied()), sent, "calls with an answer bring each line once");
        assert!(!taken(ambiguous.iter().copied()).is_empty(), "this was a bad day");
        // What was sent again for that: the lines of every ambiguous call, whether or not they had arrived.
        let lines = |call: &&Call| -> usize {
            call.records.iter().map(|(record, _)| std::str::from_utf8(record).unwrap().lines().count()).sum()
        };
        let repeated: usize = ambiguous.iter().map(lines).sum();
        assert_eq!(count(&metrics, "repeated"), repeated as u64);
        assert_eq!(count(&metrics, "delivered"), sent.len() as u64);
        let records: usize = calls.iter().map(|call| call.records.len()).sum();
        assert_eq!(count(&metrics, SINK), records as u64);
    }
}

/// Here time ends attempts, of which the slowest machine may have more than the two that hang.
#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_its_lines_are_sent_again() {
    let server = FirehoseServer::start([Fault::None, Fault::Hang, Fault::TakeAndHang]);
    let (sent, metrics) = deliver(&server, Packing::Lines, Duration::from_secs(1), 20).await;
    assert_eq!(server.faults_left(), 0);
    let arrived = taken(server.calls().iter());
    assert!(arrived.keys().eq(sent.keys()), "every line is there, and no other");
    let twice: usize = arrived.values().map(|times| times - 1).sum();
    assert!(twice > 0, "what was taken by the call that hung");
    assert!(count(&metrics, "repeated") >= twice as u64, "and counted");
    assert_eq!(count(&metrics, "delivered"), sent.len() as u64);
}
