//! What each stage of a batch's path costs by itself, on one core.
//!
//! `cargo bench --bench stages` takes two to three minutes; `cargo bench --bench stages -- gzip` has the stages whose name
//! contains that. criterion shows each stage's throughput and how far it differs from the run before, and leaves its
//! figures below target/criterion; at the end there is a table of all stages, with the best sample of each, so that a busy
//! machine disturbs it least. Throughputs are those of what is not compressed: bodies, or lines.
//!
//! Validating and encoding are one stage: the lines are written in the pass that validates. What is allocated for a batch
//! is part of it.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "a benchmark prints its table and stops at what it did not expect"
)]

#[path = "support/access_log.rs"]
mod access_log;
#[path = "support/events.rs"]
mod events;
#[path = "support/stages.rs"]
mod stages;

use std::{
    hint::black_box,
    io::{Read, Write},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use logweir::{
    admission,
    batch::{Book, InstanceId, Millis, SegmentId, StreamName},
    schema::Schema,
    sink::{Codec, Compression, FIRST_PART_BYTES, ObjectBody, ObjectKey},
};
use stages::{Admission, Coding, Decoding, Validation};

/// How many different events are worked on, in however many batches.
const EVENTS: usize = 1_000;
/// How much is compressed at a time, in bytes.
const LINES_BYTES: usize = 4 << 20;

fn main() {
    let mut bench = Bench::default();
    validate(&mut bench);
    frame(&mut bench);
    gzip(&mut bench);
    decode(&mut bench);
    key(&mut bench);
    admit(&mut bench);
    bench.criterion.final_summary();
    bench.print();
}

/// criterion, and a table of the best samples.
struct Bench {
    criterion: Criterion,
    rows: Vec<Row>,
}

struct Row {
    stage: String,
    /// The best sample, in nanoseconds an event (or a request, or a key).
    nanos: f64,
    /// Of what is not compressed, in a sample's time.
    bytes: f64,
    ratio: Option<f64>,
}

/// What a run of a stage works on.
#[derive(Clone, Copy)]
struct Load {
    events: usize,
    /// Of what is not compressed; 0 where it is not bytes that are worked on.
    bytes: usize,
}

impl Default for Bench {
    fn default() -> Self {
        let criterion = Criterion::default()
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .sample_size(20)
            .configure_from_args();
        Self { criterion, rows: Vec::new() }
    }
}

impl Bench {
    /// Measures `work` on what `prepare` makes for each run of it, which is not measured. What it makes is freed later.
    fn stage<T, R>(
        &mut self,
        (group, name): (&str, &str),
        load: Load,
        mut prepare: impl FnMut() -> T,
        mut work: impl FnMut(T) -> R,
    ) {
        let mut best = f64::MAX;
        let mut stages = self.criterion.benchmark_group(group);
        let throughput = match load.bytes {
            0 => Throughput::Elements(load.events as u64),
            bytes => Throughput::BytesDecimal(bytes as u64),
        };
        stages.throughput(throughput);
        stages.bench_function(name, |bencher| {
            bencher.iter_custom(|runs| {
                let mut taken = Duration::ZERO;
                for _ in 0..runs {
                    let prepared = prepare();
                    let began = Instant::now();
                    let made = black_box(work(prepared));
                    taken += began.elapsed();
                    drop(made);
                }
                best = best.min(taken.as_secs_f64() / runs as f64);
                taken
            });
        });
        stages.finish();
        if best < f64::MAX {
            let nanos = best * 1e9 / load.events as f64;
            let stage = format!("{group}/{name}");
            self.rows.push(Row { stage, nanos, bytes: load.bytes as f64 / load.events as f64, ratio: None });
        }
    }

    /// The ratio of what the last stage has made, if that is the one called so.
    fn ratio(&mut self, stage: &str, ratio: f64) {
        if let Some(row) = self.rows.last_mut().filter(|row| row.stage == stage) {
            row.ratio = Some(ratio);
        }
    }

    fn print(&self) {
        println!("\n{:<40} {:>12} {:>10} {:>8}", "stage, best sample", "ns an event", "MB/s", "ratio");
        for Row { stage, nanos, bytes, ratio } in &self.rows {
            let rate = if *bytes > 0.0 { format!("{:.0}", bytes / nanos * 1e3) } else { "-".into() };
            let ratio = ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
            println!("{stage:<40} {nanos:>12.0} {rate:>10} {ratio:>8}");
        }
    }
}

/// `EVENTS` events in batches of `a_batch`, and what they come to.
fn bodies(a_batch: usize) -> (Vec<Vec<u8>>, Load) {
    let bodies = stages::bodies(EVENTS / a_batch, a_batch);
    let bytes = bodies.iter().map(Vec::len).sum();
    (bodies, Load { events: EVENTS, bytes })
}

fn validate(bench: &mut Bench) {
    for a_batch in [1, 10, 100] {
        let (bodies, load) = bodies(a_batch);
        for (name, schema) in [("free form", Schema::free_form()), ("declared", stages::declared())] {
            let mut validation = Validation::new(schema);
            let work = |()| {
                for body in &bodies {
                    black_box(validation.write(body));
                }
            };
            bench.stage(("validate", &format!("{name}, {a_batch} a batch")), load, || (), work);
        }
    }
}

fn frame(bench: &mut Bench) {
    for a_batch in [1, 10, 100] {
        let (bodies, load) = bodies(a_batch);
        let mut validation = Validation::new(Schema::free_form());
        let mut write = || bodies.iter().map(|body| validation.write(body)).collect::<Vec<_>>();
        let bytes = write().into_iter().map(|lines| lines.frame().payload().len()).sum();
        let load = Load { bytes, ..load };
        let work = |written: Vec<stages::Written>| written.into_iter().map(stages::Written::frame).collect::<Vec<_>>();
        bench.stage(("frame", &format!("{a_batch} a batch")), load, write, work);
    }
}

/// The choices that there are, and those that were not made, side by side.
fn gzip(bench: &mut Bench) {
    const STORED_BYTES: usize = 640;
    let batches = LINES_BYTES / STORED_BYTES;
    let logs = [
        ("one a batch", stages::stored_lines(batches, 1)),
        ("ten a batch", stages::stored_lines(batches / 10, 10)),
        ("Apache", access_log::combined(LINES_BYTES / 230)),
    ];
    for (log, lines) in &logs {
        let load = Load { events: lines.split(|byte| *byte == b'\n').count() - 1, bytes: lines.len() };
        for (codec, level) in [(Codec::Gzip, 1), (Codec::Gzip, 6), (Codec::Zstd, 1), (Codec::Zstd, 3), (Codec::Zstd, 9)]
        {
            let name = format!("{} {level}, {log}", codec.as_str());
            let mut len = 0;
            let object = |lines| {
                let bytes = object(lines, Compression { codec, level });
                len = bytes.len();
                bytes
            };
            bench.stage(("gzip", &name), load, || lines.clone(), object);
            bench.ratio(&format!("gzip/{name}"), lines.len() as f64 / len as f64);
        }
        for level in [1, 2] {
            let name = format!("zlib-rs {level}, {log}");
            let mut len = 0;
            let member = |()| {
                let bytes = zlib(lines, level);
                len = bytes.len();
                bytes
            };
            bench.stage(("gzip", &name), load, || (), member);
            bench.ratio(&format!("gzip/{name}"), lines.len() as f64 / len as f64);
        }
    }
    for (log, lines) in &logs {
        match gnu_gzip(lines) {
            Some(len) => println!("GNU gzip -1, {log}: ratio {:.2}", lines.len() as f64 / len as f64),
            None => println!("GNU gzip -1, {log}: left out, it is not installed"),
        }
    }
}

/// The object that a sink makes of `lines`; level 1 of gzip is our own encoder.
fn object(lines: Vec<u8>, compression: Compression) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut body = ObjectBody::of_text(lines, compression);
    let mut bytes = Vec::new();
    while let Some(part) = runtime.block_on(body.next_part(FIRST_PART_BYTES)).expect("it is compressed") {
        bytes.extend_from_slice(&part.bytes);
    }
    bytes
}

