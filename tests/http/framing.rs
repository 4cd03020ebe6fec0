//! How requests are framed on a connection: in chunks, one behind the other, wrongly, or not at all.

use serde_json::json;

use crate::{client::End, request::Request, server::TestServer};

fn outcome(server: &TestServer, name: &str) -> u64 {
    server.metrics().outcome(name)
}

/// A batch of one event that tells its number.
fn numbered(n: usize) -> Request {
    Request::post("heard", format!(r#"{{"batch_id":"b-{n}","events":[{{"n":{n}}}]}}"#))
}

#[test]
fn a_body_may_come_in_chunks_of_any_size() {
    let server = TestServer::start("");
    let mut client = server.connect();
    let whole = numbered(7);
    for size in [1, 2, 3, 1_000] {
        assert_eq!(client.ask(&whole.clone().chunked(size)).status, 200, "{size}");
    }
    // Extensions and trailers are allowed, and mean nothing.
    let head = Request::post("heard", "").without("content-length").header("transfer-encoding", "chunked").head();
    client.send([&head, b"2;a=b\r\n[{\r\n2 ; c\r\n}]\r\n0\r\nx-trailer: y\r\n\r\n".as_slice()].concat());
    assert_eq!(client.receive().status, 200);
    assert_eq!(server.stop().len(), 5);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = TestServer::start("");
    let mut client = server.connect();
    for byte in numbered(1).bytes() {
        client.send([byte]);
    }
    assert_eq!(client.receive().status, 200);
    assert_eq!(server.stop()[0].get("n"), &json!(1));
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let server = TestServer::start("[streams.slow]\nack = \"stored\"");
    let mut client = server.connect();
    let slow = Request::post("slow", r#"{"batch_id":"slow","events":[{}]}"#);
    let broken = Request::post("heard", "[");
    let chunked = numbered(3).chunked(4);
    let all = [&slow, &numbered(1), &broken, &numbered(2), &chunked].map(Request::bytes).concat();
    client.send(&all);
    let answers: Vec<_> = (0..5).map(|_| client.receive()).collect();
    let told: Vec<_> = answers.iter().map(|answer| (answer.status, answer.json()["batch_id"].clone())).collect();
    let expected =
        [(200, json!("slow")), (200, json!("b-1")), (400, json!(null)), (200, json!("b-2")), (200, json!("b-3"))];
    assert_eq!(told, expected);
    assert_eq!(server.stop().len(), 4);
}

/// An answer that waits for what stands behind its request would wait for ever: the client waits for the answer first.
#[test]
fn an_answer_does_not_wait_for_what_follows_its_request() {
    let server = TestServer::start("");
    // A blank line behind a body is no request, and old clients send one; the start of a head is not yet one.
    for behind in ["\r\n", "POST /v1/logs/heard HT"] {
        let mut client = server.connect();
        client.send([numbered(1).bytes(), behind.into()].concat());
        assert_eq!(client.receive().status, 200, "{behind:?}");
        if behind == "\r\n" {
            assert_eq!(client.ask(&numbered(2)).status, 200);
        }
    }
    // Garbage takes no answer with it that was given before.
    let mut client = server.connect();
    client.send([numbered(1).bytes(), numbered(2).bytes(), b"\0\r\n\r\n".to_vec()].concat());
    assert_eq!([client.receive().status, client.receive().status, client.receive().status], [200, 200, 400]);
}

#[test]
fn one_connection_serves_many_requests() {
    let server = TestServer::start("");
    let mut client = server.connect();
    for n in 0..300 {
        let answer = client.ask(&numbered(n));
        assert_eq!((answer.status, answer.json()["batch_id"].clone()), (200, json!(format!("b-{n}"))));
        assert_eq!(answer.header("connection"), None);
    }
    let metrics = server.metrics();
    assert_eq!(metrics.get("logweir_connections_accepted_total"), 1);
    let mut stored: Vec<_> = server.stop().iter().map(|line| line.get("n").as_u64().unwrap()).collect();
    stored.sort_unstable();
    assert!(stored.into_iter().eq(0..300));
}

#[test]
fn a_body_that_ends_early_leaves_nothing_behind_and_is_counted() {
    let server = TestServer::start("");
    let mut neighbour = server.connect();
    assert_eq!(neighbour.ask(&numbered(1)).status, 200);
    let cut = Request::post("heard", r#"[{"a":1}]"#).header("content-length", "100").bytes();
    let chunked = numbered(2).chunked(5).bytes();
    for request in [&cut[..], &chunked[..chunked.len() - 3], &chunked[..chunked.len() - 20]] {
        let mut client = server.connect();
        client.send(request);
        drop(client);
    }
    server.until("the requests are given up", |metrics| metrics.outcome("gone") == 3);
    // What it said before it went away is not a batch, even if it would be one.
    assert_eq!(neighbour.ask(&numbered(3)).status, 200);
    let metrics = server.until("only the neighbour is connected", |metrics| metrics.sum("logweir_connections") == 1);
    assert_eq!(metrics.sum("logweir_requests_total"), 5);
    assert_eq!(server.stop().len(), 2);
}

#[test]
fn a_client_that_only_stops_sending_gets_its_answers() {
    let server = TestServer::start("[streams.slow]\nack = \"stored\"");
    let mut client = server.connect();
    client.send([Request::post("slow", "[{}]").bytes(), numbered(1).bytes()].concat());
    client.half_close();
    assert_eq!([client.receive().status, client.receive().status], [200, 200]);
    assert_eq!(client.end(), End::Closed);

    let mut client = server.connect();
    client.send(Request::post("heard", "[{}]").header("content-length", "100").bytes());
    client.half_close();
    let answer = client.receive();
    assert_eq!((answer.problem().as_str(), answer.header("connection")), ("incomplete-body", Some("close")));
    assert_eq!(client.end(), End::Closed);
    server.until("it is counted", |metrics| metrics.outcome("gone") == 1);
    assert_eq!(server.stop().len(), 2);
}

#[test]
fn what_follows_a_body_is_the_next_request_and_garbage_ends_the_connection() {
    let server = TestServer::start("");
    let mut neighbour = server.connect();
    assert_eq!(neighbour.ask(&numbered(1)).status, 200);
    for body in ["[{}]]}garbage\r\n\r\n", "[{}]\0\0\0\0\r\n\r\n"] {
        let mut client = server.connect();
        client.send(Request::post("heard", body).header("content-length", "4").bytes());
        assert_eq!([client.receive().status, client.receive().status], [200, 400], "{body:?}");
        client.end();
    }
    assert_eq!(neighbour.ask(&numbered(2)).status, 200);
    assert_eq!(outcome(&server, "accepted"), 4);
}

#[test]
fn heads_that_are_none_are_answered_and_the_connection_is_closed() {
    let server = TestServer::start("");
    let mut neighbour = server.connect();
    let post = "POST /v1/logs/heard HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    for (request, status) in [
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), 400),
        ("POST\r\n\r\n".to_owned(), 400),
        ("POST /v1/logs/heard HTTP/9.9\r\n\r\n".to_owned(), 400),
        (format!("{post}bad header: x\r\n\r\n"), 400),
        (format!("{post}content-length: x\r\n\r\n[{{}}]"), 400),
        (format!("{post}content-length: -4\r\n\r\n[{{}}]"), 400),
        (format!("{post}content-length: 4\r\ncontent-length: 5\r\n\r\n[{{}}]"), 400),
        (format!("{post}transfer-encoding: gzip\r\n\r\n[{{}}]"), 400),
        (format!("{post}x-long: {}\r\n\r\n", "x".repeat(20_000)), 431),
        (format!("{post}{}\r\n", "x-many: 1\r\n".repeat(200)), 431),
        (format!("POST /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), 431),
    ] {
        let mut client = server.connect();
        let _ = client.try_send(&request);
        let answer = client.receive();
        let start = &request[..request.len().min(60)];
        assert_eq!(answer.status, status, "{start:?}");
        client.end();
        assert_eq!(neighbour.ask(&numbered(1)).status, 200, "{start:?}");
    }
    // A client that speaks HTTP/2 without asking learns that this is not spoken here.
    let mut client = server.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.end();
    let cut = |cause: &str| format!("logweir_connections_cut_total{{cause=\"{cause}\"}}");
    server.until("every head is counted", |metrics| {
        (metrics.get(&cut("malformed_head")), metrics.get(&cut("head_too_large"))) == (9, 3)
    });
    // A chunk that is none spoils a request that was begun.
    let mut client = server.connect();
    client.send(format!("{post}transfer-encoding: chunked\r\n\r\nZ\r\n[{{}}]\r\n0\r\n\r\n"));
    assert_eq!(client.receive().problem(), "incomplete-body");
    client.end();
    assert_eq!(outcome(&server, "incomplete_body"), 1);
    assert_eq!(server.metrics().sum("logweir_connections_cut_total"), 12, "that was no broken head");
}

/// Two lengths that disagree are how requests are smuggled past a load balancer: the next request must not be found
/// in this one's body.
#[test]
fn a_request_with_two_ideas_of_its_length_smuggles_nothing() {
    let server = TestServer::start("");
    let mut client = server.connect();
    let smuggled = Request::post("smuggled", "[{}]").bytes();
    let both = numbered(1).chunked(100).header("content-length", "4");
    client.send([both.bytes(), smuggled].concat());
    assert_eq!(client.receive().status, 200);
    assert_eq!(client.end(), End::Closed);
    assert!(server.stop().iter().all(|line| line.stream == "heard"));
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on_or_why_not() {
    let server = TestServer::start("");
    let mut client = server.connect();
    let asks = numbered(1).header("Expect", "100-continue");
    client.send(asks.head());
    assert_eq!(client.receive().status, 100);
    client.send(&asks.bytes()[asks.head().len()..]);
    assert_eq!(client.receive().status, 200);

    for (request, status) in [
        (Request::post("heard", "").header("content-length", "2000000"), 413),
        (Request::post("No-Stream", "").header("content-length", "10"), 404),
        (Request::post("heard", "").header("content-length", "10").without("content-type"), 415),
    ] {
        let mut client = server.connect();
        client.send(request.header("Expect", "100-continue").head());
        assert_eq!(client.receive().status, status, "no 100 comes before the refusal");
        assert_eq!(client.end(), End::Closed);
    }
    assert_eq!(server.stop().len(), 1);
}

#[test]
fn a_client_of_http_1_0_is_served() {
    let server = TestServer::start("");
    let old = |headers: &str| {
        format!(
            "POST /v1/logs/heard HTTP/1.0\r\n{headers}content-type: application/json\r\ncontent-length: 4\r\n\r\n[{{}}]"
        )
    };
    let mut client = server.connect();
    client.send(old(""));
    assert_eq!(client.receive().status, 200);
    assert_eq!(client.end(), End::Closed);

    let mut client = server.connect();
    for _ in 0..2 {
        client.send(old("connection: keep-alive\r\n"));
        let answer = client.receive();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("keep-alive")));
    }
    let closing = numbered(1).header("connection", "close");
    let answer = client.ask(&closing);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(client.end(), End::Closed);
}
