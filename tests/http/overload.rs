//! More than an instance can take: refused with a time to come back, and taken again as soon as there is room.

use std::{fs, time::Duration};

use crate::{
    client::{Answer, Client, End, until},
    encodings::gzip,
    request::Request,
    server::TestServer,
};

/// The smallest budget for these limits: five bodies of the largest size fill it.
const SMALL_BUDGET: &str = r#"
limits = { encoded_body = "64KiB", decoded_body = "128KiB", output = "128KiB", event = "16KiB", context = "1KiB" }
queue = { bytes = "320KiB" }
streams = { heard = { priority = "high" } }
"#;

/// The budget, and what five bodies announce.
const BUDGET_BYTES: u64 = 5 * 64 * 1024;

/// A refusal for `cause` that says when to come back.
fn assert_refused(answer: &Answer, cause: &str) {
    assert_eq!((answer.status, answer.problem().as_str()), (429, "refused"), "{answer:?}");
    let told = answer.json();
    assert_eq!(told["cause"], cause);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    let millis = told["retry_after_ms"].as_u64().unwrap();
    assert!(seconds >= 1 && millis.abs_diff(seconds * 1_000) <= 1_000, "{told} and {seconds} s");
}

fn refusals(server: &TestServer, cause: &str) -> u64 {
    server.metrics().get(&format!("logweir_refusals_total{{cause=\"{cause}\"}}"))
}

fn offered(server: &TestServer) -> u64 {
    server.metrics().get("logweir_offered_bytes_total")
}

/// Clients that have announced bodies which fill the budget, and do not send them.
fn hold_the_budget(server: &TestServer) -> Vec<Client> {
    let before = offered(server);
    let announced = Request::post("heard", "").header("content-length", "65536");
    let mut holders: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for holder in &mut holders {
        holder.send(announced.head());
    }
    until("all are announced", || (offered(server) == before + BUDGET_BYTES).then_some(()));
    holders
}

#[test]
fn bodies_that_hold_the_memory_let_nobody_else_in_until_they_are_gone() {
    let server = TestServer::start(SMALL_BUDGET);
    let mut client = server.connect();
    let small = Request::post("heard", "[{}]");
    let holders = hold_the_budget(&server);
    assert_refused(&client.ask(&small), "memory");
    // A body of unknown length needs a first step of memory.
    assert_refused(&client.ask(&small.clone().chunked(2)), "memory");
    assert_eq!(refusals(&server, "memory"), 2);
    assert_eq!(client.ask(&Request::new("GET", "/readyz")).status, 200, "a loaded instance is ready");
    server.until("the gauge follows", |metrics| metrics.get("logweir_queue_bytes") == BUDGET_BYTES);

    drop(holders);
    until("the memory is free again", || Some(client.ask(&small)).filter(|answer| answer.status == 200));
    let metrics = server
        .until("no byte is held", |metrics| metrics.outcome("gone") == 5 && metrics.get("logweir_queue_bytes") == 0);
    assert_eq!(metrics.get("logweir_connections_accepted_total"), 6, "refusals kept the connection");
    assert_eq!(server.stop().len(), 1);
}

#[test]
fn a_body_that_inflates_beyond_the_budget_is_refused_while_it_does() {
    let server = TestServer::start_with("", |config| config.queue.bytes = logweir::config::Size::kib(256));
    let mut client = server.connect();
    let event = |n: usize| format!("{{\"n\":{n},\"id\":\"{:x}\"}}", n * 2_654_435_761 % 4_294_967_296);
    let batch = |count: usize| format!("[{}]", (0..count).map(event).collect::<Vec<_>>().join(","));
    let packed = |count: usize, encoding: &str| {
        let body =
            if encoding == "zstd" { zstd::encode_all(batch(count).as_bytes(), 3).unwrap() } else { gzip(batch(count)) };
        Request::post("heard", body).header("content-encoding", encoding)
    };
    for encoding in ["gzip", "zstd"] {
        assert_eq!(client.ask(&packed(1_000, encoding)).status, 200, "what fits is taken");
        assert_refused(&client.ask(&packed(9_000, encoding)), "memory");
        assert_eq!(client.ask(&packed(1_000, encoding)).status, 200, "and is taken again");
    }
    assert_eq!(refusals(&server, "memory"), 2);
    assert_eq!(server.stop().len(), 4_000);
}

