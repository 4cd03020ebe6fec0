//! What validation stores and answers, rule by rule.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    batch::{Mending, Reason, StreamName},
    schema::{Ack, Field, FieldType, Load, OnError, Priority, PrivacyKey, Private, Schema, UnknownFields},
};

#[path = "../../tests/common/copy_rules.rs"]
mod copy_rules;

/// 2026-11-22T09:00:00.123Z.
const RECEIVED: i64 = 1_795_338_000_123;

const LIMITS: Limits =
    Limits { events: 100, event_bytes: 2_000, context_bytes: 500, nesting: 8, fields: 20, output_bytes: 100_000 };

struct Unlimited;

impl Room for Unlimited {
    fn grant(&mut self, _: usize) -> bool {
        true
    }

    fn give_back(&mut self, _: usize) {}
}

/// A batch and what became of it.
struct Trial {
    schema: Schema,
    limits: Limits,
    format: Format,
    idempotency_key: Option<BatchId>,
    sent_at: SentAt,
    key_name: &'static str,
    nonce: u128,
}

struct Stored {
    validated: Validated,
    accepted: Vec<Value>,
    rejected: Vec<Value>,
    text: String,
}

fn free() -> Trial {
    with(Schema::free_form())
}

fn with(schema: Schema) -> Trial {
    Trial {
        schema,
        limits: LIMITS,
        format: Format::Json,
        idempotency_key: None,
        sent_at: SentAt::Absent,
        key_name: "app",
        nonce: 1,
    }
}

fn lines() -> Trial {
    Trial { format: Format::Lines, ..free() }
}

impl Trial {
    fn run(self, body: impl AsRef<[u8]>) -> Result<Stored, BatchError> {
        let limits = self.limits;
        self.run_after(&[], &mut Validator::new(limits), body.as_ref())
    }

    /// Runs after batches whose bodies are `before`, and which are of no further interest.
    fn run_after(self, before: &[&str], validator: &mut Validator, body: &[u8]) -> Result<Stored, BatchError> {
        let stream = Stream {
            name: StreamName::new("heard").unwrap(),
            ack: Ack::Spooled,
            priority: Priority::Normal,
            load: Load::None,
            schema: self.schema,
        };
        let batch = Batch {
            body,
            format: self.format,
            stream: &stream,
            key_name: self.key_name,
            idempotency_key: self.idempotency_key.as_ref(),
            sent_at: self.sent_at,
            received_at: Millis::new(RECEIVED).unwrap(),
            nonce: self.nonce,
        };
        for body in before {
            let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
            let mut output = Output { accepted: &mut accepted, rejected: &mut rejected, room: &mut Unlimited };
            let _ = validator.validate(&Batch { body: body.as_bytes(), ..batch }, &mut output);
        }
        let (mut accepted, mut rejected) = (b"before".to_vec(), Vec::new());
        let mut output = Output { accepted: &mut accepted, rejected: &mut rejected, room: &mut Unlimited };
        let result = validator.validate(&batch, &mut output);
        if result.is_err() {
            assert_eq!((accepted.as_slice(), rejected.as_slice()), (&b"before"[..], &[][..]), "nothing is left behind");
        }
        let validated = result?;
        let text = String::from_utf8(accepted.split_off(6)).unwrap();
        let read = |lines: &[u8]| -> Vec<Value> {
            assert!(lines.is_empty() || lines.ends_with(b"\n"));
            lines
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| {
                    copy_rules::read_line(line).unwrap();
                    serde_json::from_slice(line).unwrap()
                })
                .collect()
        };
        let stored = Stored { accepted: read(text.as_bytes()), rejected: read(&rejected), validated, text };
        assert_eq!(stored.accepted.len(), stored.validated.accepted as usize);
        assert_eq!(stored.rejected.len(), stored.validated.rejected.total() as usize);
        Ok(stored)
    }

    /// The stored lines, without the server's fields.
    fn bodies(self, body: impl AsRef<[u8]>) -> Vec<Value> {
        self.run(body).unwrap().accepted.into_iter().map(own).collect()
    }

    fn rejection(self, event: &str) -> (Option<String>, Reason) {
        let stored = self.run(format!("[{event}]")).unwrap();
        assert_eq!((stored.validated.accepted, stored.validated.rejected.total()), (0, 1), "{event}");
        let rejection = &stored.validated.rejected.listed()[0];
        (rejection.field.as_deref().map(Into::into), rejection.reason)
    }

    fn error(self, body: impl AsRef<[u8]>) -> BatchError {
        self.run(body).err().expect("the batch is refused")
    }
}

fn own(mut line: Value) -> Value {
    for key in ["event_id", "event_time", "received_at", "batch_id", "client_time"] {
        line.as_object_mut().unwrap().remove(key);
    }
    line
}

// The forms of a batch.

