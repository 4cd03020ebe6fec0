//! How connections are spread over the workers. A load balancer keeps few and keeps them long.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{client::Client, request::Request, samples::Samples, server::TestServer};

fn open(metrics: &Samples) -> [u64; 2] {
    ["0", "1"].map(|worker| metrics.get(&format!("logweir_connections{{worker=\"{worker}\"}}")))
}

fn assert_all_serve(clients: &mut [Client]) {
    for client in clients {
        assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200);
    }
}

#[test]
fn few_long_connections_are_spread_evenly_and_stay_so() {
    let server = TestServer::start("");
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    assert_all_serve(&mut clients);
    server.until("eight are spread", |metrics| open(metrics) == [4, 4]);

    // Every other one belongs to the same worker: when these close, the other has all that are left.
    let mut place = 0;
    clients.retain(|_| {
        place += 1;
        place % 2 == 0
    });
    server.until("four are left", |metrics| open(metrics).iter().sum::<u64>() == 4);
    clients.extend((0..4).map(|_| server.connect()));
    assert_all_serve(&mut clients);
    server.until("the new ones go where there are fewer", |metrics| open(metrics) == [4, 4]);
    assert_eq!(server.metrics().get("logweir_connections_accepted_total"), 12);
}

#[test]
fn a_connection_that_says_nothing_counts_as_much_as_any_other() {
    let server = TestServer::start("");
    let _silent: Vec<_> = (0..3).map(|_| server.connect()).collect();
    server.until("three are open", |metrics| open(metrics).iter().sum::<u64>() == 3);
    let mut client = server.connect();
    assert_all_serve(std::slice::from_mut(&mut client));
    server.until("four are spread", |metrics| open(metrics) == [2, 2]);
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let server = TestServer::start("");
    for _ in 0..50 {
        assert_eq!(server.ask(&Request::post("heard", "[{}]")).status, 200);
        drop(server.connect());
    }
    server.until("all are gone", |metrics| open(metrics) == [0, 0]);
    assert_eq!(server.stop().len(), 50);
}

/// A server whose only place is taken: whoever is given to a worker is refused, so that only the lobby can answer.
fn full() -> (TestServer, Client) {
    let server = TestServer::start("server.max_connections = 1");
    let mut only = server.connect();
    assert_all_serve(std::slice::from_mut(&mut only));
    (server, only)
}

#[test]
fn connections_that_say_nothing_do_not_keep_health_from_being_answered() {
    let (server, _only) = full();
    let _silent: Vec<_> = (0..300).map(|_| server.connect()).collect();
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(server.ask(&Request::new("GET", "/livez")).status, 200);
    }
    assert!(began.elapsed() < Duration::from_millis(1_500), "nobody waits until they go: {:?}", began.elapsed());
}

#[test]
fn whoever_asks_for_health_again_and_again_goes_on_to_a_worker() {
    let (server, _only) = full();
    let health = Request::new("GET", "/livez");
    let mut eager = server.connect();
    for _ in 0..17 {
        eager.send(health.bytes());
    }
    let answers: Vec<_> = (0..17).map(|_| eager.receive().status).collect();
    assert_eq!((&answers[..16], answers[16]), (&[200; 16][..], 429));

    let mut patient = server.connect();
    assert_eq!(patient.ask(&health).status, 200);
    let mut ask_later = || {
        sleep(Duration::from_millis(300));
        patient.ask(&health).status
    };
    assert!((0..14).any(|_| ask_later() == 429), "it asks for more than two seconds");
}
