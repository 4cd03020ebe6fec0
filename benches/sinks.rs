//! Into Firehose: many lines a record against one event a record, side by side.
//!
//! `cargo bench --bench sinks [-- OPTIONS]`
//!
//! **Draining.** A sealed spool of stored lines (an SDK's events of 467 bytes, with the server's fields) is followed by the
//! driver of line sinks and delivered to a Firehose on loopback, which runs in a process of its own and keeps nothing but
//! counts. Figures are of everything that this takes: reading, checking and dealing out lines, base64, JSON, signing,
//! HTTP without TLS. Rounds of the packings alternate, so that a noisy minute meets both. What the records cost is what
//! Firehose bills, each record rounded up to 5 KiB, at the listed price for us-east-1 up to 500 TB a month
//! (<https://aws.amazon.com/firehose/pricing/>, `--price` for another). Calls cost nothing.
//!
//! **Memory.** One call with as many bytes as it takes, by itself: by how much the process grows meanwhile at the most.
//!
//! **Delay.** Lines are put into a live spool at a steady rate, each with the time at which it was handed to the spool; the
//! Firehose, now in this process, notes when a call with it has been read.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a benchmark prints its table, and stops at what it did not expect"
)]

#[path = "support/events.rs"]
mod events;
#[path = "../tests/common/firehose_server.rs"]
mod firehose_server;
#[path = "../tests/common/live_spool.rs"]
mod live_spool;
#[path = "support/sinks.rs"]
mod support;

use std::{
    io::Write,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use firehose_server::FirehoseServer;
use live_spool::LiveSpool;
use logweir::{
    batch::Book,
    sink::{FirehoseSink, LineDriver, LineSink, Packing, Parcel},
    spool::{Follower, Terms},
};
use support::{Firehose, Lines, SINK, cpu, line_settings, sink};

const USAGE: &str = "options: --events N to drain (1000000)  --rounds N (3)  --concurrency N calls at a time (4)
         --rate N events a second (5000)  --seconds S at this rate (20)  --linger-ms N (200)
         --price DOLLARS a GB (0.029)  --json FILE for the figures";

/// What to measure.
pub(crate) struct Options {
    events: usize,
    rounds: usize,
    concurrency: usize,
    rate: usize,
    seconds: f64,
    linger: Duration,
    price: f64,
    json: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == support::SERVER) {
        return support::serve();
    }
    let Some(options) = options(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let figures = [memory(), drain(&options), delay(&options)].concat();
    if let Some(path) = &options.json {
        let text = serde_json::to_vec_pretty(&figures).expect("figures are JSON");
        std::fs::File::create(path).and_then(|mut file| file.write_all(&text)).expect("the figures' file is writable");
    }
    ExitCode::SUCCESS
}

fn options(arguments: &[String]) -> Option<Options> {
    let mut options = Options {
        events: 1_000_000,
        rounds: 3,
        concurrency: 4,
        rate: 5_000,
        seconds: 20.0,
        linger: Duration::from_millis(200),
        price: 0.029,
        json: None,
    };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--events" => options.events = value.parse().ok()?,
            "--rounds" => options.rounds = value.parse().ok()?,
            "--concurrency" => options.concurrency = value.parse().ok()?,
            "--rate" => options.rate = value.parse().ok()?,
            "--seconds" => options.seconds = value.parse().ok()?,
            "--linger-ms" => options.linger = Duration::from_millis(value.parse().ok()?),
            "--price" => options.price = value.parse().ok()?,
            "--json" => options.json = Some(value.into()),
            _ => return None,
        }
    }
    let sensible = options.events > 0 && options.rounds > 0 && options.rate > 0;
    sensible.then_some(options)
}

fn name(packing: Packing) -> &'static str {
    match packing {
        Packing::Lines => "lines",
        Packing::Single => "single",
    }
}

