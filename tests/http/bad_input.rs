//! What bad input gets: each kind a defined answer and a counter of its own, and never a panic, a stuck connection or a
//! lost neighbour. Keys, streams, types, encodings, lengths and clocks have tests of their own beside this one.

use serde_json::{Value, json};

use crate::{
    client::Client,
    protocol::STREAMS,
    request::Request,
    samples::Samples,
    server::{TestServer, log},
};

/// Stands in every value that is sent here, and must not come back.
const CANARY: &str = "c4n4ry";

/// A body, and what it gets.
#[derive(Clone)]
struct Row {
    what: &'static str,
    body: Vec<u8>,
    lines: bool,
    status: u16,
    /// The outcome that counts the request; for a batch that cannot be read it is the problem's name too.
    outcome: &'static str,
    /// The reason that counts its event, or the mending.
    counted: Option<&'static str>,
}

impl Row {
    fn request(&self, stream: &str) -> Request {
        let content_type = if self.lines { "application/x-ndjson" } else { "application/json" };
        Request::post(stream, &self.body).header("content-type", content_type)
    }
}

/// A batch that cannot be read.
fn unread(what: &'static str, body: impl Into<Vec<u8>>, outcome: &'static str) -> Row {
    Row { what, body: body.into(), lines: false, status: 400, outcome, counted: None }
}

/// A batch of one event, which is rejected.
fn rejected(what: &'static str, body: impl Into<Vec<u8>>, reason: &'static str) -> Row {
    Row { what, body: body.into(), lines: false, status: 422, outcome: "all_rejected", counted: Some(reason) }
}

/// A batch of one event, which is taken once it is mended.
fn mended(what: &'static str, body: impl Into<Vec<u8>>, mending: &'static str) -> Row {
    Row { what, body: body.into(), lines: false, status: 200, outcome: "accepted", counted: Some(mending) }
}

