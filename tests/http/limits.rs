//! How large what is sent may be: refused as soon as it is known, and never cut.

use std::time::Duration;

use crate::{client::End, encodings::gzip, request::Request, server::TestServer};

#[test]
fn a_length_above_the_limit_is_refused_before_the_body_is_sent() {
    let server = TestServer::start("");
    for claimed in ["1048577", "99999999999", "9223372036854775807"] {
        let mut client = server.connect();
        client.send(Request::post("heard", "").header("content-length", claimed).head());
        let answer = client.receive();
        assert_eq!((answer.status, answer.problem().as_str()), (413, "body-too-large"), "{claimed}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("1048576"), "the limit is told: {answer:?}");
        assert_eq!(client.end(), End::Closed, "nobody will read such a body");
    }
    let metrics = server.metrics();
    assert_eq!(metrics.outcome("body_too_large"), 3);
    assert_eq!(metrics.get("logweir_request_bytes_total"), 0, "nothing was read");
}

#[test]
fn a_length_that_no_number_holds_is_a_broken_request() {
    let server = TestServer::start("");
    let mut client = server.connect();
    client.send(Request::post("heard", "").header("content-length", "18446744073709551616").head());
    assert_eq!(client.receive().status, 400);
    assert_eq!(client.end(), End::Closed);
}

#[test]
fn a_body_of_unknown_length_is_cut_off_at_the_limit() {
    let limits = r#"limits = { encoded_body = "100KiB", decoded_body = "1MiB", output = "512KiB" }"#;
    let server = TestServer::start(limits);
    let body = |len: usize| format!("{}[{{\"a\":1}}]", " ".repeat(len - 9));
    let fits = server.ask(&Request::post("heard", body(100 * 1024)).chunked(10_000));
    assert_eq!(fits.status, 200, "{fits:?}");
    for size in [1_000, 50_000, 200_000] {
        let answer = server.ask(&Request::post("heard", body(100 * 1024 + 1)).chunked(size));
        assert_eq!((answer.status, answer.problem().as_str()), (413, "body-too-large"));
    }
    // A body that never ends is not read to its end.
    let mut client = server.connect();
    let endless = Request::post("heard", "").header("transfer-encoding", "chunked").without("content-length");
    client.send(endless.head());
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    let sent = (0..1_000).take_while(|_| client.try_send(&chunk).is_ok()).count();
    assert!(sent < 1_000, "16 MB were taken of what may have 100 KiB");
    assert_eq!(server.metrics().outcome("body_too_large"), 4);
}

#[test]
fn what_a_batch_may_carry_is_limited() {
    let server = TestServer::start(
        r#"limits = { events = 10, context = "1KiB", event = "2KiB", output = "8KiB", fields = 5, nesting = 3 }"#,
    );
    let mut client = server.connect();
    let events = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    let with_context = |len: usize, count: usize| {
        format!(r#"{{"context":{{"c":"{}"}},"events":{}}}"#, "x".repeat(len - 8), events(count))
    };
    for (what, request, status, problem) in [
        ("ten events", Request::post("a", events(10)), 200, ""),
        ("eleven events", Request::post("a", events(11)), 413, "too-many-events"),
        (
            "eleven lines",
            Request::post("a", "{}\n".repeat(11)).header("content-type", "application/x-ndjson"),
            413,
            "too-many-events",
        ),
        ("1 KiB of context", Request::post("a", with_context(1_024, 1)), 200, ""),
        ("a longer context", Request::post("a", with_context(1_025, 1)), 413, "context-too-large"),
        ("a context on five events", Request::post("a", with_context(1_000, 5)), 200, ""),
        ("a context that makes ten large", Request::post("a", with_context(1_000, 10)), 413, "output-too-large"),
        (
            "the same, compressed",
            Request::post("a", gzip(with_context(1_000, 10))).header("content-encoding", "gzip"),
            413,
            "output-too-large",
        ),
    ] {
        let answer = client.ask(&request);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        if status == 413 {
            assert_eq!(answer.problem(), problem, "{what}");
        }
    }
    let metrics = server.metrics();
    for (outcome, count) in [("accepted", 3), ("too_many_events", 2), ("context_too_large", 1), ("output_too_large", 2)]
    {
        assert_eq!(metrics.outcome(outcome), count, "{outcome}");
    }
    assert_eq!(server.stop().len(), 16, "nothing is left behind of what was refused");
}

/// As large as the rules of the configuration allow for this budget.
const SMALLEST_BUDGET: &str = r#"
limits = { encoded_body = "64KiB", decoded_body = "256KiB", decode_ratio = 10000, output = "256KiB", event = "8KiB", context = "1KiB" }
queue = { bytes = "576KiB" }
"#;

/// The budget that the configuration demands must be enough: who is told to come back must get through one day.
#[test]
fn the_largest_batch_fits_the_smallest_budget() {
    let server = TestServer::start(SMALLEST_BUDGET);
    let mut client = server.connect();
    let mut random = fastrand::Rng::with_seed(7);
    for (count, noise, status) in [
        (60, 0, 200),
        (120, 0, 200),
        (138, 0, 413),
        (140, 0, 413),
        // Noise hardly compresses: these come near the limit of the encoded body, too.
        (120, 600, 200),
        (138, 500, 413),
    ] {
        let mut noise = || -> String { (0..noise).map(|_| random.alphanumeric()).collect() };
        let event = |n: usize| format!("{{\"n\":{n},\"text\":\"{:.<1800}\"}}", noise());
        let batch = format!("[{}]", (0..count).map(event).collect::<Vec<_>>().join(","));
        let answer = client.ask(&Request::post("heard", gzip(batch)).header("content-encoding", "gzip"));
        assert_eq!(answer.status, status, "{count} events of 1.8 KB: {answer:?}");
    }
    assert_eq!(client.ask(&Request::post("heard", vec![b' '; 64 * 1024])).status, 400);
    assert_eq!(server.stop().len(), 300);
}

#[test]
fn a_batch_that_is_rejected_as_a_whole_fits_the_smallest_budget() {
    let server = TestServer::start(SMALLEST_BUDGET);
    let event = format!(r#"{{"a":1,"A":"{:.<1800}"}}"#, "");
    for (good, bad, status) in [(0, 110, 422), (1, 109, 200), (60, 50, 200)] {
        let mut events = vec![event.replace('A', "b"); good];
        events.extend(vec![event.clone(); bad]);
        let batch = format!("[{}]", events.join(","));
        let answer = server.ask(&Request::post("heard", gzip(batch)).header("content-encoding", "gzip"));
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.json()["rejected"].as_array().unwrap().len(), bad);
    }
}

#[test]
fn a_thousand_rejections_are_listed_and_all_are_counted_and_stored() {
    let server = TestServer::start("");
    let answer = server.ask(&Request::post("heard", format!("[{}]", vec!["7"; 2_500].join(","))));
    assert_eq!(answer.status, 422, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["rejected"].as_array().unwrap().len(), 1_000);
    assert_eq!((&told["rejected_total"], &told["rejected_truncated"]), (&2_500.into(), &true.into()));
    let metrics = server.metrics();
    assert_eq!(metrics.get("logweir_rejections_total{stream=\"heard\",reason=\"not_an_object\"}"), 2_500);
    server.until("what the answer held is given back", |metrics| metrics.get("logweir_queue_bytes") == 0);
    assert_eq!(server.stop().len(), 2_500);
}

#[test]
fn a_small_body_that_is_refused_keeps_its_connection_and_a_large_one_ends_it() {
    let server = TestServer::start("");
    let mut client = server.connect();
    for len in [0, 10, 10_000, 65_536] {
        let answer = client.ask(&Request::post("No-Stream", vec![b'x'; len]));
        assert_eq!((answer.status, answer.header("connection")), (404, None), "{len}");
    }
    assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200, "the connection is kept");

    let mut client = server.connect();
    client.send(Request::post("No-Stream", vec![b'x'; 65_537]).bytes());
    let answer = client.receive();
    // A client, or a load balancer, must know that it cannot send its next request here.
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")));
    client.end();

    // One whose body does not come is answered all the same.
    let mut client = server.connect();
    client.send(Request::post("No-Stream", "").header("content-length", "60000").head());
    let answer = client.receive();
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")));
    assert_eq!(client.end(), End::Closed);
}

/// A server that closes a socket with unread bytes in it resets the connection, and on many systems a reset takes the
/// answer with it: the device would not learn when to come back.
#[test]
fn a_client_that_sends_a_large_refused_body_reads_the_answer_and_the_end() {
    let server = TestServer::start("");
    for len in [100_000, 300_000, 1_000_000] {
        let mut client = server.connect();
        client.send(Request::post("No-Stream", vec![b'x'; len]).bytes());
        assert_eq!(client.receive().status, 404);
        assert_eq!(client.end(), End::Closed, "{len} bytes");
        assert!(!client.is_reset_within(Duration::from_millis(100)), "{len} bytes: the connection was reset");
    }
}