#[test]
fn an_event_is_stored_with_the_server_fields_first_and_its_own_bytes_as_they_came() {
    let stored = free().run(r#"{"batch_id":"b-1","events":[{"a": 1.50 ,"b":"é\u00e9","c":{"D":[1,  2]}}]}"#).unwrap();
    let id = stored.accepted[0]["event_id"].as_str().unwrap();
    assert_eq!(
        stored.text,
        format!(
            "{{\"event_id\":\"{id}\",\"event_time\":\"2026-11-22T09:00:00.123Z\",\
             \"received_at\":\"2026-11-22T09:00:00.123Z\",\"batch_id\":\"b-1\",\
             \"a\": 1.50 ,\"b\":\"é\\u00e9\",\"c\":{{\"D\":[1,  2]}}}}\n"
        )
    );
    assert_eq!(stored.validated.batch_id, Some(BatchId::new("b-1").unwrap()));
    let received = Millis::new(RECEIVED).unwrap();
    assert_eq!(stored.validated.event_times, Some((received, received)));
}

#[test]
fn a_bare_array_and_lines_are_batches_too() {
    let expected = vec![json!({"a":1}), json!({}), json!({"b":2})];
    assert_eq!(free().bodies(r#" [ {"a":1}, {} ,{"b":2}] "#), expected);
    assert_eq!(lines().bodies("{\"a\":1}\n\r\n {} \n\n{\"b\":2}\r\n"), expected);
    assert_eq!(lines().bodies("{\"a\":1}"), [json!({"a":1})]);
}

#[test]
fn the_envelope_may_come_in_any_order() {
    let parts =
        [r#""batch_id":"b""#, r#""sent_at":"2030-01-01T00:00:00Z""#, r#""context":{"c":1}"#, r#""events":[{"a":1}]"#];
    let expected = free().run(format!("{{{}}}", parts.join(","))).unwrap().text;
    for order in [[3, 0, 1, 2], [1, 3, 2, 0], [2, 1, 0, 3], [0, 3, 1, 2]] {
        let body: Vec<_> = order.iter().map(|part| parts[*part]).collect();
        assert_eq!(free().run(format!("{{ {} }}", body.join("\n,"))).unwrap().text, expected, "{order:?}");
    }
}

#[test]
fn events_read_twice_because_of_a_late_member_are_counted_once() {
    let stored = free().run(r#"{"events":[{"a":"\u0000"},5],"batch_id":"b"}"#).unwrap();
    assert_eq!(stored.validated.accepted, 1);
    assert_eq!(stored.validated.rejected.total(), 1);
    assert_eq!(stored.validated.mendings.count(Mending::ReplacedCharacters), 1);
}

#[test]
fn a_late_null_changes_nothing() {
    assert_eq!(free().bodies(r#"{"events":[{"a":1}],"context":null,"batch_id":null}"#), [json!({"a":1})]);
}

#[test]
fn what_is_no_batch_is_refused_with_the_place() {
    for (body, offset) in [
        ("", 0),
        ("{", 1),
        ("[", 1),
        (r#"{"events":[{"a":1}"#, 18),
        (r#"{"events":[{"a":1}]"#, 19),
        (r#"[{"a":1}]x"#, 9),
        (r#"[{"a":1},]"#, 9),
        (r#"[{"a":1,}]"#, 8),
        (r#"[{"a":01}]"#, 7),
        (r#"[{"a":'b'}]"#, 6),
        (r#"[{"a":"b}]"#, 10),
        (r"[{a:1}]", 2),
        (r#"[{"a" 1}]"#, 6),
        ("[{\"a\":\"\u{1}\"}]", 7),
        (r#"[{"a":"\x"}]"#, 7),
        (r#"[{"a":NaN}]"#, 6),
        (r#"[{"a":+1}]"#, 6),
        (r#"[{"a":1.}]"#, 8),
        (r#"[{"a":tru}]"#, 6),
    ] {
        match free().error(body) {
            BatchError::Malformed { offset: found, .. } => assert_eq!(found, offset, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    for body in ["5", "\"a\"", "null", "{}", r#"{"batch_id":"b"}"#] {
        assert_eq!(free().error(body), BatchError::NotABatch, "{body}");
    }
    for body in ["[]", r#"{"events":[]}"#] {
        assert_eq!(free().error(body), BatchError::Empty, "{body}");
    }
    assert_eq!(lines().error("\n \n"), BatchError::Empty);
    assert_eq!(free().error(b"[{\"a\":\"\xff\"}]"), BatchError::InvalidUtf8 { offset: 7 });
    let deep = format!("[{}{}]", "{\"a\":".repeat(2_000), "1".to_owned() + &"}".repeat(2_000));
    assert!(matches!(free().error(deep), BatchError::Malformed { .. }));
}

#[test]
fn an_envelope_that_is_not_as_it_must_be_is_refused() {
    for body in [
        r#"{"events":{}}"#,
        r#"{"events":null}"#,
        r#"{"events":[{}],"events":[{}]}"#,
        r#"{"event":[{}]}"#,
        r#"{"events":[{}],"batch_id":5}"#,
        r#"{"events":[{}],"batch_id":""}"#,
        r#"{"events":[{}],"batch_id":"a\n"}"#,
        r#"{"events":[{}],"context":[]}"#,
        r#"{"context":{"a":1,"A":2},"events":[{}]}"#,
    ] {
        assert!(matches!(free().error(body), BatchError::Envelope { .. }), "{body}");
    }
    let context = format!(r#"{{"context":{{"a":"{}"}},"events":[{{}}]}}"#, "x".repeat(500));
    assert_eq!(free().error(context), BatchError::ContextTooLarge { size: 508, limit: 500 });
}

#[test]
fn a_bad_line_is_a_rejected_event_and_not_a_bad_batch() {
    let stored = lines().run(b"{\"a\":1}\n{\"a\":\n[1]\n\"x\"\n{\"a\":\"\xff\"}\n{} {}\n{\"b\":2}\n").unwrap();
    assert_eq!(stored.validated.accepted, 2);
    let found: Vec<_> = stored.validated.rejected.listed().iter().map(|r| (r.index, r.reason)).collect();
    let expected = [
        (1, Reason::MalformedJson),
        (2, Reason::NotAnObject),
        (3, Reason::NotAnObject),
        (4, Reason::InvalidUtf8),
        (5, Reason::MalformedJson),
    ];
    assert_eq!(found, expected);
    assert_eq!(stored.rejected[0]["original"], "{\"a\":");
    assert_eq!(stored.rejected[3]["original"], "{\"a\":\"\u{fffd}\"}");
    assert_eq!(stored.rejected[3]["original_bytes"], 9);
}

// Keys.

#[test]
fn keys_are_stored_in_lower_case() {
    assert_eq!(
        free().bodies(r#"[{"Model":1,"osVersion":2,"\u0041b":3,"ÉTÉ":4,"q\"uote":5}]"#),
        [json!({"model":1,"osversion":2,"ab":3,"été":4,"q\"uote":5})]
    );
}

#[test]
fn keys_that_are_or_become_equal_reject_the_event() {
    for event in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"A":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"k":1,"K":2}"#,
        r#"{"event_id":"x","Event_ID":"y"}"#,
        r#"{"event_id":"x","event_id":5}"#,
        r#"{"event_id":5,"event_id":"x"}"#,
        r#"{"batch_id":1,"client_batch_id":2}"#,
    ] {
        assert_eq!(free().rejection(event).1, Reason::DuplicateKey, "{event}");
    }
    assert_eq!(free().rejection(r#"{"K":1,"\u212a":2}"#), (Some("k".into()), Reason::DuplicateKey), "the kelvin sign");
}

#[test]
fn a_clients_own_server_fields_are_kept_beside_them() {
    let stored = free()
        .run(r#"[{"event_time":1,"x":0,"Received_At":"y","batch_id":null,"client_time":[],"event_id":7}]"#)
        .unwrap();
    assert_eq!(
        own(stored.accepted[0].clone()),
        json!({"client_event_time":1,"x":0,"client_received_at":"y","client_batch_id":null,
               "client_client_time":[],"client_event_id":7})
    );
}

#[test]
fn a_clients_event_id_is_the_id_if_it_is_a_string() {
    let stored = free().run(r#"[{"a":1,"event_id":"mine \"é","b":2}, {"event_id":"","c":1}]"#).unwrap();
    assert_eq!(stored.accepted[0]["event_id"], "mine \"é");
    assert_eq!(own(stored.accepted[0].clone()), json!({"a":1,"b":2}));
    assert_eq!(stored.accepted[1]["client_event_id"], "");
    let long = format!(r#"[{{"event_id":"{}"}}]"#, "x".repeat(129));
    assert_eq!(free().run(long).unwrap().accepted[0]["event_id"].as_str().unwrap().len(), 32);
    let in_context = free().bodies(r#"{"context":{"event_id":"same"},"events":[{},{}]}"#);
    assert_eq!(in_context, [json!({"client_event_id":"same"}), json!({"client_event_id":"same"})]);
}

#[test]
fn members_beyond_the_limit_are_not_remembered_and_private_ones_among_them_not_kept() {
    let phone = Field { private: Some(Private::Drop), ..Field::new("phone", FieldType::Int) };
    let schema = Schema::new(vec![phone], None, None, None).unwrap();
    let many = |member: &str| vec![member; 1_000].join(",");
    for (body, kept) in [
        (format!("[{{{}}}]", many(r#""new key":5551234"#)), true),
        (format!("[{{{},\"a\":1}}]", many(r#""phone":5551234"#)), false),
        (format!("[{{{},{}}}]", many(r#""a":1"#), many(r#""Phone":5551234"#)), false),
    ] {
        let trial = Trial { limits: Limits { event_bytes: 100_000, ..LIMITS }, ..with(schema.clone()) };
        let mut validator = Validator::new(trial.limits);
        let stored = trial.run_after(&[], &mut validator, body.as_bytes()).unwrap();
        assert!(validator.event.remembered() <= LIMITS.fields + 1, "{}", validator.event.remembered());
        assert_eq!(stored.accepted.len(), 0);
        let rejected = stored.rejected[0]["original"].to_string();
        assert_eq!(rejected.contains("5551234"), kept, "{rejected}");
    }
}

#[test]
fn keys_too_many_or_too_long_reject_the_event() {
    let many: Vec<_> = (0..21).map(|n| format!("\"k{n}\":1")).collect();
    assert_eq!(free().rejection(&format!("{{{}}}", many.join(","))), (Some("k20".into()), Reason::TooManyFields));
    let (field, reason) = free().rejection(&format!("{{\"{}\":1}}", "é".repeat(64)));
    assert_eq!((field.unwrap(), reason), ("é".repeat(63), Reason::KeyTooLong));
}

/// A batch of more keys than a book holds.
fn filling() -> String {
    let event = |n: usize| {
        let members: Vec<_> = (0..20).map(|m| format!("\"filling_{}\":1", n * 20 + m)).collect();
        format!("{{{}}}", members.join(","))
    };
    format!("[{}]", (0..60).map(event).collect::<Vec<_>>().join(","))
}

/// Which worker a batch meets, and what that one has seen before, must not show in what is stored: a retry elsewhere
/// would have other identities.
#[test]
fn what_a_worker_has_seen_before_changes_nothing() {
    let after = |before: &[&str], body: &str| {
        free().run_after(before, &mut Validator::new(LIMITS), body.as_bytes()).unwrap().text
    };
    for event in [
        r#"{"event_id":"mine","a":1}"#,
        r#"{"Event_ID":"mine","a":1}"#,
        r#"{"\u0065vent_id":7,"Received_At":1,"client_time":2,"A":3}"#,
    ] {
        let body = format!(r#"{{"batch_id":"b","context":{{"A":5,"Event_Id":6}},"events":[{event}]}}"#);
        assert_eq!(after(&[&filling()], &body), after(&[], &body), "{event}");
    }
}

#[test]
fn keys_of_broken_objects_and_beyond_the_limit_are_not_learned() {
    let key = |n: usize| format!("\"filling_{n}\":1");
    let many = (0..1_500).map(key).collect::<Vec<_>>().join(",");
    let broken = format!("[{{\"a\":1e999,{many}}},{{{many}}}]");
    let mut validator = Validator::new(Limits { event_bytes: 100_000, output_bytes: 1_000_000, ..LIMITS });
    let trial = free();
    let id = trial.schema.id();
    trial.run_after(&[&broken], &mut validator, b"[{}]").unwrap();
    assert!(validator.books[&id].len() < 50, "{} keys are known", validator.books[&id].len());
}

#[test]
fn a_key_is_recognised_however_long_it_is_spelled() {
    let long = "\\u0061".repeat(43);
    let plain = "a".repeat(43);
    assert_eq!(
        free().rejection(&format!(r#"{{"{long}":1,"{plain}":2}}"#)),
        (Some(plain.clone()), Reason::DuplicateKey)
    );
    assert_eq!(
        free().rejection(&format!(r#"{{"{plain}":1,"{long}":2}}"#)),
        (Some(plain.clone()), Reason::DuplicateKey)
    );
    for (context, event) in [(&long, &plain), (&plain, &long), (&long, &long)] {
        let body = format!(r#"{{"context":{{"{context}":1}},"events":[{{"{event}":2}}]}}"#);
        assert_eq!(free().bodies(body), [json!({ plain.as_str(): 2 })]);
    }
}

// Values.

#[test]
fn unstorable_characters_are_replaced_and_counted() {
    let stored = free().run(r#"[{"a":"x\u0000","b":{"\u0000":["\ud800"]},"c":"\ud83d\ude00"}]"#).unwrap();
    assert_eq!(own(stored.accepted[0].clone()), json!({"a":"x\u{fffd}","b":{"\u{fffd}":["\u{fffd}"]},"c":"😀"}));
    assert_eq!(stored.validated.mendings.count(Mending::ReplacedCharacters), 2);
}

#[test]
fn line_breaks_between_tokens_are_left_out() {
    assert_eq!(free().bodies("[{\n\t\"a\"\r\n: [ 1,\n 2 ],\n\"B\":\"x y\"\n}\n]"), [json!({"a":[1,2],"b":"x y"})]);
}

#[test]
fn numbers_beyond_a_double_and_deep_nesting_reject_the_event() {
    for number in ["1e400", "1e-400", "-2E-324"] {
        let event = format!(r#"{{"a":[{number}]}}"#);
        assert_eq!(free().rejection(&event), (Some("a".into()), Reason::NumberOutOfRange), "{number}");
    }
    assert_eq!(free().bodies(r#"[{"a":5e-324,"b":0e-999}]"#).len(), 1);
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(free().rejection(&nested(8)), (Some("a".into()), Reason::NestedTooDeep));
    assert_eq!(free().bodies(format!("[{}]", nested(7))).len(), 1);
}

#[test]
fn events_that_are_no_objects_or_too_large_are_rejected() {
    assert_eq!(free().rejection("[1]"), (None, Reason::NotAnObject));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(2_000));
    assert_eq!(free().rejection(&large), (None, Reason::EventTooLarge));
}

// Context.

#[test]
fn the_context_is_merged_into_events_that_lack_the_key() {
    let body = r#"{"context":{"App":"x","v":2,"received_at":9},"events":[{"v":1},{"APP":null},{}]}"#;
    assert_eq!(
        free().bodies(body),
        [
            json!({"v":1,"app":"x","client_received_at":9}),
            json!({"app":null,"v":2,"client_received_at":9}),
            json!({"app":"x","v":2,"client_received_at":9}),
        ]
    );
}

#[test]
fn what_the_context_breaks_rejects_the_events_that_use_it() {
    let schema = Schema::new(vec![Field::new("n", FieldType::Int)], None, None, None).unwrap();
    let stored = with(schema).run(r#"{"context":{"n":"x"},"events":[{},{"n":1}]}"#).unwrap();
    assert_eq!(stored.validated.accepted, 1);
    let rejection = &stored.validated.rejected.listed()[0];
    assert_eq!((rejection.index, rejection.field.as_deref(), rejection.reason), (0, Some("n"), Reason::WrongType));
    assert_eq!(stored.rejected[0]["context"], r#"{"n":"x"}"#);
}

#[test]
fn keys_of_a_context_are_judged_whatever_else_is_wrong_with_it() {
    let long = "k".repeat(128);
    let many: Vec<_> = (0..20).map(|n| format!("\"k{n}\":1")).collect();
    for members in ["\"b\":1,\"b\":2", &format!("\"{long}\":1"), &many.join(",")] {
        let body = format!(r#"{{"context":{{"a":1e999,{members}}},"events":[{{"a":0}}]}}"#);
        assert!(matches!(free().error(&body), BatchError::Envelope { .. }), "{body}");
        // The limit of an event is not that of the context.
        let small = Trial { limits: Limits { event_bytes: 10, ..LIMITS }, ..free() };
        assert!(matches!(small.error(&body), BatchError::Envelope { .. }), "{body}");
    }
    let small = Trial { limits: Limits { event_bytes: 10, ..LIMITS }, ..free() };
    assert_eq!(small.bodies(r#"{"context":{"abc":"0123456789"},"events":[{}]}"#), [json!({"abc":"0123456789"})]);
}

#[test]
fn a_key_of_a_broken_context_is_overruled_too() {
    let body = r#"{"context":{"a":1e999,"b":1},"events":[{"a":0,"b":2},{"a":0}]}"#;
    assert_eq!(free().bodies(body), [json!({"a":0,"b":2}), json!({"a":0,"b":1})]);
}

// Schemas.

fn strict(unknown: UnknownFields) -> Schema {
    let fields = vec![
        Field { required: true, ..Field::new("device", FieldType::Uuid) },
        Field { on_error: OnError::Truncate, ..Field::new("model", FieldType::String { max_bytes: 4 }) },
        Field { on_error: OnError::Null, ..Field::new("price", FieldType::Decimal { precision: 5, scale: 2 }) },
        Field::new("at", FieldType::Timestamp),
    ];
    Schema::new(fields, Some(unknown), Some("at"), None).unwrap()
}

const DEVICE: &str = "0b5f4e6c-12ab-4cde-8f01-23456789abcd";

#[test]
fn undeclared_fields_are_collected_kept_or_rejected() {
    let event = format!(r#"{{"Foo":1,"device":"{DEVICE}","bar":{{"X":2}}}}"#);
    let context = r#"{"foo":7,"zip":3}"#;
    let body = format!(r#"{{"context":{context},"events":[{event}]}}"#);
    assert_eq!(
        with(strict(UnknownFields::Collect)).bodies(&body),
        [json!({"device":DEVICE,"extra":{"foo":1,"bar":{"X":2},"zip":3}})]
    );
    assert_eq!(
        with(strict(UnknownFields::Keep)).bodies(&body),
        [json!({"foo":1,"device":DEVICE,"bar":{"X":2},"zip":3})]
    );
    assert_eq!(with(strict(UnknownFields::Reject)).rejection(&event), (Some("foo".into()), Reason::UnknownField));
    let own_extra = format!(r#"[{{"device":"{DEVICE}","extra":{{"a":1}}}}]"#);
    assert_eq!(
        with(strict(UnknownFields::Collect)).bodies(own_extra),
        [json!({"device":DEVICE,"extra":{"extra":{"a":1}}})]
    );
    let wide = |len: usize| format!(r#"{{"foo":"{}"}}"#, "x".repeat(len - 10));
    let limits = Limits { event_bytes: 100_000, context_bytes: 100_000, output_bytes: 1_000_000, ..LIMITS };
    let collect = || Trial { limits, ..with(strict(UnknownFields::Collect)) };
    for (len, accepted) in [(65_535, 1), (65_536, 0)] {
        let inside = wide(len);
        let event = inside.replace('{', &format!(r#"{{"device":"{DEVICE}","#));
        let stored = collect().run(format!("[{event}]")).unwrap();
        assert_eq!(stored.validated.accepted, accepted, "{len}");
        let in_context = collect().run(format!(r#"{{"context":{inside},"events":[{{"device":"{DEVICE}"}}]}}"#));
        assert_eq!(in_context.unwrap().validated.accepted, accepted, "{len}");
    }
    let event = wide(65_536).replace('{', &format!(r#"{{"device":"{DEVICE}","#));
    assert_eq!(collect().rejection(&event), (Some("extra".into()), Reason::TooLong));
    let none = format!(r#"[{{"device":"{DEVICE}"}}]"#);
    assert_eq!(with(strict(UnknownFields::Collect)).bodies(none), [json!({"device":DEVICE})]);
}

#[test]
fn declared_values_are_checked_mended_and_made_canonical() {
    let upper = DEVICE.to_uppercase();
    let body = format!(r#"[{{"Device":"{upper}","model":"Galaxy","price":"much","at":1795338000}}]"#);
    let stored = with(strict(UnknownFields::Collect)).run(body).unwrap();
    assert_eq!(
        own(stored.accepted[0].clone()),
        json!({"device":DEVICE,"model":"Gala","price":null,"at":"2026-11-22T09:00:00.000Z"})
    );
    assert_eq!(stored.accepted[0]["event_time"], "2026-11-22T09:00:00.000Z");
    let mendings = stored.validated.mendings;
    assert_eq!((mendings.count(Mending::Truncated), mendings.count(Mending::Nulled)), (1, 1));
}

#[test]
fn required_fields_may_come_with_the_context() {
    let reject = |event| with(strict(UnknownFields::Collect)).rejection(event);
    assert_eq!(reject("{}"), (Some("device".into()), Reason::Missing));
    assert_eq!(reject(r#"{"device":null}"#), (Some("device".into()), Reason::Missing));
    let body = format!(r#"{{"events":[{{}}],"context":{{"device":"{DEVICE}"}}}}"#);
    assert_eq!(with(strict(UnknownFields::Collect)).bodies(body), [json!({"device":DEVICE})]);
}

// Times.

fn timed(sent_at: SentAt) -> Trial {
    Trial { sent_at, ..with(Schema::new(vec![], None, Some("ts"), None).unwrap()) }
}

fn times(stored: &Stored) -> (&str, Option<&str>) {
    let line = &stored.accepted[0];
    (line["event_time"].as_str().unwrap(), line.get("client_time").map(|time| time.as_str().unwrap()))
}

#[test]
fn the_event_time_is_the_time_field_or_else_the_received_time() {
    let stored = timed(SentAt::Absent).run(r#"[{"ts":"2026-11-22T17:59:00+09:00"}]"#).unwrap();
    assert_eq!(times(&stored), ("2026-11-22T08:59:00.000Z", None));
    for event in ["{}", r#"{"ts":null}"#] {
        let stored = timed(SentAt::Absent).run(format!("[{event}]")).unwrap();
        assert_eq!(times(&stored), ("2026-11-22T09:00:00.123Z", None));
    }
    let stored = timed(SentAt::Absent).run(r#"{"context":{"ts":1795337000},"events":[{}]}"#).unwrap();
    assert_eq!(times(&stored), ("2026-11-22T08:43:20.000Z", None));
    assert_eq!(timed(SentAt::Absent).rejection(r#"{"ts":"yesterday"}"#), (Some("ts".into()), Reason::WrongType));
}

#[test]
fn a_wrong_clock_is_corrected_by_the_header_both_ways() {
    for (sent, claimed, corrected) in [
        ("2016-11-22T09:00:00.123Z", "2016-11-22T08:59:00Z", "2026-11-22T08:59:00.000Z"),
        ("2036-11-22T09:00:00.123Z", "2036-11-22T08:59:00Z", "2026-11-22T08:59:00.000Z"),
    ] {
        let trial = timed(SentAt::from(Millis::parse(sent)));
        let stored = trial.run(format!(r#"[{{"ts":"{claimed}"}}]"#)).unwrap();
        assert_eq!(times(&stored), (corrected, Some(&*claimed.replace('Z', ".000Z"))));
    }
}

#[test]
fn a_body_sent_at_corrects_only_a_clock_that_is_ahead() {
    let run = |sent: &str| {
        timed(SentAt::Absent).run(format!(r#"{{"sent_at":{sent},"events":[{{"ts":1795337940}}]}}"#)).unwrap()
    };
    assert_eq!(times(&run("\"2026-11-22T08:59:30Z\"")), ("2026-11-22T08:59:00.000Z", None), "an old attempt");
    assert_eq!(times(&run("1795338060.123")), ("2026-11-22T08:58:00.000Z", Some("2026-11-22T08:59:00.000Z")));
    let bad = run("\"soon\"");
    assert_eq!(times(&bad), ("2026-11-22T08:59:00.000Z", None));
    assert_eq!(bad.validated.mendings.count(Mending::IgnoredSentAt), 1);
    let trial = timed(SentAt::At(Millis::new(RECEIVED).unwrap()));
    let stored = trial.run(r#"{"sent_at":"2030-01-01T00:00:00Z","events":[{"ts":1795337940}]}"#).unwrap();
    assert_eq!(times(&stored), ("2026-11-22T08:59:00.000Z", None), "the header stands before the body");
}

#[test]
fn times_far_off_are_clamped_and_the_clients_is_kept() {
    for (claimed, clamped, client) in [
        ("0", "2026-10-23T09:00:00.123Z", "1970-01-01T00:00:00.000Z"),
        ("\"2100-01-01T00:00:00Z\"", "2026-11-22T09:05:00.123Z", "2100-01-01T00:00:00.000Z"),
    ] {
        let stored = timed(SentAt::Absent).run(format!(r#"[{{"ts":{claimed}}}]"#)).unwrap();
        assert_eq!(times(&stored), (clamped, Some(client)));
        assert_eq!(stored.validated.mendings.count(Mending::ClampedTime), 1);
        let time = Millis::parse(clamped).unwrap();
        assert_eq!(stored.validated.event_times, Some((time, time)));
    }
}

// Identities.

#[test]
fn a_retry_has_the_same_ids_and_anything_else_has_others() {
    let ids = |trial: Trial, body: &str| -> Vec<String> {
        trial.run(body).unwrap().accepted.iter().map(|line| line["event_id"].as_str().unwrap().to_owned()).collect()
    };
    let body = r#"{"batch_id":"b","events":[{"a":1},{"a":1}]}"#;
    let first = ids(free(), body);
    assert_ne!(first[0], first[1]);
    assert_eq!(first, ids(Trial { nonce: 2, ..free() }, body));
    assert_eq!(first, ids(free(), r#"{"events":[{"a":1},{"a":1}],"context":{"c":2},"batch_id":"b"}"#));
    let key = Some(BatchId::new("b").unwrap());
    assert_eq!(first, ids(Trial { idempotency_key: key, ..free() }, r#"[{"a":1},{"a":1}]"#));
    assert_ne!(first, ids(Trial { key_name: "web", ..free() }, body));
    assert_ne!(first, ids(free(), &body.replace("\"b\"", "\"c\"")));
    assert_ne!(first[0], ids(free(), &body.replace("1}", "2}"))[0]);
    let random = r#"[{"a":1}]"#;
    assert_ne!(ids(Trial { nonce: 2, ..free() }, random), ids(Trial { nonce: 3, ..free() }, random));
}

#[test]
fn the_body_id_stands_before_the_idempotency_key() {
    let trial = Trial { idempotency_key: BatchId::new("header").ok(), ..free() };
    let stored = trial.run(r#"{"events":[{}],"batch_id":"body"}"#).unwrap();
    assert_eq!(stored.accepted[0]["batch_id"], "body");
    assert_eq!(stored.validated.batch_id, BatchId::new("body").ok());
}

// Private fields.

fn private_schema() -> Schema {
    let fields = vec![
        Field { private: Some(Private::Drop), ..Field::new("phone", FieldType::Int) },
        Field { private: Some(Private::Hash), ..Field::new("device", FieldType::String { max_bytes: 50 }) },
        Field::new("n", FieldType::Int),
    ];
    Schema::new(fields, Some(UnknownFields::Keep), None, Some(Arc::new(PrivacyKey::new(b"0123456789abcdef")))).unwrap()
}

fn dropping() -> Schema {
    let phone = Field { private: Some(Private::Drop), ..Field::new("phone", FieldType::Int) };
    Schema::new(vec![phone], Some(UnknownFields::Keep), None, None).unwrap()
}

#[test]
fn private_values_stand_in_no_line_and_no_id() {
    let run = |phone: &str, device: &str| {
        let body = format!(
            r#"{{"batch_id":"b","context":{{"Phone":{phone}}},"events":[{{"n":1,"phone":{phone},"device":"{device}"}},
                {{"phone":{phone},"n":"no","device":"{device}"}},{{"device":"{device}","n":true}}]}}"#
        );
        with(private_schema()).run(body).unwrap()
    };
    let (first, second) = (run("5551234", "secret"), run("5559876", "other"));
    for stored in [&first, &second] {
        let all = format!("{}{:?}", stored.text, stored.rejected);
        for secret in ["5551234", "5559876", "secret", "other"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }
    let ids = |stored: &Stored| -> Vec<Value> {
        stored.accepted.iter().chain(&stored.rejected).map(|line| line["event_id"].clone()).collect()
    };
    assert_eq!(ids(&first), ids(&second), "an id must not tell a private value");
    assert_eq!(first.accepted[0]["device"].as_str().unwrap().len(), 64);
    assert_ne!(first.accepted[0]["device"], second.accepted[0]["device"]);
    assert_eq!(first.rejected[0]["original"], r#"{"n":"no"}"#);
    assert_eq!(first.rejected[1]["original"], r#"{"n":true}"#);
    assert_eq!(first.rejected[1]["context"], "{}");
}

#[test]
fn what_cannot_be_read_is_withheld_where_fields_are_private() {
    let trial = Trial { format: Format::Lines, ..with(private_schema()) };
    let stored = trial.run("{\"phone\":5551234\n[{\"phone\":5551234}]").unwrap();
    for line in &stored.rejected {
        assert_eq!(line["original"], Value::Null);
        assert!(!line.to_string().contains("5551234"));
    }
    let many: Vec<_> = (0..21).map(|n| format!("\"k{n}\":1")).collect();
    let event = format!(r#"{{{},"phone":5551234,"PHONE":5551234}}"#, many.join(","));
    let stored = with(private_schema()).run(format!("[{event}]")).unwrap();
    assert!(!stored.rejected[0].to_string().contains("5551234"), "beyond the limit of fields too");
}

// Rejected lines.

#[test]
fn a_rejected_event_is_stored_with_the_reason_and_its_own_bytes() {
    let event = "{\"a\":1, \"A\" : \"\\u0000\t|\"}".replace('\t', "\\t");
    let stored = free().run(format!(r#"{{"batch_id":"b","context":{{"c":1}},"events":[{{}},{event}]}}"#)).unwrap();
    let mut line = stored.rejected[0].clone();
    assert_eq!(line["event_id"].as_str().unwrap().len(), 32);
    line.as_object_mut().unwrap().remove("event_id");
    assert_eq!(
        line,
        json!({"event_time":"2026-11-22T09:00:00.123Z","received_at":"2026-11-22T09:00:00.123Z","batch_id":"b",
               "stream":"heard","index":1,"field":"a","reason":"duplicate_key","original":event,
               "original_bytes":event.len(),"context":"{\"c\":1}"})
    );
}

#[test]
fn an_overlong_original_is_cut_to_a_warehouse_string() {
    let event = format!("{{\"a\":\"{}\"}}", "é".repeat(40_000));
    let trial = Trial { limits: Limits { output_bytes: 1_000_000, ..LIMITS }, ..free() };
    let stored = trial.run(format!("[{event}]")).unwrap();
    assert_eq!(stored.rejected[0]["original"].as_str().unwrap().len(), 65_534);
    assert_eq!(stored.rejected[0]["original_bytes"], event.len());
}

// Limits.

#[test]
fn too_many_events_and_too_much_output_refuse_the_batch() {
    let many = format!("[{}]", vec!["{}"; 101].join(","));
    assert_eq!(free().error(many), BatchError::TooManyEvents { limit: 100 });
    let limits = Limits { output_bytes: 1_000, ..LIMITS };
    let context = "x".repeat(300);
    let body = format!(r#"{{"context":{{"a":"{context}"}},"events":[{{}},{{}},{{}}]}}"#);
    assert_eq!(Trial { limits, ..free() }.error(&body), BatchError::OutputTooLarge { limit: 1_000 });
    let rejected = body.replace("{},{},{}", "1,2,3");
    assert_eq!(Trial { limits, ..free() }.error(&rejected), BatchError::OutputTooLarge { limit: 1_000 });
}

/// Grants so many bytes.
struct Grants {
    left: usize,
}

impl Room for Grants {
    fn grant(&mut self, bytes: usize) -> bool {
        self.left.checked_sub(bytes).map(|left| self.left = left).is_some()
    }

    fn give_back(&mut self, bytes: usize) {
        self.left += bytes;
    }
}

/// Validates `body` into buffers of which that of the accepted lines has `prepared` bytes of capacity, with `grant` bytes
/// beside.
fn with_grant(
    schema: Schema,
    limits: Limits,
    body: &[u8],
    (prepared, grant): (usize, usize),
) -> Result<Validated, BatchError> {
    let stream = Stream {
        name: StreamName::new("heard").unwrap(),
        ack: Ack::Spooled,
        priority: Priority::Normal,
        load: Load::None,
        schema,
    };
    let batch = Batch {
        body,
        format: if body.starts_with(b"{") || body.starts_with(b"[") { Format::Json } else { Format::Lines },
        stream: &stream,
        key_name: "k",
        idempotency_key: None,
        sent_at: SentAt::Absent,
        received_at: Millis::new(RECEIVED).unwrap(),
        nonce: 0,
    };
    let (mut accepted, mut rejected) = (Vec::with_capacity(prepared), Vec::new());
    let mut room = Grants { left: grant };
    let mut output = Output { accepted: &mut accepted, rejected: &mut rejected, room: &mut room };
    let result = Validator::new(limits).validate(&batch, &mut output);
    let held = accepted.capacity() + rejected.capacity();
    assert!(held + room.left <= prepared + grant, "{held} bytes are held of {prepared} and {grant}");
    result
}

#[test]
fn no_buffer_grows_beyond_what_was_granted() {
    let event = format!(r#"{{"device":"{DEVICE}","price":5,"X":"\u0000","more":[1, 2],"at":1795338000}}"#);
    let body = format!(r#"{{"context":{{"ctx":1}},"events":[{}]}}"#, vec![format!("{event},{{}}"); 30].join(","));
    let mut refused = 0;
    for grant in (0..60_000).step_by(500) {
        match with_grant(strict(UnknownFields::Collect), LIMITS, body.as_bytes(), (grant % 10_000, grant)) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, BatchError::NoRoom);
                refused += 1;
            }
        }
    }
    assert!(refused > 10 && refused < 120, "{refused} refused");
}

/// The buffer of the accepted lines is made before anything is known of the events.
#[test]
fn what_one_book_was_given_and_does_not_need_the_other_gets() {
    let limits = Limits { events: 1_000, output_bytes: 300_000, ..LIMITS };
    let good = r#"{"good":1}"#;
    for events in [vec!["7"; 700], [vec![good; 20], vec!["7"; 650]].concat(), [good, "7"].repeat(350)] {
        let body = format!("[{}]", events.join(","));
        let stored = Trial { limits, ..free() }.run(&body).unwrap();
        let written = stored.text.len() + stored.rejected.iter().map(|line| line.to_string().len() + 1).sum::<usize>();
        // Beside the lines, one is believed to be longer than it turns out to be.
        let granted = with_grant(Schema::free_form(), limits, body.as_bytes(), (written - 20_000, 21_000));
        assert_eq!(granted.map(|validated| validated.accepted + validated.rejected.total()), Ok(events.len() as u32));
    }
}

#[test]
fn no_more_is_asked_for_than_a_rejected_line_takes() {
    let limits = Limits { event_bytes: 1_000, output_bytes: 1_000_000, ..LIMITS };
    let ask = |body: &[u8], grant| with_grant(dropping(), limits, body, (0, grant)).is_ok();
    let large = format!("[{{\"a\":\"{}\",\"phone\":5}}]", "x".repeat(1_000_000));
    assert!(ask(large.as_bytes(), 66_000 + 1_000));
    assert!(!ask(large.as_bytes(), 60_000));
    // Each byte that is no UTF-8 becomes three.
    let lines = b"\xff".repeat(1_000_000);
    let granted = with_grant(Schema::free_form(), limits, &lines, (0, 66_000 + 1_000));
    assert_eq!(granted.map(|validated| validated.rejected.total()), Ok(1));
}

#[test]
fn so_many_rejections_are_listed_and_all_are_counted() {
    let limits = Limits { events: 3_000, output_bytes: 10_000_000, ..LIMITS };
    let stored = Trial { limits, ..free() }.run(format!("[{}]", vec!["7"; 2_500].join(","))).unwrap();
    let rejections = &stored.validated.rejected;
    assert_eq!((rejections.total(), rejections.listed().len(), stored.rejected.len()), (2_500, 1_000, 2_500));
    assert_eq!(rejections.listed()[999].index, 999);
}

// Anything.

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(\\PC|[\u{0}-\u{1f}\"\\\\|]){0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z_é]{0,3}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A member of an object whose key is one of few, spelled in one of many ways, or has a length near a limit.
fn member() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "k", "\u{212a}", "é", "phone", "device", "extra", "q\"uote"]),
        4 => prop::sample::select(crate::schema::SERVER_FIELDS.to_vec()),
    ];
    let name = prop_oneof![
        3 => name.clone().prop_map(str::to_owned),
        1 => name.prop_map(|name| format!("client_{name}")),
        1 => prop::sample::select(vec![42_usize, 43, 120, 121, 127, 128]).prop_map(|len| "x".repeat(len)),
    ];
    let spelled = (name, any::<u8>(), 0_u8..4).prop_map(|(name, mask, way)| {
        let spell = |(place, character): (usize, char)| -> String {
            let odd = mask >> (place % 8) & 1 == 1;
            match way {
                1 if odd => character.to_uppercase().collect(),
                2 if odd => format!("\\u{:04x}", character as u32),
                3 => format!("\\u{:04X}", character as u32),
                _ if character == '"' => "\\\"".to_owned(),
                _ => character.to_string(),
            }
        };
        name.chars().enumerate().map(spell).collect::<String>()
    });
    let value = prop::sample::select(vec!["1", "\"v\"", "null", "1e999", "[[]]"]);
    (spelled, value).prop_map(|(key, value)| format!("\"{key}\":{value}"))
}

fn any_schema() -> impl Strategy<Value = u8> {
    0_u8..4
}

fn schema_number(number: u8) -> Schema {
    match number {
        0 => Schema::free_form(),
        1 => strict(UnknownFields::Collect),
        2 => private_schema(),
        _ => Schema::new(vec![], None, Some("a"), None).unwrap(),
    }
}

proptest! {
    /// Whatever is sent, each event is stored as a line that loads, in one book or the other.
    #[test]
    fn every_event_becomes_one_line_that_loads(
        events in prop::collection::vec(any_json(), 1..6),
        context in prop::option::of(prop::collection::hash_map("[a-zA-Z]{1,2}", any_json(), 0..3)),
        schema in any_schema(),
        pretty in any::<bool>(),
    ) {
        let count = events.len();
        let body = match context {
            Some(context) => json!({"events": events, "context": context}),
            None => Value::from(events),
        };
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        match with(schema_number(schema)).run(text) {
            // `run` has read every line by the rules of COPY.
            Ok(stored) => prop_assert_eq!(stored.accepted.len() + stored.rejected.len(), count),
            Err(error) => prop_assert!(matches!(error, BatchError::Envelope { .. } | BatchError::ContextTooLarge { .. }), "{:?}", error),
        }
    }

    /// However keys are spelled, in an event and its context: what is accepted is stored under unique lower-case keys
    /// (`run` reads every line by the rules of COPY), and a worker whose book of keys is full stores the same.
    #[test]
    fn no_spelling_of_keys_stores_one_twice(
        context in prop::collection::vec(member(), 0..5),
        events in prop::collection::vec(prop::collection::vec(member(), 0..5), 1..4),
        schema in any_schema(),
    ) {
        let object = |members: &[String]| format!("{{{}}}", members.join(","));
        let events: Vec<_> = events.iter().map(|event| object(event)).collect();
        let body = format!(r#"{{"batch_id":"b","context":{},"events":[{}]}}"#, object(&context), events.join(","));
        let limits = Limits { context_bytes: 10_000, event_bytes: 10_000, ..LIMITS };
        let run = |before: &[&str]| {
            with(schema_number(schema)).run_after(before, &mut Validator::new(limits), body.as_bytes())
        };
        match (run(&[]), run(&[&filling()])) {
            (Ok(fresh), Ok(full)) => prop_assert_eq!((fresh.text, fresh.rejected), (full.text, full.rejected)),
            (fresh, full) => prop_assert_eq!(fresh.err(), full.err()),
        }
    }

    #[test]
    fn a_free_form_keeps_every_value(event in prop::collection::hash_map("[a-z]{1,3}", any_json(), 0..6)) {
        let event = Value::Object(event.into_iter().collect());
        let text = event.to_string();
        prop_assume!(!text.contains("\\u0000"));
        let stored = free().run(format!("[{text}]")).unwrap();
        // The reader's last digit of a long double may differ from the writer's: both sides are read once.
        let event: Value = serde_json::from_str(&text).unwrap();
        if stored.accepted.len() == 1 {
            prop_assert_eq!(own(stored.accepted[0].clone()), event);
        }
    }

    #[test]
    fn no_body_makes_validation_panic(body in prop::collection::vec(any::<u8>(), 0..200), ndjson in any::<bool>()) {
        let format = if ndjson { Format::Lines } else { Format::Json };
        let _ = Trial { format, ..with(strict(UnknownFields::Collect)) }.run(body);
    }

    /// Bodies that are nearly right reach further than random bytes do.
    #[test]
    fn no_broken_batch_makes_validation_panic(
        place in any::<prop::sample::Index>(),
        piece in "[\\[\\]{}:,\"\\\\u0-9dé\n]{0,3}",
        schema in any_schema(),
        ndjson in any::<bool>(),
    ) {
        let body = format!("{{\"context\":{{\"phone\":5,\"A\":\"\\ud83d\\ude00\"}},\"events\":[{{\"device\":\"{DEVICE}\",\"phone\":1}},{{\"a\":[1e5,null]}}]}}");
        let mut chars: Vec<char> = body.chars().collect();
        let place = place.index(chars.len());
        chars.splice(place..=place, piece.chars());
        let format = if ndjson { Format::Lines } else { Format::Json };
        let _ = Trial { format, ..with(schema_number(schema)) }.run(chars.into_iter().collect::<String>());
    }
}
