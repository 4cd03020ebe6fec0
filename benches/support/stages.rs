//! The stages of a batch's path, each to be worked by itself: on one core, with neither a clock, a file nor a network.

#![allow(dead_code, reason = "one program counts instructions, the other measures times, and each asks for its own")]

// It is private in the crate.
#[path = "../../src/http/decode.rs"]
#[expect(unreachable_pub, reason = "there, its error is reached from outside")]
#[allow(unused_imports, reason = "cargo bench compiles its tests, which nothing runs there")]
mod decode;

use std::{hint::black_box, io::Write, time::Duration};

use logweir::{
    admission::{Asked, ByteBudget, FairShare, Flow, Gate, GateLimits, Moment, Reservation, Signals},
    batch::{BatchHash, Book, Frame, FrameBuilder, Millis, StreamName},
    gzip::Encoder,
    schema::{Ack, Field, FieldType, Load, Priority, Schema, Stream, UnknownFields},
    validate::{Batch, Format, Limits, Output, Room, SentAt, Validated, Validator},
};

use self::decode::{Decoders, Encoding};
use crate::events;

/// The default settings.
const LIMITS: Limits = Limits {
    events: 10_000,
    event_bytes: 65_536,
    context_bytes: 16_384,
    nesting: 32,
    fields: 500,
    output_bytes: 16 << 20,
};
/// How much of a segment a sink reads at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// What an encoded body may decode into, in bytes, and how many times its own length.
const DECODED: (usize, usize) = (16 << 20, 100);

/// The bodies of `batches` batches of `events` events.
pub(crate) fn bodies(batches: usize, events: usize) -> Vec<Vec<u8>> {
    (0..batches).map(|number| events::body(number, events)).collect()
}

/// Every field of the events, with its type.
pub(crate) fn declared() -> Schema {
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

struct Unlimited;

impl Room for Unlimited {
    fn grant(&mut self, _: usize) -> bool {
        true
    }

    fn give_back(&mut self, _: usize) {}
}

/// Bodies become lines, and lines a frame.
pub(crate) struct Validation {
    stream: Stream,
    validator: Validator,
    received_at: Millis,
}

/// The lines of a batch, to become a frame.
pub(crate) struct Written {
    lines: FrameBuilder,
    validated: Validated,
    received_at: Millis,
}

impl Validation {
    pub(crate) fn new(schema: Schema) -> Self {
        let stream = Stream {
            name: StreamName::new("heard").expect("a name"),
            ack: Ack::Spooled,
            priority: Priority::Normal,
            load: Load::None,
            schema,
        };
        let received_at = Millis::new(1_795_338_000_123).expect("an instant");
        Self { stream, validator: Validator::new(LIMITS), received_at }
    }

    /// Validates `body`: its lines are written in the same pass.
    pub(crate) fn write(&mut self, body: &[u8]) -> Written {
        let name = &self.stream.name;
        let mut accepted = FrameBuilder::new(name.clone(), Book::Accepted, body.len() * 3 / 2 + 1024);
        let mut rejected = FrameBuilder::new(name.clone(), Book::Rejected, 0);
        let batch = Batch {
            body,
            format: Format::Json,
            stream: &self.stream,
            key_name: "sdk",
            idempotency_key: None,
            sent_at: SentAt::Absent,
            received_at: self.received_at,
            nonce: 1,
        };
        let mut output = Output { accepted: accepted.lines(), rejected: rejected.lines(), room: &mut Unlimited };
        let validated = self.validator.validate(&batch, &mut output).expect("the batch is taken");
        assert!(validated.rejected.listed().is_empty());
        Written { lines: accepted, validated, received_at: self.received_at }
    }
}

impl Written {
    /// Completes the frame: its header and the checksum of its lines.
    pub(crate) fn frame(self) -> Frame {
        let received = self.received_at;
        let (first, last) = self.validated.event_times.unwrap_or((received, received));
        self.lines.finish(self.validated.accepted, received, first, last).expect("there are lines")
    }
}

/// The lines of `batches` batches of `events` events as they are stored, the batches a millisecond after each other.
pub(crate) fn stored_lines(batches: usize, events: usize) -> Vec<u8> {
    let mut validation = Validation::new(Schema::free_form());
    let mut lines = Vec::new();
    for body in bodies(batches, events) {
        lines.extend_from_slice(validation.write(&body).frame().payload());
        validation.received_at = validation.received_at.saturating_add(1);
    }
    lines
}

/// The ids of the events of batch `batch` whose bytes have the hashes `contents`, as they are stored.
pub(crate) fn ids(stream: &StreamName, batch: &str, contents: &[u128]) {
    let hash = BatchHash::new("sdk", stream, batch);
    for (index, content) in contents.iter().enumerate() {
        black_box(hash.event(index as u32, *content).hex());
    }
}

/// `lines` as one gzip member of our own encoder, appended to `out`.
pub(crate) fn gzip(lines: &[u8], out: &mut Vec<u8>) {
    let mut encoder = Encoder::new();
    for piece in lines.chunks(PIECE_BYTES) {
        encoder.write(piece, out);
    }
    encoder.finish(out);
}

/// Encoded bodies, and what decodes them.
pub(crate) struct Decoding {
    decoders: Decoders,
    budget: Reservation,
}

/// How a body is encoded.
#[derive(Clone, Copy)]
pub(crate) enum Coding {
    /// As zlib does by default.
    Gzip,
    /// As zstd does by default.
    Zstd,
}

impl Coding {
    pub(crate) fn encode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(body).expect("memory takes everything");
                encoder.finish().expect("memory takes everything")
            }
            Self::Zstd => zstd::encode_all(body, 0).expect("memory takes everything"),
        }
    }
}

