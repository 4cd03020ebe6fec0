//! The native protocol: what a batch may look like, and that it is stored as it was sent.

use logweir::batch::Millis;
use serde_json::{Value, json};

use crate::{request::Request, server::TestServer, stored::Stored};

/// A stream with a schema, a stream whose time the device tells, and a stream for anything else.
pub(crate) const STREAMS: &str = r#"
[streams.heard.fields]
ad_id = { type = "string", required = true, max_bytes = 16 }
volume = "double"

[streams.timed]
time_field = "at"
unknown_fields = "keep"
fields = { at = "timestamp" }
"#;

fn lines(stream: &str, body: &str) -> Request {
    Request::post(stream, body).header("content-type", "application/x-ndjson")
}

fn ids(stored: &[Stored]) -> Vec<&Value> {
    stored.iter().map(|line| line.get("event_id")).collect()
}

#[test]
fn the_three_forms_of_a_batch_are_answered_and_stored_as_they_were_sent() {
    let server = TestServer::start("");
    let first = r#"{"a": 1.50 ,"b":"é\u00e9"}"#;
    let second = r#"{"c":{"D":[1,  2]}}"#;
    let forms = [
        ("enveloped", Request::post("enveloped", format!(r#"{{"events":[{first},{second}],"batch_id":"b \"1\""}}"#))),
        ("bare", Request::post("bare", format!(" [{first} ,\n{second}]\n"))),
        ("lines", lines("lines", &format!("{first}\n\r\n  {second}\r\n"))),
    ];
    let expected = [
        r#"{"batch_id":"b \"1\"","ack":"spooled","accepted":2,"rejected":[]}"#,
        r#"{"ack":"spooled","accepted":2,"rejected":[]}"#,
        r#"{"ack":"spooled","accepted":2,"rejected":[]}"#,
    ];
    let began = std::time::SystemTime::now();
    for ((_, request), expected) in forms.iter().zip(expected) {
        let answer = server.ask(request);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.text(), expected);
    }
    let ended = std::time::SystemTime::now();
    let stored = server.stop();
    assert_eq!(stored.len(), 6);
    for (stream, _) in &forms {
        let lines: Vec<_> = stored.iter().filter(|line| line.stream == *stream).collect();
        for (line, sent) in lines.iter().zip([first, second]) {
            let (id, time) = (line.get("event_id").as_str().unwrap(), line.get("received_at").as_str().unwrap());
            let batch = if *stream == "enveloped" { r#""batch_id":"b \"1\"","# } else { "" };
            let server_fields = format!(r#"{{"event_id":"{id}","event_time":"{time}","received_at":"{time}",{batch}"#);
            assert_eq!(line.text, format!("{server_fields}{}", &sent[1..]));
            let received = Millis::parse(time).unwrap().get() as u128;
            let millis = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
            assert!((millis(began)..=millis(ended)).contains(&received), "{time}");
        }
    }
}

#[test]
fn rejected_events_are_named_by_index_and_stored_with_their_reason() {
    let server = TestServer::start(STREAMS);
    let some = r#"{"batch_id":"b","events":[{"ad_id":"x"},{"ad_id":"12345678901234567"},7,{"volume":1}]}"#;
    let answer = server.ask(&Request::post("heard", some));
    assert_eq!(answer.status, 200);
    let expected = json!({"batch_id": "b", "ack": "spooled", "accepted": 1, "rejected": [
        {"index": 1, "field": "ad_id", "reason": "too_long"},
        {"index": 2, "reason": "not_an_object"},
        {"index": 3, "field": "ad_id", "reason": "missing"},
    ]});
    assert_eq!(answer.json(), expected);

    let answer = server.ask(&lines("heard", "{\"ad_id\":5}\n{\"ad_id\":"));
    assert_eq!((answer.status, answer.header("content-type")), (422, Some("application/json")));
    let expected = r#"{"ack":"spooled","accepted":0,"rejected":[{"index":0,"field":"ad_id","reason":"wrong_type"},{"index":1,"reason":"malformed_json"}]}"#;
    assert_eq!(answer.text(), expected);

    let metrics = server.metrics();
    assert_eq!(metrics.outcome("accepted"), 1);
    assert_eq!(metrics.outcome("all_rejected"), 1);
    for (reason, count) in [("too_long", 1), ("missing", 1), ("wrong_type", 1), ("malformed_json", 1)] {
        let series = format!("logweir_rejections_total{{stream=\"heard\",reason=\"{reason}\"}}");
        assert_eq!(metrics.get(&series), count, "{reason}");
    }

    let stored = server.stop();
    let rejected: Vec<_> = stored.iter().filter(|line| line.rejected).collect();
    assert_eq!((stored.len(), rejected.len()), (6, 5));
    let told = |line: &Stored| {
        assert_eq!((line.stream.as_str(), line.get("stream")), ("heard", &json!("heard")));
        ["index", "field", "reason", "original"].map(|key| line.get(key).clone())
    };
    let told: Vec<_> = rejected.iter().map(|line| told(line)).collect();
    for expected in [
        [json!(1), json!("ad_id"), json!("too_long"), json!(r#"{"ad_id":"12345678901234567"}"#)],
        [json!(2), Value::Null, json!("not_an_object"), json!("7")],
        [json!(3), json!("ad_id"), json!("missing"), json!(r#"{"volume":1}"#)],
        [json!(0), json!("ad_id"), json!("wrong_type"), json!(r#"{"ad_id":5}"#)],
        [json!(1), Value::Null, json!("malformed_json"), json!(r#"{"ad_id":"#)],
    ] {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
}

#[test]
fn a_content_type_is_known_whatever_its_case_and_parameters() {
    let server = TestServer::start("");
    let mut client = server.connect();
    for (content_type, status) in [
        (Some("application/json"), 200),
        (Some("Application/JSON; charset=utf-8"), 200),
        (Some("application/json ;v=\"1;2\""), 200),
        (Some("application/x-ndjson;charset=UTF-8"), 200),
        (Some("APPLICATION/X-NDJSON"), 200),
        (Some("text/plain"), 415),
        (Some("application/jsonl"), 415),
        (Some("application/json, application/json"), 415),
        (Some(""), 415),
        (None, 415),
    ] {
        let request = Request::post("heard", r#"[{"a":1}]"#).without("content-type");
        // As lines, the array is a rejected event; what matters is that it was read.
        let is_lines = content_type.is_some_and(|name| name.to_lowercase().contains("ndjson"));
        let request = content_type.map_or(request.clone(), |value| request.header("Content-Type", value));
        let answer = client.ask(&request);
        assert_eq!(answer.status, if is_lines { 422 } else { status }, "{content_type:?}");
        if status == 415 {
            assert_eq!(answer.problem(), "unsupported-content-type");
        }
    }
    assert_eq!(server.metrics().outcome("unsupported_content_type"), 5);
}

#[test]
fn a_retry_gives_its_events_the_same_ids_on_any_instance() {
    let body = r#"[{"a":1},{"a":2}]"#;
    let keyed = |key: &str| Request::post("heard", body).header("Idempotency-Key", key);
    let stored_of = |request: &Request| {
        let server = TestServer::start("");
        assert_eq!(server.ask(request).status, 200);
        server.stop()
    };
    let first = stored_of(&keyed("b-1"));
    assert_eq!(first[0].get("batch_id"), "b-1");
    assert_ne!(first[0].get("event_id"), first[1].get("event_id"));
    let envelope = format!(r#"{{"events":{body},"batch_id":"b-1"}}"#);
    for same in [keyed("\"b-1\""), keyed(" b-1 "), Request::post("heard", envelope)] {
        assert_eq!(ids(&stored_of(&same)), ids(&first), "{same:?}");
    }
    // What the batch says of itself stands before what was said beside it.
    let both =
        Request::post("heard", format!(r#"{{"events":{body},"batch_id":"b-1"}}"#)).header("Idempotency-Key", "x");
    assert_eq!(ids(&stored_of(&both)), ids(&first));
    for other in [keyed("b-2"), Request::post("heard", body)] {
        assert!(ids(&stored_of(&other)).iter().all(|id| !ids(&first).contains(id)), "{other:?}");
    }
}

#[test]
fn an_idempotency_key_that_is_no_batch_id_is_refused() {
    let server = TestServer::start("");
    let mut client = server.connect();
    let long = "x".repeat(129);
    for (key, status) in [("", 400), ("\"\"", 400), ("a\tb", 400), (&long, 400), (&long[1..], 200)] {
        let answer = client.ask(&Request::post("heard", "[{}]").header("Idempotency-Key", key));
        assert_eq!(answer.status, status, "{key:?}");
        if status == 400 {
            assert_eq!(answer.problem(), "invalid-batch-id");
        }
    }
    // Latin-1 is a header, but no text.
    let latin = [b"POST /v1/logs/heard HTTP/1.1\r\nhost: x\r\nidempotency-key: caf\xE9\r\n".as_slice()].concat();
    client.send([&latin, b"content-type: application/json\r\ncontent-length: 4\r\n\r\n[{}]".as_slice()].concat());
    assert_eq!(client.receive().problem(), "invalid-batch-id");
    assert_eq!(server.metrics().outcome("invalid_batch_id"), 5);
}
