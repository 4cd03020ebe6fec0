//! A sink that cannot store holds nothing up: the instance ends in time, says what is left, and stores it later (P7).

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{process::Place, tracer::Book};

#[test]
fn what_a_broken_sink_could_not_store_is_told_kept_and_stored_after_the_repair() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let place = Place::new();
    // Where objects should be made there is a file, as a mount point that was forgotten might leave it.
    fs::create_dir(place.path("data")).unwrap();
    place.write("data/objects", "");
    let server = place.serve(&[("DRAIN__TIMEOUT", "2s"), ("SPOOL__SEAL_AFTER", "1s")]);
    let mut book = Book::default();
    book.send_one(server.address, "first", 20);
    server.entry("an object could not be stored; trying again");
    book.send_one(server.address, "second", 20);
    let told = Instant::now();
    let ended = server.stop();
    let took = told.elapsed();
    assert!(took >= TIMEOUT && took < TIMEOUT + Duration::from_secs(8), "it ended after {took:?}");
    let left = ended.entry("stopped; what is not stored stays in the spool").expect(&ended.stderr);
    assert_eq!(left["segments_left"], 2, "{left}");
    assert!(left["bytes_left"].as_u64().unwrap() > 40 * 200, "{left}");

    fs::remove_file(place.path("data/objects")).unwrap();
    let ended = place.serve(&[]).stop();
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
    book.compare(&place.path("data/objects"));
}