fn zlib(lines: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(lines).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// How long the member of `gzip -1` is, if that is installed.
fn gnu_gzip(lines: &[u8]) -> Option<usize> {
    let mut gzip = Command::new("gzip").args(["-1", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let (mut stdin, mut stdout) = (gzip.stdin.take()?, gzip.stdout.take()?);
    let len = std::thread::scope(|threads| {
        threads.spawn(move || stdin.write_all(lines).expect("gzip reads everything"));
        let mut piece = vec![0; 64 * 1024];
        let mut len = 0;
        loop {
            match stdout.read(&mut piece).expect("gzip can be read") {
                0 => return len,
                read => len += read,
            }
        }
    });
    gzip.wait().ok()?.success().then_some(len)
}

fn decode(bench: &mut Bench) {
    for a_batch in [1, 10, 100] {
        let (bodies, load) = bodies(a_batch);
        for (name, coding) in [("gzip", Coding::Gzip), ("zstd", Coding::Zstd)] {
            let encoded: Vec<_> = bodies.iter().map(|body| coding.encode(body)).collect();
            let mut decoding = Decoding::new();
            let work = |()| {
                for body in &encoded {
                    black_box(decoding.decode(coding, body));
                }
            };
            let name = format!("{name}, {a_batch} a batch");
            bench.stage(("decode", &name), load, || (), work);
            let len: usize = encoded.iter().map(Vec::len).sum();
            bench.ratio(&format!("decode/{name}"), load.bytes as f64 / len as f64);
        }
    }
}

fn key(bench: &mut Bench) {
    let stream = StreamName::new("heard").expect("a name");
    let contents: Vec<u128> = (0..10_u128).map(|number| number * 0x1234_5678_9ABC_DEF1_0305_070B).collect();
    let ids = |()| {
        for _ in 0..EVENTS / 10 {
            stages::ids(&stream, "0123456789abcdef0123456789abcdef", black_box(&contents));
        }
    };
    bench.stage(("key", "event ids, 10 a batch"), Load { events: EVENTS, bytes: 0 }, || (), ids);
    let hour = Millis::new(1_795_338_000_123).expect("an instant").hour();
    let instance = InstanceId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").expect("an id");
    let keys = |()| {
        for segment in 0..EVENTS as u64 {
            let who = (instance, SegmentId(segment));
            black_box(ObjectKey::new("logs/", &stream, Book::Accepted, hour, who, Codec::Gzip).to_string());
        }
    };
    bench.stage(("key", "object keys"), Load { events: EVENTS, bytes: 0 }, || (), keys);
}

/// What the gate asks of each request, before its body is read.
fn admit(bench: &mut Bench) {
    for (name, mut admission) in
        [("a request is let in", Admission::open()), ("a request is refused", Admission::full())]
    {
        let work = |()| (0..EVENTS).filter(|_| admission.ask()).count();
        bench.stage(("admit", name), Load { events: EVENTS, bytes: 0 }, || (), work);
    }
}