fn nested(levels: usize) -> String {
    format!(r#"[{}"c4n4ry"{}]"#, "{\"a\":".repeat(levels), "}".repeat(levels))
}

fn unreadable() -> Vec<Row> {
    let malformed = "malformed_json";
    vec![
        unread("nothing", "", malformed),
        unread("blanks", " \n\t", malformed),
        unread("no JSON", "c4n4ry", malformed),
        unread("a string that does not end", r#"[{"a":"c4n4ry"#, malformed),
        unread("an event that does not end", r#"[{"a":"c4n4ry""#, malformed),
        unread("an array that does not end", r#"[{"a":"c4n4ry"}"#, malformed),
        unread("an envelope that does not end", r#"{"events":[{"a":"c4n4ry"}]"#, malformed),
        unread("something behind the batch", r#"[{"a":"c4n4ry"}]c4n4ry"#, malformed),
        unread("a bare word", r#"[{"a":c4n4ry}]"#, malformed),
        unread("a number with a zero before it", r#"[{"a":007}]"#, malformed),
        unread("an unescaped control character", "[{\"a\":\"c4n4ry\u{7}\"}]", malformed),
        unread("a NUL between tokens", "[{\"a\":\"c4n4ry\"}\0]", malformed),
        unread("an unknown escape", r#"[{"a":"c4n4ry\q"}]"#, malformed),
        unread("a surrogate of three digits", r#"[{"a":"c4n4ry\ud80"}]"#, malformed),
        unread("nesting without end", nested(2_000), malformed),
        unread("brackets without end", "[".repeat(100_000), malformed),
        unread("a byte order mark", "\u{feff}[{}]", malformed),
        unread("invalid UTF-8", [b"[{\"a\":\"c4n4ry".as_slice(), b"\xC3\x28\"}]"].concat(), "invalid_utf8"),
        unread("an overlong NUL", [b"[{\"a\":\"c4n4ry".as_slice(), b"\xC0\x80\"}]"].concat(), "invalid_utf8"),
        unread("an encoded surrogate", [b"[{\"a\":\"c4n4ry".as_slice(), b"\xED\xA0\x80\"}]"].concat(), "invalid_utf8"),
        unread("a string", r#""c4n4ry""#, "not_a_batch"),
        unread("an object without events", r#"{"batch_id":"c4n4ry"}"#, "not_a_batch"),
        unread("an unknown member", r#"{"c4n4ry":1,"events":[{}]}"#, "invalid_envelope"),
        unread("events that are no array", r#"{"events":{"a":"c4n4ry"}}"#, "invalid_envelope"),
        unread("events twice", r#"{"events":[{}],"events":[{"a":"c4n4ry"}]}"#, "invalid_envelope"),
        unread("an id that is a number", r#"{"batch_id":5,"events":[{"a":"c4n4ry"}]}"#, "invalid_envelope"),
        unread("a context that is no object", r#"{"context":"c4n4ry","events":[{}]}"#, "invalid_envelope"),
        unread("a context with a key twice", r#"{"context":{"a":"c4n4ry","A":1},"events":[{}]}"#, "invalid_envelope"),
        unread("an empty batch", "[]", "empty_batch"),
        unread("an envelope without an event", r#"{"events":[],"context":{"a":"c4n4ry"}}"#, "empty_batch"),
        Row { lines: true, ..unread("no line", "", "empty_batch") },
        Row { lines: true, ..unread("empty lines", "\n \r\n\n", "empty_batch") },
    ]
}

fn rejectable() -> Vec<Row> {
    let huge = format!(r#"[{{"a":{}}}]"#, "9".repeat(400));
    let large = format!(r#"[{{"a":"{}"}}]"#, CANARY.repeat(11_000));
    let many = format!("[{{{}}}]", (0..501).map(|n| format!(r#""k{n}":"c4n4ry""#)).collect::<Vec<_>>().join(","));
    let long = format!(r#"[{{"{}":"c4n4ry"}}]"#, "k".repeat(128));
    vec![
        rejected("no object", r#"["c4n4ry"]"#, "not_an_object"),
        rejected("null", "[null]", "not_an_object"),
        rejected("a key twice", r#"[{"a":1,"a":"c4n4ry"}]"#, "duplicate_key"),
        rejected("keys that differ by case only", r#"[{"user":"c4n4ry","User":2}]"#, "duplicate_key"),
        rejected("keys that differ by escapes only", r#"[{"a":1,"\u0061":"c4n4ry"}]"#, "duplicate_key"),
        rejected("a key that becomes another", r#"[{"batch_id":1,"client_batch_id":"c4n4ry"}]"#, "duplicate_key"),
        rejected("a huge number", r#"[{"a":1e999,"b":"c4n4ry"}]"#, "number_out_of_range"),
        rejected("a huge number deep down", r#"[{"a":{"b":[-1e400]},"c":"c4n4ry"}]"#, "number_out_of_range"),
        rejected("a number of 400 digits", huge, "number_out_of_range"),
        rejected("deep nesting", nested(33), "nested_too_deep"),
        rejected("a large event", large, "event_too_large"),
        rejected("many fields", many, "too_many_fields"),
        rejected("a long key", long, "key_too_long"),
        Row { lines: true, ..rejected("a bad line", r#"{"a":"c4n4ry"#, "malformed_json") },
        Row { lines: true, ..rejected("two events in a line", r#"{"a":"c4n4ry"} {}"#, "malformed_json") },
        Row { lines: true, ..rejected("a line of bytes", b"{\"a\":\"c4n4ry\xff\"}", "invalid_utf8") },
    ]
}

fn mendable() -> Vec<Row> {
    vec![
        mended("NUL", r#"[{"a":"c4n4ry\u0000"}]"#, "replaced_characters"),
        mended("NUL in a key deep down", r#"[{"a":{"\u0000":"c4n4ry"}}]"#, "replaced_characters"),
        mended("a lone high surrogate", r#"[{"a":"\ud800c4n4ry"}]"#, "replaced_characters"),
        mended("a lone low surrogate", r#"[{"a":["c4n4ry\udfff"]}]"#, "replaced_characters"),
        mended("surrogates in the wrong order", r#"[{"a":"\udc00\ud800","b":"c4n4ry"}]"#, "replaced_characters"),
    ]
}

/// Sends the row's batch over `client`, and tells the answer and what has been counted since `before`.
fn send(row: &Row, client: &mut Client, stream: &str) -> Value {
    let answer = client.ask(&row.request(stream));
    assert_eq!(answer.status, row.status, "{}: {answer:?}", row.what);
    assert!(!answer.text().contains(CANARY), "{}: a value is echoed: {answer:?}", row.what);
    if row.status == 400 {
        assert_eq!(answer.problem().replace('-', "_"), row.outcome, "{}", row.what);
    }
    answer.json()
}

fn one(series: String) -> Vec<(String, u64)> {
    vec![(series, 1)]
}

fn assert_counted(row: &Row, before: &Samples, after: &Samples) {
    let grown = |name: &str| after.growth(before, name);
    assert_eq!(grown("logweir_requests_total"), one(format!("{{outcome=\"{}\"}}", row.outcome)), "{}", row.what);
    let label = |kind: &str| row.counted.map(|counted| one(format!("{{stream=\"odd\",{kind}=\"{counted}\"}}")));
    let (reasons, mendings) = (grown("logweir_rejections_total"), grown("logweir_mended_total"));
    match row.status {
        422 => assert_eq!((Some(reasons), mendings), (label("reason"), vec![]), "{}", row.what),
        200 => assert_eq!((reasons, Some(mendings)), (vec![], label("mending")), "{}", row.what),
        _ => assert_eq!((reasons, mendings), (vec![], vec![]), "{}", row.what),
    }
}

#[test]
fn every_kind_of_bad_input_gets_its_answer_and_its_counter() {
    let server = TestServer::start("");
    let (mut client, mut neighbour) = (server.connect(), server.connect());
    let rows = [unreadable(), rejectable(), mendable()].concat();
    let mut before = server.metrics();
    for row in &rows {
        let told = send(row, &mut client, "odd");
        if row.status == 422 {
            assert_eq!(told["rejected"][0]["reason"], row.counted.unwrap(), "{}", row.what);
        }
        let after = server.metrics();
        assert_counted(row, &before, &after);
        assert_eq!(neighbour.ask(&Request::post("even", "[{}]")).status, 200, "{}: the neighbour", row.what);
        before = server.metrics();
    }
    assert_eq!(before.get("logweir_connections_accepted_total"), 2, "no connection was lost");
    assert!(!log().contains(CANARY), "a value is in the log");
    let stored = server.stop();
    let count = |status: u16| rows.iter().filter(|row| row.status == status).count();
    let of = |rejected: bool| stored.iter().filter(|line| line.stream == "odd" && line.rejected == rejected).count();
    assert_eq!((of(true), of(false)), (count(422), count(200)), "what can be told apart is kept, nothing else");
    for line in stored.iter().filter(|line| line.stream == "odd" && !line.rejected) {
        assert!(line.text.contains("\\ufffd") || line.text.contains('\u{fffd}'), "{}", line.text);
    }
}

#[test]
fn keys_named_like_the_servers_fields_are_kept_beside_them() {
    let server = TestServer::start("");
    let event = r#"{"event_id":"mine","Event_Time":"then","received_at":1,"batch_id":null,"client_time":{"a":[]}}"#;
    let answer = server.ask(&Request::post("odd", format!("[{event}]")));
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = server.stop().remove(0);
    assert_eq!((line.get("event_id"), line.get("client_event_time")), (&json!("mine"), &json!("then")));
    assert_eq!((line.get("client_received_at"), line.get("client_batch_id")), (&json!(1), &Value::Null));
    assert_eq!(line.get("client_client_time"), &json!({"a": []}));
    assert!(line.text.contains("\"client_batch_id\":null") && line.get("event_time") == line.get("received_at"));
}

#[test]
fn what_a_schema_rejects_names_the_field_and_never_the_value() {
    let server = TestServer::start(STREAMS);
    let mut client = server.connect();
    for (event, field, reason) in [
        (r#"{"volume":"c4n4ry","ad_id":"x"}"#, "volume", "wrong_type"),
        (r#"{"ad_id":"c4n4ry-c4n4ry-c4n4ry"}"#, "ad_id", "too_long"),
        (r#"{"ad_id":["c4n4ry"]}"#, "ad_id", "wrong_type"),
        (r#"{"other":"c4n4ry"}"#, "ad_id", "missing"),
        (r#"{"ad_id":null,"other":"c4n4ry"}"#, "ad_id", "missing"),
    ] {
        let answer = client.ask(&Request::post("heard", format!("[{event}]")));
        assert_eq!(answer.status, 422, "{event}");
        assert_eq!(answer.json()["rejected"], json!([{"index": 0, "field": field, "reason": reason}]));
    }
    assert_eq!(server.metrics().sum("logweir_rejections_total"), 5);
    assert!(!log().contains(CANARY));
}
