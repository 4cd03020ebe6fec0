//! What an answer of success promises, and that it is so when the answer comes.

use std::fs;

use crate::{request::Request, server::TestServer};

const STREAMS: &str = "streams = { safe = { ack = \"stored\" }, quick = { ack = \"memory\" }, usual = {} }\n";

fn batch(stream: &str) -> Request {
    Request::post(stream, r#"{"batch_id":"b","events":[{"a":1},{"a":2}]}"#)
}

#[test]
fn each_stream_is_answered_as_it_asks() {
    let server = TestServer::start(STREAMS);
    for (stream, ack) in [("usual", "spooled"), ("quick", "memory"), ("safe", "stored")] {
        let answer = server.ask(&batch(stream));
        let expected = format!(r#"{{"batch_id":"b","ack":"{ack}","accepted":2,"rejected":[]}}"#);
        assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
    }
    assert_eq!(server.stop().len(), 6);
}

#[test]
fn stored_means_that_the_object_is_there_when_the_answer_comes() {
    let server = TestServer::start(STREAMS);
    let mut client = server.connect();
    for count in 1..=5 {
        assert_eq!(client.ask(&batch("safe")).json()["ack"], "stored");
        assert_eq!(server.stored().len(), 2 * count);
    }
    let metrics = server.metrics();
    assert_eq!(metrics.outcome("accepted"), 5);
    assert_eq!(metrics.get("logweir_seals_total{cause=\"request\"}"), 5);
}

#[test]
fn a_sink_that_is_late_makes_stored_a_202_and_nothing_is_lost() {
    let server = TestServer::start(&format!("{STREAMS}\n[ingest]\nstored_timeout = \"200ms\""));
    // A file stands where the sink's directory must be.
    fs::write(server.objects(), "in the way").unwrap();
    let mut client = server.connect();
    let answer = client.ask(&batch("safe"));
    let expected = r#"{"batch_id":"b","ack":"spooled","accepted":2,"rejected":[]}"#;
    assert_eq!((answer.status, answer.text()), (202, expected));
    // Who asks for less does not wait for the sink.
    assert_eq!(client.ask(&batch("usual")).status, 200);
    assert_eq!(server.metrics().outcome("pending"), 1);

    fs::remove_file(server.objects()).unwrap();
    server.until("the sink has caught up", |metrics| metrics.get("logweir_object_lines_total{sink=\"files\"}") == 2);
    assert_eq!(client.ask(&batch("safe")).status, 200);
    assert_eq!(server.stop().len(), 6);
}

#[test]
fn an_event_that_is_rejected_is_promised_the_same() {
    let server = TestServer::start(STREAMS);
    let answer = server.ask(&Request::post("safe", "[5]"));
    let expected = r#"{"ack":"stored","accepted":0,"rejected":[{"index":0,"reason":"not_an_object"}]}"#;
    assert_eq!((answer.status, answer.text()), (422, expected));
    assert!(server.stored()[0].rejected);
}
