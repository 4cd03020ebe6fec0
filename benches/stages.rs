//! What each stage of a batch's path costs by itself, on one core.
//!
//! `cargo bench --bench stages`: nanoseconds an event and MB/s of the stage's input, the best of several runs, so that
//! a busy machine disturbs it least.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "a benchmark prints its table and stops at what it did not expect"
)]

#[path = "support/events.rs"]
mod events;

use std::{hint::black_box, time::Instant};

use logweir::{
    batch::{Book, FrameBuilder, Millis, StreamName},
    schema::{Ack, Field, FieldType, Load, Priority, Schema, Stream, UnknownFields},
    sink::{Codec, Compression, FIRST_PART_BYTES, ObjectBody},
    validate::{Batch, Format, Limits, Output, Room, SentAt, Validator},
};

/// How many different batches are worked on in turn.
const BATCHES: usize = 200;
/// Runs of which the best counts.
const RUNS: usize = 15;

struct Unlimited;

impl Room for Unlimited {
    fn grant(&mut self, _: usize) -> bool {
        true
    }

    fn give_back(&mut self, _: usize) {}
}

fn main() {
    println!("{:<40} {:>12} {:>10}", "stage", "ns an event", "MB/s");
    for events in [1, 10, 100] {
        let bodies: Vec<Vec<u8>> = (0..BATCHES).map(|number| events::body(number, events)).collect();
        for (name, schema) in [("free form", Schema::free_form()), ("declared", declared())] {
            validate(&format!("validate, {name}, {events} a batch"), schema, &bodies, events);
        }
    }
    let lines = stored_lines();
    measure("frame checksum, 64 KiB", lines.len() / 640, lines.len(), || {
        for piece in lines.chunks(64 * 1024) {
            black_box(crc32fast::hash(piece));
        }
    });
    compressions(&lines);
}

/// The choices of a sink side by side: how long they take, and what they come to.
fn compressions(lines: &[u8]) {
    let choices = [(Codec::Gzip, 1), (Codec::Gzip, 6), (Codec::Zstd, 1), (Codec::Zstd, 3), (Codec::Zstd, 9)];
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (codec, level) in choices {
        let name = format!("{} {level}", codec.as_str());
        let mut compressed = 0;
        measure(&name, lines.len() / 640, lines.len(), || {
            let mut body = ObjectBody::of_text(lines.to_vec(), Compression { codec, level });
            compressed = 0;
            while let Some(part) = runtime.block_on(body.next_part(FIRST_PART_BYTES)).expect("it is compressed") {
                compressed += part.bytes.len();
            }
        });
        if compressed > 0 {
            println!("{:<40} {:>12.2}", format!("{name}, ratio"), lines.len() as f64 / compressed as f64);
        }
    }
}

/// Every field of the events, with its type.
fn declared() -> Schema {
    let string = |name: &str| Field::new(name, FieldType::String { max_bytes: 128 });
    let fields = vec![
        Field { required: true, ..Field::new("device_id", FieldType::Uuid) },
        string("session"),
        string("app"),
        string("app_version"),
        string("sdk"),
        string("os"),
        string("os_version"),
        string("model"),
        string("carrier"),
        Field::new("heard_at", FieldType::Timestamp),
        Field::new("sequence", FieldType::Int),
        Field::new("tone", FieldType::Int),
        string("channel"),
        string("program"),
        Field::new("confidence", FieldType::Double),
        Field::new("snr_db", FieldType::Double),
        Field::new("battery", FieldType::Double),
        string("network"),
        Field::new("foreground", FieldType::Bool),
        string("note"),
    ];
    Schema::new(fields, Some(UnknownFields::Collect), Some("heard_at"), None).expect("the schema is sound")
}

fn validate(name: &str, schema: Schema, bodies: &[Vec<u8>], events: usize) {
    let stream = Stream {
        name: StreamName::new("heard").expect("a name"),
        ack: Ack::Spooled,
        priority: Priority::Normal,
        load: Load::None,
        schema,
    };
    let limits = Limits {
        events: 10_000,
        event_bytes: 65_536,
        context_bytes: 16_384,
        nesting: 32,
        fields: 500,
        output_bytes: 16 << 20,
    };
    let mut validator = Validator::new(limits);
    let received_at = Millis::new(1_795_338_000_123).expect("an instant");
    let bytes = bodies.iter().map(Vec::len).sum();
    measure(name, bodies.len() * events, bytes, || {
        for body in bodies {
            let mut accepted = FrameBuilder::new(stream.name.clone(), Book::Accepted, body.len() * 3 / 2 + 1024);
            let mut rejected = FrameBuilder::new(stream.name.clone(), Book::Rejected, 0);
            let batch = Batch {
                body,
                format: Format::Json,
                stream: &stream,
                key_name: "sdk",
                idempotency_key: None,
                sent_at: SentAt::Absent,
                received_at,
                nonce: 1,
            };
            let mut output = Output { accepted: accepted.lines(), rejected: rejected.lines(), room: &mut Unlimited };
            let validated = validator.validate(&batch, &mut output).expect("the batch is taken");
            assert!(validated.rejected.listed().is_empty());
            black_box(accepted.finish(validated.accepted, received_at, received_at, received_at));
        }
    });
}

/// Lines as they are stored, some 16 MB.
fn stored_lines() -> Vec<u8> {
    let stream = Stream {
        name: StreamName::new("heard").expect("a name"),
        ack: Ack::Spooled,
        priority: Priority::Normal,
        load: Load::None,
        schema: Schema::free_form(),
    };
    let limits = Limits {
        events: 10_000,
        event_bytes: 65_536,
        context_bytes: 16_384,
        nesting: 32,
        fields: 500,
        output_bytes: 16 << 20,
    };
    let mut validator = Validator::new(limits);
    let (mut lines, mut rejected) = (Vec::new(), Vec::new());
    for number in 0..2_500 {
        let batch = Batch {
            body: &events::body(number, 10),
            format: Format::Json,
            stream: &stream,
            key_name: "sdk",
            idempotency_key: None,
            sent_at: SentAt::Absent,
            received_at: Millis::new(1_795_338_000_123 + number as i64).expect("an instant"),
            nonce: 1,
        };
        let mut output = Output { accepted: &mut lines, rejected: &mut rejected, room: &mut Unlimited };
        validator.validate(&batch, &mut output).expect("the batch is taken");
    }
    lines
}

/// Whether a stage was asked for: those whose name contains an argument, or all if there is none.
fn wanted(name: &str) -> bool {
    let mut filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    filters.peek().is_none() || filters.any(|filter| name.contains(&filter))
}

/// Prints what the best run of `work` on `bytes` of `events` took.
fn measure(name: &str, events: usize, bytes: usize, mut work: impl FnMut()) {
    if !wanted(name) {
        return;
    }
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let began = Instant::now();
        work();
        best = best.min(began.elapsed().as_secs_f64());
    }
    println!("{name:<40} {:>12.0} {:>10.0}", best * 1e9 / events as f64, bytes as f64 / best / 1e6);
}
