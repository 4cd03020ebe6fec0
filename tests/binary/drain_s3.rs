//! The end of an instance whose S3 is slow or down: in time, honest about what is left, and never a loss; the next start
//! finishes the work (P7).

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    bucket::Bucket,
    fault_proxy::Weather,
    process::{END, Ended, Place, Server},
    tracer::{Book, Load},
};

/// A segment that is in its middle when the end comes.
const LONG_SEGMENT: (&str, &str) = ("SPOOL__SEAL_AFTER", "1h");
const STORED: &str = "stopped; everything is stored";
const LEFT: &str = "stopped; what is not stored stays in the spool";
/// How much longer than it may a process takes on a machine that is busy.
const LENIENCE: Duration = Duration::from_secs(8);

/// A server in the middle of a long segment, the load that it is under, and what was sent.
fn in_the_middle(bucket: &Bucket, place: &Place, timeout: &str, book: &mut Book) -> (Server, Load) {
    let server = bucket.serve(place, &[LONG_SEGMENT, ("DRAIN__TIMEOUT", timeout)]);
    book.send_one(server.address, &format!("before-{}", server.id()), 50);
    let load = Load::start(server.address, 4, &format!("load-{}", server.id()));
    std::thread::sleep(Duration::from_millis(300));
    (server, load)
}

/// Ends `server`, which must end well and in time: what it said, and how many segments it left.
fn end(server: Server, timeout: Duration) -> (Ended, u64) {
    let told = Instant::now();
    let ended = server.stop();
    let took = told.elapsed();
    assert!(took < timeout + LENIENCE, "it ended after {took:?}");
    let left = ended.entry(LEFT).map_or(0, |left| {
        assert!(left["bytes_left"].as_u64().unwrap() > 0, "{left}");
        left["segments_left"].as_u64().unwrap()
    });
    assert_eq!(ended.entry(STORED).is_none(), left > 0, "{}", ended.stderr);
    (ended, left)
}

/// The next start, with everything in order, stores what is left.
fn finish(bucket: &Bucket, place: &Place, book: &Book) {
    bucket.turn(Weather::Clear);
    let ended = bucket.serve(place, &[]).stop();
    assert!(ended.entry(STORED).is_some(), "{}", ended.stderr);
    assert!(book.acknowledged.len() > 50);
    book.compare(&bucket.objects());
    // And there is nothing to do for the one behind it.
    let keys = bucket.server.keys();
    bucket.serve(place, &[]).stop();
    assert_eq!(bucket.server.keys(), keys);
}

#[test]
fn a_drain_in_the_middle_of_a_long_segment_waits_for_an_s3_that_is_slow() {
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    // An object takes most of an attempt's time.
    bucket.turn(Weather::Slow(Duration::from_millis(40)));
    let (server, load) = in_the_middle(&bucket, &place, "30s", &mut book);
    let (ended, left) = end(server, Duration::from_secs(30));
    assert_eq!(left, 0, "{}", ended.stderr);
    book.merge(load.join());
    book.compare(&bucket.objects());
    finish(&bucket, &place, &book);
}

#[test]
fn a_drain_ends_in_time_though_s3_is_too_slow_and_the_next_start_finishes_the_work() {
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    // No attempt ends within its time.
    bucket.turn(Weather::Slow(Duration::from_secs(3)));
    let (server, load) = in_the_middle(&bucket, &place, "2s", &mut book);
    let (ended, left) = end(server, Duration::from_secs(2));
    assert!(left > 0, "{}", ended.stderr);
    book.merge(load.join());
    finish(&bucket, &place, &book);
}

#[test]
fn a_drain_ends_in_time_though_s3_is_down_time_and_again_and_a_later_start_finishes_the_work() {
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    bucket.turn(Weather::Down);
    for earlier in 0..2 {
        let (server, load) = in_the_middle(&bucket, &place, "1s", &mut book);
        let (ended, left) = end(server, Duration::from_secs(1));
        assert!(left > earlier, "{}", ended.stderr);
        book.merge(load.join());
    }
    finish(&bucket, &place, &book);
}

#[test]
fn a_drain_that_is_killed_in_the_middle_of_an_upload_is_finished_by_the_next_start() {
    let (place, bucket, mut book) = (Place::new(), Bucket::new(), Book::default());
    for upload_has_effect in [false, true] {
        let (server, load) = in_the_middle(&bucket, &place, "30s", &mut book);
        bucket.server.seen();
        bucket.swallow_next(upload_has_effect);
        server.signal(Signal::TERM);
        bucket.wait_for_put().expect("the drain stores what there is");
        server.signal(Signal::KILL);
        assert_eq!(server.wait(END).code, None, "it was to be killed before it ended");
        book.merge(load.join());
    }
    finish(&bucket, &place, &book);
}