impl Decoding {
    pub(crate) fn new() -> Self {
        let budget = ByteBudget::new(usize::MAX).reserve(0).expect("there is no limit");
        Self { decoders: Decoders::new(), budget }
    }

    pub(crate) fn decode(&mut self, coding: Coding, body: &[u8]) -> Vec<u8> {
        let encoding = match coding {
            Coding::Gzip => Encoding::Gzip,
            Coding::Zstd => Encoding::Zstd,
        };
        let decoded = self.decoders.decode(encoding, body, DECODED, &mut self.budget).expect("the body is sound");
        self.budget.shrink_to(0);
        decoded
    }
}

/// Requests before the gate, as a flood comes: one in 20 µs, from a thousand devices with one key.
pub(crate) struct Admission {
    gate: Gate,
    fair: FairShare,
    /// What is on its way to the disk.
    held: Option<Reservation>,
    requests: u64,
}

impl Admission {
    /// A gate that lets everybody in.
    pub(crate) fn open() -> Self {
        let limits = GateLimits {
            budget: 64 << 20,
            disk_quota: 10 << 30,
            target: Duration::from_secs(2),
            capacity_floor: 1 << 30,
            retry_after_cap: Duration::from_mins(5),
        };
        Self { gate: Gate::new(limits), fair: FairShare::default(), held: None, requests: 0 }
    }

    /// A gate that refuses everybody: so much of the budget is in use that only streams of high priority would be let in,
    /// and who takes more than a fair share not even then.
    pub(crate) fn full() -> Self {
        let open = Self::open();
        let held = open.gate.budget().reserve(open.gate.limits().budget / 100 * 95).expect("nothing else holds any");
        Self { held: Some(held), ..open }
    }

    /// Whether the next request is let in. What it holds is given back at once.
    pub(crate) fn ask(&mut self) -> bool {
        self.requests += 1;
        let now = Moment::from_nanos(self.requests * 20_000);
        // The same row of numbers every time, as even as chance.
        let chance = (self.requests as f64 * 0.618_034).fract();
        let flow = Flow { release: 1, device: Some(self.requests % 1_000) };
        let asked = Asked { reserve: 4_700, bytes: 4_700, priority: Priority::Normal, flow, quota: None };
        black_box(self.gate.admit(&mut self.fair, &asked, Signals::default(), now, chance)).is_ok()
    }
}
