//! What the process may come to need is told at the start, and holds (P4).

use std::{net::SocketAddr, thread};

use serde_json::json;

use crate::{
    client::{Client, Post, gzip},
    process::{Place, status_bytes},
};

/// Connections that send at the same time.
const CONNECTIONS: usize = 48;
/// Batches that each of them sends.
const BATCHES: usize = 4;

#[test]
fn a_burst_of_large_batches_stays_below_the_ceiling_that_was_told() {
    let place = Place::new();
    let server = place.serve(&[
        ("SERVER__MAX_CONNECTIONS", "256"),
        ("LIMITS__ENCODED_BODY", "4MiB"),
        ("LIMITS__DECODED_BODY", "4MiB"),
        ("LIMITS__OUTPUT", "6MiB"),
        ("QUEUE__BYTES", "16MiB"),
        ("SPOOL__SEGMENT_SIZE", "16MiB"),
        ("SPOOL__SEAL_AFTER", "1s"),
    ]);
    let ceiling = server.entry("memory ceiling")["bytes"].as_u64().unwrap();
    let event = json!({ "text": "0123456789abcdef".repeat(62) });
    let body = serde_json::Value::from(vec![event; 3_500]).to_string().into_bytes();
    let (plain, packed) = (&body, &gzip(&body));
    let address = server.address;
    let statuses: Vec<u16> = thread::scope(|scope| {
        let burst = |number: usize| {
            scope.spawn(move || {
                let (body, encoding) = if number.is_multiple_of(2) { (plain, "identity") } else { (packed, "gzip") };
                (0..BATCHES).map(|_| post(address, body, encoding)).collect::<Vec<_>>()
            })
        };
        let senders: Vec<_> = (0..CONNECTIONS).map(burst).collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    let peak = status_bytes(server.id(), "VmHWM");
    assert!(peak < ceiling, "{peak} bytes were resident, and the ceiling is {ceiling}");
    let count = |status| statuses.iter().filter(|other| **other == status).count();
    assert_eq!(count(200) + count(429), statuses.len(), "{statuses:?}");
    assert!(count(200) > 0 && count(429) > 0, "the burst was no burst: {statuses:?}");
    server.stop();
}

/// Posts on a connection of its own, as a flood of devices does.
fn post(address: SocketAddr, body: &[u8], encoding: &str) -> u16 {
    let headers = &[("content-type", "application/json"), ("content-encoding", encoding)];
    let answer = Client::connect(address).unwrap().post(Post { stream: "burst", headers, body }).unwrap();
    if answer.status == 429 {
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
        assert!(["memory", "backlog", "cpu"].map(Into::into).contains(&answer.json()["cause"]), "{}", answer.json());
    }
    answer.status
}
