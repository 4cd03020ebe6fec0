//! What is held of line sinks over a spool that is written to meanwhile.

use std::{sync::Arc, time::Duration};

use logweir::{
    batch::{Book, Millis, StreamName},
    metrics::SINK_SKIPPED_EVENTS,
    sink::{Filter, LineDriver, LineSink},
    spool::{Follower, MaxLag, Need, Start, Terms},
};
use tokio::time::{sleep, timeout};

use crate::{
    ground::line,
    holds::{PATIENCE, line_settings},
    live_spool::LiveSpool,
    rig::{Rig, Sink},
    script::{Fault, Script},
    segments::SINK,
    watched::Watched,
};

const STREAM: &str = "heard";
/// How many lines a batch has.
const BATCH: usize = 50;

/// The line sink of a rig; `None` for an object sink, which waits for the seal.
fn line_sink(rig: &impl Rig) -> Option<Arc<dyn LineSink>> {
    match rig.sink() {
        Sink::Lines(sink) => Some(sink),
        Sink::Objects(..) => None,
    }
}

fn lines(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|number| line(number, 20)).collect()
}

/// Puts lines and waits until they are durable.
async fn put(spool: &LiveSpool, lines: &[String]) {
    for batch in lines.chunks(BATCH) {
        let text: String = batch.iter().flat_map(|line| [line, "\n"]).collect();
        let durable = spool.put(&StreamName::new(STREAM).unwrap(), Book::Accepted, text).await;
        durable.await.unwrap();
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !is_so() {
            sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} does not come");
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Lines arrive while their segment is open, and the cursor follows them.
pub(crate) async fn before_the_seal<R: Rig>() {
    let rig = R::start(Script::default()).await;
    let sink = line_sink(&rig).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut spool = LiveSpool::open(dir.path(), 1 << 30);
    let follower = Follower::new(spool.shelf.consumer(SINK, Terms::REQUIRED));
    spool.shelf.all_joined();
    let settings = line_settings(2, PATIENCE, Filter::default());
    let driver = tokio::spawn(LineDriver::new(settings, sink, follower, None, &spool.metrics).run());
    let all = lines(0, 5 * BATCH);
    for (number, batch) in all.chunks(BATCH).enumerate() {
        put(&spool, batch).await;
        until("a batch", || rig.arrived().len() == (number + 1) * BATCH).await;
        assert_eq!(spool.shelf.sealed().0, 0, "the segment is open");
    }
    spool.close();
    timeout(PATIENCE, driver).await.expect("the driver ends").unwrap();
    assert_eq!(sorted(rig.arrived()), all);
}

/// What the spool has skipped is given up, and what follows arrives.
pub(crate) async fn what_is_skipped<R: Rig>() {
    let rig = R::start(Script::new([Some(Fault::Hangs), Some(Fault::Hangs)])).await;
    let (old, new) = (lines(0, 40 * BATCH), lines(40 * BATCH, 2 * BATCH));
    let watched = Watched::new(line_sink(&rig).unwrap(), [old.clone(), new.clone()].concat());
    let dir = tempfile::tempdir().unwrap();
    let mut spool = LiveSpool::open(dir.path(), 1 << 30);
    let lag = MaxLag { bytes: 16 * 1024, age: Duration::MAX };
    let consumer = spool.shelf.consumer(SINK, Terms { need: Need::BestEffort(lag), start: Start::Oldest });
    spool.shelf.all_joined();
    let settings = line_settings(2, 10 * PATIENCE, Filter::default());
    let sink = Arc::new(watched.clone());
    let driver = tokio::spawn(LineDriver::new(settings, sink, Follower::new(consumer), None, &spool.metrics).run());
    put(&spool, &old).await;
    until("two calls", || watched.seen(|seen| seen.calls.0 == 2)).await;
    let shelf = Arc::clone(&spool.shelf);
    let kept_up = tokio::task::spawn_blocking(move || shelf.keep_up(Millis::new(0).unwrap()));
    kept_up.await.unwrap();
    until("the end of both calls", || watched.seen(|seen| seen.calls.0 == 0)).await;
    put(&spool, &new).await;
    until("what follows", || rig.arrived().len() == new.len()).await;
    spool.close();
    timeout(PATIENCE, driver).await.expect("the driver ends").unwrap();
    assert_eq!(sorted(rig.arrived()), new);
    let skipped = spool.metrics.counts(&[&SINK_SKIPPED_EVENTS]).remove(0).value;
    assert_eq!(skipped, old.len() as u64);
}