/// What one full call of packed lines takes.
fn memory() -> Vec<serde_json::Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let firehose = Firehose::start();
    let sink = sink(firehose.endpoint(), Packing::Lines);
    let deliver = |lines: String| {
        let parcel = Parcel::new(support::stream(), Book::Accepted, lines);
        let before = support::resident("VmRSS");
        support::forget_peak();
        let outcome = runtime.block_on(sink.deliver(&parcel));
        assert!(outcome.left.is_empty(), "it is taken");
        (parcel.bytes(), support::resident("VmHWM").saturating_sub(before))
    };
    // The client makes its connection, and whatever else it makes once.
    deliver("{}\n".into());
    let limits = sink.limits();
    let (lines, grown) = deliver(Lines::new().at_most(limits.lines, limits.bytes));
    firehose.stop();
    let (total, most) = (lines + grown, FirehoseSink::CALL_MEMORY_BYTES);
    println!("memory of a full call: {total} bytes, of which {lines} of lines; computed at the most: {most}\n");
    vec![serde_json::json!({"measured": "memory", "line_bytes": lines, "grown_bytes": grown, "most_bytes": most})]
}

/// What a round of draining came to.
struct Round {
    seconds: f64,
    cpu_seconds: f64,
    totals: firehose_server::Totals,
}

fn drain(options: &Options) -> Vec<serde_json::Value> {
    println!("draining {} events, {} calls at a time, {} rounds", options.events, options.concurrency, options.rounds);
    println!(
        "  {:<8} {:>10} {:>18} {:>13} {:>11} {:>12} {:>11}",
        "packing", "events/s", "CPU µs an event", "records/M ev", "calls/M ev", "billed GB/M", "$/M events"
    );
    let packings = [Packing::Lines, Packing::Single];
    let mut rounds = packings.map(|packing| (packing, Vec::new()));
    for _ in 0..options.rounds {
        for (packing, rounds) in &mut rounds {
            rounds.push(drain_once(options, *packing));
        }
    }
    let mut figures = Vec::new();
    for (packing, rounds) in &rounds {
        let median = |figure: &dyn Fn(&Round) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            (values[values.len() / 2], (values[values.len() - 1] - values[0]) / 2.0)
        };
        let events = options.events as f64;
        let (rate, _) = median(&|round| events / round.seconds);
        let (cpu, spread) = median(&|round| round.cpu_seconds * 1e6 / events);
        let (records, _) = median(&|round| round.totals.records as f64 * 1e6 / events);
        let (calls, _) = median(&|round| round.totals.calls as f64 * 1e6 / events);
        let (billed, _) = median(&|round| round.totals.billed_bytes as f64 * 1e6 / events);
        let (bytes, _) = median(&|round| round.totals.bytes as f64 * 1e6 / events);
        // A GB of AWS's bills is 2^30 bytes.
        let gigabytes = billed / f64::from(1 << 30);
        let cost = gigabytes * options.price;
        println!(
            "  {:<8} {rate:>10.0} {cpu:>10.2} ± {spread:>5.2} {records:>13.0} {calls:>11.1} {gigabytes:>12.3} {cost:>11.4}",
            name(*packing),
        );
        figures.push(serde_json::json!({
            "measured": "drain", "packing": name(*packing), "events": options.events, "events_per_second": rate,
            "cpu_micros_per_event": cpu, "records_per_million": records, "calls_per_million": calls,
            "bytes_per_million": bytes, "billed_bytes_per_million": billed, "dollars_per_million": cost,
        }));
    }
    figures
}