#[test]
fn a_full_disk_quota_refuses_and_drains_once_the_sink_is_back() {
    let settings = r#"
        limits = { output = "512KiB", decoded_body = "1MiB" }
        spool = { disk_quota = "8MiB", segment_size = "1MiB" }
        pacing = { retry_after_cap = "10s" }"#;
    let server = TestServer::start(settings);
    // A file stands where the sink's directory must be.
    fs::write(server.objects(), "in the way").unwrap();
    let mut client = server.connect();
    let batch = Request::post("heard", format!(r#"[{{"a":"{}"}}]"#, "x".repeat(60_000)));
    let answers: Vec<_> = (0..200).map(|_| client.ask(&batch)).collect();
    let taken = answers.iter().take_while(|answer| answer.status == 200).count();
    let refused = answers.get(taken).expect("the quota is reached");
    assert_refused(refused, "disk");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(seconds, 10, "nobody knows how long: the cap");
    assert!(taken > 50, "{taken} batches of 60 KB were taken into 8 MiB");
    assert_refused(&client.ask(&batch), "disk");
    assert_eq!(client.ask(&Request::new("GET", "/readyz")).status, 200, "a full instance is ready");
    let used = server.until("the gauge follows", |metrics| metrics.get("logweir_spool_bytes") > 6_000_000);
    assert!(used.get("logweir_spool_bytes") <= used.get("logweir_spool_quota_bytes"));

    fs::remove_file(server.objects()).unwrap();
    until("it drains and takes again", || Some(client.ask(&batch)).filter(|answer| answer.status == 200));
    let stored = server.stop();
    assert_eq!(stored.len(), taken + 1, "nothing that was taken is lost");
}

/// The smallest quota that the configuration allows must be enough to go on for ever while the sink works.
#[test]
fn the_smallest_quota_does_not_fill_while_everything_is_stored() {
    let settings = r#"
        limits = { output = "512KiB", decoded_body = "1MiB" }
        spool = { disk_quota = "4MiB", segment_size = "1MiB" }"#;
    let server = TestServer::start(settings);
    let mut client = server.connect();
    let batch = Request::post("heard", format!(r#"[{{"a":"{}"}}]"#, "x".repeat(60_000)));
    for n in 0..100 {
        // A refusal is allowed while a segment waits for the sink, but not for ever.
        until(&format!("batch {n} is taken"), || Some(client.ask(&batch)).filter(|answer| answer.status == 200));
    }
    assert_eq!(server.stop().len(), 100);
}

#[test]
fn one_connection_too_many_is_answered_and_closed() {
    let server = TestServer::start("server.max_connections = 3");
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200);
    }
    for _ in 0..2 {
        // It does not even have to ask.
        let mut refused = server.connect();
        let answer = refused.receive();
        assert_refused(&answer, "connections");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(refused.end(), End::Closed);
    }
    // One that asks at once reads the answer, too: a reset could take it away.
    let mut refused = server.connect();
    let _ = refused.try_send(Request::post("heard", vec![b'x'; 10_000]).bytes());
    assert_refused(&refused.receive(), "connections");
    assert_eq!(refused.end(), End::Closed);
    assert!(!refused.is_reset_within(Duration::from_millis(100)));
    let metrics = server.metrics();
    assert_eq!(metrics.get("logweir_connections_refused_total"), 3);
    assert_eq!(metrics.get("logweir_refusals_total{cause=\"connections\"}"), 3);
    assert_eq!(metrics.get("logweir_offered_bytes_total"), 3 * 4 + 3 * 4, "each may have come with what is usual");
    for client in &mut clients {
        assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200);
    }

    drop(clients.pop());
    until("there is a place again", || Some(server.ask(&Request::post("heard", "[{}]"))).filter(|a| a.status == 200));
}

#[test]
fn in_a_pause_new_connections_wait_and_health_is_answered_all_the_same() {
    let server = TestServer::start("admission.refusing_share = 0.000001\n[[mute]]\nstream = 'muted'");
    let mut client = server.connect();
    let pauses = |server: &TestServer| server.metrics().get("logweir_accept_pauses_total");
    let mut waits = || {
        let before = pauses(&server);
        assert_refused(&client.ask(&Request::post("muted", "[{}]")), "mute");
        until("a pause begins", || (pauses(&server) > before).then_some(()));
        let mut waiting = server.connect();
        waiting.send(Request::post("heard", "[{}]").bytes());
        for path in ["/livez", "/readyz"] {
            assert_eq!(server.ask(&Request::new("GET", path)).status, 200);
        }
        let waits = !waiting.hears_within(Duration::from_millis(200));
        assert_eq!(waiting.receive().status, 200);
        waits
    };
    // A machine that is slow enough misses one.
    assert!((0..10).any(|_| waits()), "a connection waits beside health");
}

/// Where connections are refused it matters most that devices send less.
#[test]
fn a_connection_that_is_refused_is_told_the_hints() {
    let server = TestServer::start("server.max_connections = 1\nhints = { send_interval = '90s', sampling = 0.5 }");
    let mut client = server.connect();
    assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200);
    let refused = server.connect().receive();
    assert_refused(&refused, "connections");
    let hints = [refused.header("logweir-send-interval"), refused.header("logweir-sampling")];
    assert_eq!(hints, [Some("90"), Some("0.5")]);
}

