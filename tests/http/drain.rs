//! How an instance ends: first it says so, then it stops taking, and what it took is stored.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use logweir::spool::{OpenError, RealDisk};

use crate::{
    client::{Client, End, PATIENCE, until},
    request::Request,
    server::TestServer,
};

fn batch(n: usize) -> Request {
    Request::post("heard", format!(r#"[{{"n":{n}}}]"#))
}

#[test]
fn requests_are_served_through_the_linger_and_finished_behind_it() {
    let server = TestServer::start("");
    let address = server.address;
    let (mut kept, mut slow, mut silent) = (server.connect(), server.connect(), server.connect());
    let mut partial = server.connect();
    assert_eq!(kept.ask(&batch(1)).status, 200);
    let late = batch(2);
    slow.send(late.head());
    partial.send(&late.bytes()[..20]);
    let began = Instant::now();
    let stopping = thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop_after(Duration::from_millis(1_500)));
        // The linger: not ready any more, and served all the same, on old and new connections.
        until("it is not ready", || {
            let answer = Client::connect(address).ask(&Request::new("GET", "/readyz"));
            (answer.status == 503).then(|| assert_eq!(answer.text(), "draining"))
        });
        assert_eq!(Client::connect(address).ask(&Request::new("GET", "/livez")).status, 200);
        let answer = kept.ask(&batch(3));
        assert_eq!((answer.status, answer.header("connection")), (200, None));
        assert_eq!(Client::connect(address).ask(&batch(4)).status, 200);

        until("nobody is let in", || Client::try_connect(address).err());
        assert!(began.elapsed() >= Duration::from_millis(1_500));
        // What was begun is finished, and told to go.
        slow.send(&late.bytes()[late.head().len()..]);
        partial.send(&late.bytes()[20..]);
        for client in [&mut slow, &mut partial] {
            let answer = client.receive();
            // The worker may not have heard yet what the closed socket tells already; it closes all the same.
            assert!(matches!((answer.status, answer.header("connection")), (200, Some("close") | None)), "{answer:?}");
            assert_eq!(client.end(), End::Closed);
        }
        // What was idle is closed.
        assert_eq!([kept.end(), silent.end()], [End::Closed; 2]);
        stopping.join().unwrap()
    });
    assert!(began.elapsed() < Duration::from_millis(1_500) + PATIENCE);
    let mut stored: Vec<_> = stopping.iter().map(|line| line.get("n").as_u64().unwrap()).collect();
    stored.sort_unstable();
    assert_eq!(stored, [1, 2, 2, 3, 4]);
}

#[test]
fn what_is_acknowledged_while_the_instance_ends_is_stored() {
    let server = TestServer::start("");
    let address = server.address;
    let (stored, acknowledged) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(move || send_until_closed(address))).collect();
        thread::sleep(Duration::from_millis(200));
        let stored = server.stop();
        (stored, clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>())
    });
    assert!(acknowledged > 0);
    // A batch whose answer was lost may be there; one that was acknowledged must be.
    assert!((acknowledged..=acknowledged + 4).contains(&stored.len()), "{acknowledged} and {}", stored.len());
}

/// Sends batches over new connections until nobody answers: how many were acknowledged.
fn send_until_closed(address: std::net::SocketAddr) -> usize {
    let mut acknowledged = 0;
    while let Ok(mut client) = Client::try_connect(address) {
        for n in 0..10 {
            if client.try_send(batch(n).bytes()).is_err() || !client.answers() {
                break;
            }
            let answer = client.receive();
            assert_eq!(answer.status, 200, "{answer:?}");
            acknowledged += 1;
            if answer.header("connection") == Some("close") {
                break;
            }
        }
    }
    acknowledged
}

#[test]
fn neither_a_checker_that_keeps_asking_nor_a_silent_connection_holds_up_the_end() {
    let server = TestServer::start("");
    let address = server.address;
    let (mut checker, mut silent) = (server.connect(), server.connect());
    let health = Request::new("GET", "/livez");
    assert_eq!((checker.ask(&health).status, silent.ask(&health).status), (200, 200));
    let took = thread::scope(|scope| {
        let stopping = scope.spawn(|| {
            let began = Instant::now();
            server.stop();
            began.elapsed()
        });
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && checker.try_send(health.bytes()).is_ok() && checker.answers() {
            let answer = checker.receive();
            assert_eq!(answer.status, 200);
            if answer.header("connection") == Some("close") {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        stopping.join().unwrap()
    });
    assert!(took < Duration::from_millis(1_500), "they stood in the lobby: {took:?}");
    assert_eq!(silent.end(), End::Closed);
    assert!(Client::try_connect(address).is_err());
}

#[test]
fn a_client_that_never_finishes_does_not_take_the_time_of_the_sinks() {
    let server = TestServer::start("");
    let mut stuck = server.connect();
    stuck.send(batch(1).head());
    // A head that was not read when the drain begins is not waited for.
    server.until("it has begun", |metrics| metrics.get("logweir_offered_bytes_total") > 0);
    assert_eq!(server.ask(&batch(2)).status, 200);
    let began = Instant::now();
    let stored = server.stop_within(Duration::from_secs(4));
    assert!(began.elapsed() >= Duration::from_secs(2), "it had its part of the time");
    stuck.end();
    assert_eq!(stored.len(), 1);
}

/// The uploads may take the longest of all: that is when operations people look.
#[test]
fn the_admin_port_answers_until_the_sinks_are_done() {
    let server = TestServer::start("");
    let (public, admin, objects) = (server.address, server.admin, server.objects());
    assert_eq!(server.ask(&batch(1)).status, 200);
    // A file stands where the sink's directory must be.
    fs::write(&objects, "in the way").unwrap();
    let mut kept = Client::connect(admin);
    let stored = thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop());
        until("nobody is let in", || Client::try_connect(public).err());
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(500) {
            for client in [&mut kept, &mut Client::connect(admin)] {
                let answer = client.ask(&Request::new("GET", "/readyz"));
                assert_eq!((answer.status, answer.text()), (503, "draining"));
                assert_eq!(client.ask(&Request::new("GET", "/livez")).status, 200);
                let metrics = client.ask(&Request::new("GET", "/metrics"));
                assert!(metrics.text().contains("logweir_oldest_unstored_seconds"), "{metrics:?}");
            }
        }
        fs::remove_file(&objects).unwrap();
        stopping.join().unwrap()
    });
    assert_eq!(stored.len(), 1);
    assert!(Client::try_connect(admin).is_err(), "it is closed at the end");
}

#[test]
fn the_spool_of_a_process_that_gives_way_is_nobody_elses_before_that_has_ended() {
    let server = TestServer::start("");
    assert_eq!(server.ask(&batch(1)).status, 200);
    let (spool, _dir) = server.give_way();
    // The server is gone to the last thread, and this process is not.
    assert!(matches!(RealDisk::open(&spool), Err(OpenError::Locked(_))));
}