fn drain_once(options: &Options, packing: Packing) -> Round {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the spool");
    let mut spool = LiveSpool::open(dir.path(), 128 << 20);
    let lines = Lines::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut durable = Vec::new();
        for text in lines.batches(options.events) {
            durable.push(spool.put(&support::stream(), Book::Accepted, text).await);
            // Bounded, as the spool's queue is.
            if durable.len() == 32 {
                for told in durable.drain(..) {
                    told.await.expect("it is durable");
                }
            }
        }
    });
    spool.close();
    let firehose = Firehose::start();
    let driver = driver(&spool, firehose.endpoint(), packing, options);
    let (began, used) = (Instant::now(), cpu());
    runtime.block_on(driver.run());
    let (seconds, cpu_seconds) = (began.elapsed().as_secs_f64(), cpu().saturating_sub(used).as_secs_f64());
    let totals = firehose.stop();
    assert_eq!(totals.lines, options.events as u64, "every event has arrived once");
    Round { seconds, cpu_seconds, totals }
}

fn driver(spool: &LiveSpool, endpoint: String, packing: Packing, options: &Options) -> LineDriver {
    let follower = Follower::new(spool.shelf.consumer(SINK, Terms::REQUIRED));
    spool.shelf.all_joined();
    let settings = line_settings(spool.instance, options.concurrency, options.linger);
    LineDriver::new(settings, Arc::new(sink(endpoint, packing)), follower, None, &spool.metrics)
}

/// How many events are put at a time at a steady rate.
const BATCH_EVENTS: usize = 10;

fn delay(options: &Options) -> Vec<serde_json::Value> {
    println!("\n{} events a second for {} s, lingering {:?}", options.rate, options.seconds, options.linger);
    println!("  {:<8} {:>9} {:>9} {:>9} {:>13}", "packing", "p50 ms", "p99 ms", "most ms", "records/M ev");
    let mut figures = Vec::new();
    for packing in [Packing::Lines, Packing::Single] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the spool");
        let mut spool = LiveSpool::open(dir.path(), 128 << 20);
        let server = FirehoseServer::start([]);
        let driver = driver(&spool, server.endpoint(), packing, options);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let running = runtime.spawn(driver.run());
        let start = Instant::now();
        let handed = runtime.block_on(put_steadily(&spool, options));
        spool.close();
        runtime.block_on(running).expect("the driver ends");
        let mut delays = Vec::new();
        let (mut records, mut events) = (0, 0);
        for call in server.calls() {
            for (record, _) in &call.records {
                records += 1;
                for line in support::numbers(record) {
                    events += 1;
                    delays.push((call.at - start).saturating_sub(handed[line / BATCH_EVENTS]));
                }
            }
        }
        delays.sort_unstable();
        assert_eq!(events, handed.len() * BATCH_EVENTS, "every event has arrived once");
        let millis = |share: f64| {
            let place = ((delays.len() as f64 * share) as usize).min(delays.len() - 1);
            delays[place].as_secs_f64() * 1e3
        };
        let per_million = f64::from(records) * 1e6 / events as f64;
        let (p50, p99, most) = (millis(0.5), millis(0.99), millis(1.0));
        println!("  {:<8} {p50:>9.1} {p99:>9.1} {most:>9.1} {per_million:>13.0}", name(packing));
        figures.push(serde_json::json!({
            "measured": "delay", "packing": name(packing), "events": events, "events_per_second": options.rate,
            "p50_ms": p50, "p99_ms": p99, "most_ms": most, "records_per_million": per_million,
        }));
    }
    figures
}

/// Puts numbered events: when each batch of them was handed over, since the beginning.
async fn put_steadily(spool: &LiveSpool, options: &Options) -> Vec<Duration> {
    let (lines, start) = (Lines::new(), Instant::now());
    let batches = (options.rate as f64 * options.seconds / BATCH_EVENTS as f64).ceil() as usize;
    let pause = Duration::from_secs_f64(BATCH_EVENTS as f64 / options.rate as f64);
    let mut handed = Vec::with_capacity(batches);
    for batch in 0..batches {
        tokio::time::sleep_until((start + pause * batch as u32).into()).await;
        let text = lines.numbered(batch * BATCH_EVENTS..(batch + 1) * BATCH_EVENTS);
        handed.push(start.elapsed());
        drop(spool.put(&support::stream(), Book::Accepted, text).await);
    }
    handed
}
