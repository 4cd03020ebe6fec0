//! How a server ends: by one signal in good order, by two at once, and losing nothing either way.

use std::{
    fs,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;

use crate::{
    client::{Client, get},
    process::{END, Place, Server},
    replay::heartbeats_in,
    tracer::{Book, Load},
};

/// How long an instance may take to say that it is leaving.
const SOON: Duration = Duration::from_secs(10);
/// A linger that no test waits for.
const LONG: &str = "10m";

#[test]
fn sigterm_lingers_unready_while_batches_are_taken_and_then_everything_is_stored() {
    lingers(Signal::TERM);
}

#[test]
fn sigint_does_what_sigterm_does() {
    lingers(Signal::INT);
}

fn lingers(signal: Signal) {
    const LINGER: Duration = Duration::from_secs(3);
    let place = Place::new();
    let server = place.serve(&[("DRAIN__LINGER", "3s")]);
    let mut book = Book::default();
    book.send_one(server.address, "before", 3);
    assert_eq!(get(server.address, "/readyz").status, 200);
    let told = Instant::now();
    server.signal(signal);
    for address in [server.address, server.admin] {
        becomes_unready(address);
        assert_eq!(get(address, "/livez").status, 200);
    }
    book.send_one(server.address, "during", 3);
    assert!(told.elapsed() < LINGER, "the machine is too slow for this test");
    let ended = server.wait(END);
    assert!(told.elapsed() >= LINGER, "it ended after {:?}, before the linger was over", told.elapsed());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
    book.compare(&place.path("data/objects"));
}

/// A load balancer that asks for no health has then no connection left on which it would send the next request.
#[test]
fn the_last_answers_of_a_linger_close_their_connections_and_those_before_do_not() {
    /// How many batches are to be taken with such an answer: by one alone it could not be told from the end.
    const SOME: usize = 5;
    let place = Place::new();
    let server = place.serve(&[("DRAIN__LINGER", "8s"), ("DRAIN__HANDOVER", "2s")]);
    server.signal(Signal::TERM);
    becomes_unready(server.address);
    let mut closing = Vec::new();
    // Connecting anew each time, until nobody listens any more.
    while let Ok(mut client) = Client::connect(server.address) {
        let Ok(answer) = client.post_json("heard", &json!([{"tone": 1}])) else { break };
        assert_eq!(answer.status, 200, "{}", answer.text());
        closing.push(answer.header("connection") == Some("close"));
        sleep(Duration::from_millis(50));
    }
    assert_eq!(server.wait(END).code, Some(0));
    let kept = closing.iter().take_while(|closes| !**closes).count();
    assert!(kept >= SOME, "only {kept} connections were kept at first");
    assert!(closing.len() - kept >= SOME, "only {} connections were closed at last", closing.len() - kept);
    assert!(closing[kept..].iter().all(|closes| *closes), "once answers close, all do");
}

#[test]
fn a_signal_in_the_middle_of_a_load_answers_what_it_took_and_stores_it() {
    let place = Place::new();
    let server = place.serve(&[]);
    let load = Load::start(server.address, 6, "load");
    sleep(Duration::from_millis(500));
    server.stop();
    let book = load.join();
    assert!(book.acknowledged.len() > 100);
    book.compare(&place.path("data/objects"));
}

#[test]
fn a_second_signal_ends_at_once_and_what_was_acknowledged_is_stored_after_the_next_start() {
    let place = Place::new();
    let server = place.serve(&[("DRAIN__LINGER", LONG)]);
    let mut book = Book::default();
    book.send_one(server.address, "before", 5);
    server.signal(Signal::TERM);
    becomes_unready(server.address);
    book.send_one(server.address, "during", 5);
    let told = Instant::now();
    server.signal(Signal::TERM);
    let ended = server.wait(SOON);
    assert_eq!(ended.code, Some(143), "{}", ended.stderr);
    assert!(told.elapsed() < SOON);
    place.serve(&[]).stop();
    book.compare(&place.path("data/objects"));
}

#[test]
fn a_signal_right_after_the_start_is_not_too_early() {
    // Whoever reads "serving" may rely on it: a supervisor that changes its mind at once must not see a failure.
    let place = Place::new();
    for _ in 0..10 {
        place.serve(&[]).stop();
    }
}

fn becomes_unready(address: SocketAddr) {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = get(address, "/readyz");
        if answer.status == 503 {
            return assert_eq!(answer.text(), "draining");
        }
        assert!(Instant::now() < deadline, "{} {}", answer.status, answer.text());
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let place = Place::new();
    let server: Server = place.serve(&[("DRAIN__TIMEOUT", "20s")]);
    let _silent = std::net::TcpStream::connect(server.address).unwrap();
    assert_eq!(get(server.address, "/livez").status, 200);
    let told = Instant::now();
    server.stop();
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}

#[test]
fn the_end_is_not_told_as_long_as_a_required_sink_lacks_something() {
    let place = Place::new();
    let sink = |name: &str| format!("[[sinks]]\nname = '{name}'\ndir = '{name}'\n");
    let head = "ingest = { undeclared_streams = 'accept' }\nspool = { dir = 'spool' }\n\
                drain = { linger = '0s', timeout = '2s' }\n";
    place.write("logweir.toml", &format!("{head}{}{}", sink("lake"), sink("archive")));
    // A file stands where the second sink's directory should be.
    place.write("archive", "");
    let mut book = Book::default();
    for (event, is_end) in [("left", false), ("stored", true)] {
        let server = Server::start(place.command(&["--config", "logweir.toml"]));
        book.send_one(server.address, event, 3);
        server.stop();
        book.compare(&place.path("lake"));
        let heartbeats = heartbeats_in(&place.path("lake"));
        assert_eq!(heartbeats.last().unwrap().ended, is_end, "{heartbeats:?}");
        let _ = fs::remove_file(place.path("archive"));
    }
    book.compare(&place.path("archive"));
}