/// Nobody else has to come for that.
#[test]
fn a_client_that_was_refused_and_stays_is_let_go_after_a_moment() {
    let server = TestServer::start("server.max_connections = 1");
    let mut client = server.connect();
    assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200);
    let mut refused = server.connect();
    refused.send("P");
    assert_refused(&refused.receive(), "connections");
    assert_eq!(refused.end(), End::Closed);
    until("its socket is closed", || refused.try_send("x").err());
}

/// What no key and no limit has let in is no demand: anybody could make a fleet of instances grow by announcing bodies.
#[test]
fn only_what_could_be_taken_counts_as_offered() {
    let server = TestServer::start("keys = [{ name = \"sdk\", key = \"a-key-of-16-bytes-or-more\" }]");
    let announced = |bytes: &str| Request::post("heard", "").header("content-length", bytes);
    let with_key = |request: Request| request.header("x-api-key", "a-key-of-16-bytes-or-more");
    for (request, status) in [
        (announced("1000000"), 401),
        (announced("1000000").header("x-api-key", "a-wrong-key-of-16-bytes"), 401),
        (with_key(announced("1000000").without("content-type")), 415),
        (with_key(announced("1000000000000")), 413),
    ] {
        assert_eq!(server.ask(&request).status, status);
    }
    assert_eq!(offered(&server), 0);
    let body = r#"[{"a":1},{"a":2}]"#;
    assert_eq!(server.ask(&with_key(Request::post("heard", body))).status, 200);
    assert_eq!(offered(&server), 17);
    assert_eq!(server.ask(&with_key(Request::post("heard", body)).chunked(5)).status, 200);
    assert_eq!(offered(&server), 34, "a chunked body counts as it was read");
}

#[test]
fn a_refused_body_of_unknown_length_counts_like_those_that_were_taken() {
    let server = TestServer::start(SMALL_BUDGET);
    let batch = Request::post("heard", format!(r#"[{{"a":"{}"}}]"#, "x".repeat(990)));
    assert_eq!(server.ask(&batch).status, 200);
    assert_eq!(offered(&server), 1_000);
    let _holders = hold_the_budget(&server);
    assert_refused(&server.ask(&batch.chunked(100)), "memory");
    assert_eq!(offered(&server), BUDGET_BYTES + 2_000);
}
