//! What is acknowledged survives a process that is killed at any moment (P1), and is stored once (P2).

use std::{thread::sleep, time::Duration};

use crate::{
    process::Place,
    tracer::{Book, Load},
};

/// How often the process is killed.
const ROUNDS: usize = 5;
/// Connections that are in the middle of something when it is.
const CONNECTIONS: usize = 6;
/// Small segments that are sealed soon, so that a kill also meets seals and uploads.
const SETTINGS: [(&str, &str); 6] = [
    ("LIMITS__ENCODED_BODY", "256KiB"),
    ("LIMITS__DECODED_BODY", "256KiB"),
    ("LIMITS__OUTPUT", "512KiB"),
    ("SPOOL__SEGMENT_SIZE", "1MiB"),
    ("SPOOL__SEAL_AFTER", "1s"),
    ("SPOOL__DISK_QUOTA", "256MiB"),
];

#[test]
fn a_process_that_is_killed_under_load_loses_nothing_it_acknowledged_and_stores_it_once() {
    let place = Place::new();
    let mut book = Book::default();
    for round in 0..ROUNDS {
        let server = place.serve(&SETTINGS);
        let load = Load::start(server.address, CONNECTIONS, &format!("round-{round}"));
        sleep(Duration::from_millis(100 + fastrand::u64(..1_400)));
        server.kill();
        let sent = load.join();
        assert!(!sent.acknowledged.is_empty() && !sent.uncertain.is_empty(), "the load was over when the kill came");
        book.merge(sent);
    }
    place.serve(&SETTINGS).stop();
    book.compare(&place.path("data/objects"));
}
