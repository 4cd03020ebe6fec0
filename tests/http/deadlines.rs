//! Clients that are slow or silent: how long they are waited for.

use std::time::{Duration, Instant};

use logweir::config::Period;

use crate::{
    client::{Client, End},
    request::Request,
    server::TestServer,
};

/// A server that gives a head and a silent connection this long.
fn server(head: u64, idle: u64) -> TestServer {
    TestServer::start_with("", |config| {
        config.server.head_timeout = Period::millis(head);
        config.server.idle_timeout = Period::millis(idle);
    })
}

/// A server that waits this long for a body, and then for 1000 bytes of it a second.
fn patient(grace: &str) -> TestServer {
    TestServer::start(&format!("server = {{ body_grace = \"{grace}\", body_min_rate = 1000 }}"))
}

/// Sends `bytes` one after the other, until the server says something.
fn trickle(client: &mut Client, bytes: &[u8]) -> usize {
    let sent = bytes
        .iter()
        .take_while(|byte| client.try_send([**byte]).is_ok() && !client.hears_within(Duration::from_millis(20)));
    sent.count()
}

#[test]
fn a_head_that_comes_byte_by_byte_is_cut() {
    let server = server(400, 60_000);
    let head = format!("POST /v1/logs/heard HTTP/1.1\r\nx: {}", "x".repeat(4_000));
    for served_before in [false, true] {
        let mut client = server.connect();
        if served_before {
            assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200);
        }
        let began = Instant::now();
        let sent = trickle(&mut client, head.as_bytes());
        assert!(began.elapsed() >= Duration::from_millis(400) && sent < head.len(), "{sent} bytes were sent");
        let answer = client.receive();
        assert_eq!((answer.status, answer.problem().as_str()), (408, "too-slow"));
        assert_eq!(answer.header("connection"), Some("close"));
        client.end();
    }
    server.until("both are counted", |metrics| metrics.get("logweir_connections_cut_total{cause=\"head\"}") == 2);
}

#[test]
fn a_silent_connection_is_closed_in_silence() {
    let server = server(300, 700);
    let began = Instant::now();
    let (mut fresh, mut used) = (server.connect(), server.connect());
    assert_eq!(used.ask(&Request::post("heard", "[{}]")).status, 200);
    assert_eq!(fresh.end(), End::Closed);
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert_eq!(used.end(), End::Closed);
    let metrics = server.until("no connection is left", |metrics| metrics.sum("logweir_connections") == 0);
    assert_eq!(metrics.get("logweir_connections_cut_total{cause=\"idle\"}"), 2);
    assert_eq!(metrics.get("logweir_connections_cut_total{cause=\"head\"}"), 0);
}

#[test]
fn a_connection_that_is_used_now_and_then_stays() {
    let server = server(1_500, 3_000);
    let mut client = server.connect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(3_500) {
        assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200);
        std::thread::sleep(Duration::from_millis(350));
    }
    assert_eq!(server.metrics().get("logweir_connections_accepted_total"), 1);
}

/// Nothing that is read behind a request may make a silent connection look like one whose head is slow.
#[test]
fn a_connection_is_idle_after_a_refusal_whatever_was_read_behind_it() {
    let server = TestServer::start_with(
        "streams = { slow = { ack = \"stored\" } }\nspool.early_seal_interval = \"500ms\"",
        |config| {
            config.server.head_timeout = Period::millis(300);
            config.server.idle_timeout = Period::millis(2_500);
        },
    );
    let mut client = server.connect();
    // The second request's head comes with the first request, and its body while that is being served.
    let slow = || Request::post("slow", "[{}]");
    assert_eq!(client.ask(&slow()).status, 200);
    let refused = Request::post("No-Stream", "12345").header("expect", "100-continue");
    client.send([slow().bytes(), refused.head()].concat());
    std::thread::sleep(Duration::from_millis(50));
    client.send("12345");
    assert_eq!([client.receive().status, client.receive().status], [200, 404]);
    if client.hears_within(Duration::from_millis(1_500)) {
        assert_eq!(client.end(), End::Closed, "closing is allowed, a 408 is not");
    }
    assert_eq!(server.metrics().get("logweir_connections_cut_total{cause=\"head\"}"), 0);
}

#[test]
fn a_body_that_comes_too_slowly_is_given_up() {
    let server = patient("300ms");
    for request in [Request::post("heard", vec![b' '; 4_000]), Request::post("heard", vec![b' '; 4_000]).chunked(4_000)]
    {
        let mut client = server.connect();
        let began = Instant::now();
        client.send(request.head());
        let sent = trickle(&mut client, &request.bytes()[request.head().len()..]);
        assert!(began.elapsed() >= Duration::from_millis(300) && sent < 4_000, "{sent} bytes were sent");
        let answer = client.receive();
        assert_eq!((answer.status, answer.problem().as_str()), (408, "too-slow"));
        assert_eq!(answer.header("connection"), Some("close"));
        client.end();
    }
    assert_eq!(server.metrics().outcome("too_slow"), 2);
    assert!(server.stop().is_empty());
}

#[test]
fn a_body_that_is_slow_but_steady_is_taken() {
    let server = patient("800ms");
    let mut client = server.connect();
    let body = format!(r#"[{{"a":"{}"}}]"#, "x".repeat(8_000));
    let request = Request::post("heard", &body);
    client.send(request.head());
    let began = Instant::now();
    // Ten times as fast as it must be: a machine that stalls for a while makes no difference.
    for piece in body.as_bytes().chunks(1_000) {
        client.send(piece);
        std::thread::sleep(Duration::from_millis(120));
    }
    assert!(began.elapsed() > Duration::from_millis(800), "longer than the grace");
    assert_eq!(client.receive().status, 200);
    assert_eq!(server.stop().len(), 1);
}

/// Answers that nobody reads must not pile up for longer than a silent connection is kept.
#[test]
fn a_client_that_sends_and_never_reads_is_cut() {
    let server = server(300, 700);
    let mut client = server.connect();
    let many = Request::post("No-Stream", "").bytes().repeat(100);
    let sent = (0..5_000).take_while(|_| client.try_send(&many).is_ok()).count();
    assert!(sent < 5_000, "half a million requests were taken whose answers nobody reads");
    server.until("it is counted", |metrics| metrics.get("logweir_connections_cut_total{cause=\"idle\"}") == 1);
    server.until("it is gone", |metrics| metrics.sum("logweir_connections") == 0);
}
