//! Paths, methods and the names of streams.

use crate::{request::Request, server::TestServer};

#[test]
fn what_is_no_name_of_a_stream_is_not_found() {
    let server = TestServer::start("");
    let mut client = server.connect();
    let longest = "x".repeat(63);
    for (name, problem) in [
        (longest.as_str(), None),
        ("a_1", None),
        ("", Some("not-found")),
        ("Heard", Some("invalid-stream-name")),
        ("1a", Some("invalid-stream-name")),
        ("_rejected", Some("invalid-stream-name")),
        ("a-b", Some("invalid-stream-name")),
        ("a/b", Some("invalid-stream-name")),
        ("a/", Some("invalid-stream-name")),
        ("../a", Some("invalid-stream-name")),
        ("a%62", Some("invalid-stream-name")),
        ("%00", Some("invalid-stream-name")),
        (&format!("{longest}x"), Some("invalid-stream-name")),
    ] {
        let answer = client.ask(&Request::post(name, "[{}]"));
        match problem {
            None => assert_eq!(answer.status, 200, "{name}"),
            Some(problem) => assert_eq!((answer.status, answer.problem().as_str()), (404, problem), "{name}"),
        }
    }
    assert_eq!(server.metrics().outcome("invalid_stream_name"), 10);
}

#[test]
fn a_stream_that_is_not_declared_is_not_found_where_it_must_be() {
    let server = TestServer::start("ingest = { undeclared_streams = \"refuse\" }\n[streams.heard]");
    let mut client = server.connect();
    assert_eq!(client.ask(&Request::post("heard", "[{}]")).status, 200);
    let answer = client.ask(&Request::post("herad", "[{}]"));
    assert_eq!((answer.status, answer.problem().as_str()), (404, "unknown-stream"));
    let metrics = server.metrics();
    assert_eq!(metrics.outcome("unknown_stream"), 1);
    assert!(metrics.growth(&metrics, "logweir_events_total").is_empty());
    let labels = "logweir_events_received_total{stream=\"herad\"}";
    assert!(!metrics.has(labels), "an invented name is no label");
}

#[test]
fn more_streams_than_there_may_be_are_refused_for_long() {
    let server = TestServer::start("limits.streams = 2\npacing.retry_after_cap = \"60s\"\n[streams.heard]");
    let mut client = server.connect();
    for (name, status) in [("seen", 200), ("third", 429), ("heard", 200), ("third", 429), ("seen", 200)] {
        let answer = client.ask(&Request::post(name, "[{}]"));
        assert_eq!(answer.status, status, "{name}");
        if status == 429 {
            let told = answer.json();
            assert_eq!((answer.problem().as_str(), &told["cause"]), ("refused", &"streams".into()));
            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            let millis = told["retry_after_ms"].as_u64().unwrap();
            assert!((30..=60).contains(&seconds) && millis.div_ceil(1_000) == seconds, "{told}");
        }
    }
    let metrics = server.metrics();
    assert_eq!(metrics.get("logweir_refusals_total{cause=\"streams\"}"), 2);
    assert_eq!(metrics.outcome("refused"), 2);
}

/// A place among `limits.streams` is taken by a batch that can be stored, and by nothing less.
#[test]
fn what_is_no_batch_takes_no_place_of_a_stream() {
    let server = TestServer::start("limits.streams = 2\n[streams.heard]");
    let mut client = server.connect();
    for (number, request) in [
        Request::post("empty", ""),
        Request::post("broken", "[{"),
        Request::post("no_events", "[]"),
        Request::post("text", "[{}]").header("content-type", "text/plain"),
        Request::post("packed", "[{}]").header("content-encoding", "gzip"),
        Request::post("unknown", "[{}]").header("content-encoding", "br"),
        Request::post("twice", "[{}]").header("idempotency-key", ""),
    ]
    .iter()
    .enumerate()
    {
        let status = client.ask(request).status;
        assert!(matches!(status, 400 | 415), "{number}: {status}");
    }
    let metrics = server.metrics();
    assert!(!metrics.has("logweir_events_received_total{stream=\"broken\"}"), "nor is it a label");
    // A batch whose events are rejected can be stored: it is kept under the stream's name.
    assert_eq!(client.ask(&Request::post("seen", "[7]")).status, 422);
    assert_eq!(client.ask(&Request::post("third", "[{}]")).status, 429);
    assert_eq!(client.ask(&Request::post("seen", "[{}]")).status, 200);
    assert_eq!(server.metrics().get("logweir_events_received_total{stream=\"seen\"}"), 2);
}

#[test]
fn batches_are_sent_with_post() {
    let server = TestServer::start("keys = [{ name = 'sdk', key = 'a-key-of-the-sdk-0123456789' }]");
    let mut client = server.connect();
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "INVENTED"] {
        let answer = client.ask(&Request::new(method, "/v1/logs/heard"));
        assert_eq!((answer.status, answer.problem().as_str()), (405, "method-not-allowed"), "{method}");
        let allowed: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
        assert!(allowed.contains(&"POST"), "{method}");
    }
    client.send(Request::new("HEAD", "/v1/logs/heard").bytes());
    assert_eq!(client.receive_head().status, 405);
    assert_eq!(server.metrics().outcome("method_not_allowed"), 8);
}

#[test]
fn what_does_not_exist_is_not_found_and_no_batch() {
    let server = TestServer::start("");
    let mut client = server.connect();
    for request in [
        Request::post("", "[{}]"),
        Request::new("POST", "/v1/logs").header("content-type", "application/x-protobuf").body("otlp"),
        Request::new("GET", "/"),
        Request::new("GET", "/metrics"),
        Request::new("GET", "/favicon.ico"),
        Request::new("GET", "/v1/logs"),
        Request::new("POST", "/v2/logs/heard").body("[{}]"),
        Request::new("GET", "//livez"),
    ] {
        let answer = client.ask(&request);
        assert_eq!((answer.status, answer.problem().as_str()), (404, "not-found"), "{request:?}");
    }
    assert_eq!(server.metrics().sum("logweir_requests_total"), 0, "only batches are counted");
}

#[test]
fn health_is_told_on_both_ports() {
    let server = TestServer::start("");
    for address in [server.address, server.admin] {
        let mut client = crate::client::Client::connect(address);
        for (path, body) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
            let answer = client.ask(&Request::new("GET", path));
            assert_eq!((answer.status, answer.text()), (200, body));
            client.send(Request::new("HEAD", path).bytes());
            assert_eq!(client.receive_head().status, 200);
            assert_eq!(client.ask(&Request::new("POST", path).body("x")).status, 405);
        }
    }
    let answer = server.ask_admin(&Request::new("GET", "/nothing"));
    assert_eq!((answer.status, answer.problem().as_str()), (404, "not-found"));
}

#[test]
fn the_interface_describes_itself() {
    let server = TestServer::start("");
    let answer = server.ask(&Request::new("GET", "/openapi.json"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let told = answer.json();
    assert!(told["openapi"].as_str().unwrap().starts_with("3."));
    for (path, method) in [("/v1/logs/{stream}", "post"), ("/livez", "get"), ("/readyz", "get")] {
        assert!(told["paths"][path][method].is_object(), "{path}");
    }
}
