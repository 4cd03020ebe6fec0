//! The same load against a bare axum handler and against logweir with everything on, side by side.
//!
//! `cargo bench --bench end_to_end [-- OPTIONS]`
//!
//! Each server runs in a process of its own on the first core; the load comes from this process on the last one, over
//! loopback. "bare" is an axum handler that reads the body and answers. logweir runs with the embedded default:
//! validation, fdatasync before every 200, gzip objects written to files. What is compared is the server's CPU time,
//! everything included, for each event.
//!
//! Rounds of the servers alternate, so that a noisy minute meets both; the table shows medians and the spread.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a benchmark prints its table, reads what its own servers say, and stops at what it did not expect"
)]

#[path = "support/arrivals.rs"]
#[allow(dead_code, reason = "each benchmark lets batches come in its own way")]
mod arrivals;
#[path = "support/events.rs"]
mod events;
#[path = "support/load.rs"]
#[allow(dead_code, reason = "each benchmark prints some of what is measured")]
mod load;
#[path = "support/servers.rs"]
#[allow(dead_code, reason = "each benchmark prints some of what is measured")]
mod servers;

use std::{io::Write, process::ExitCode, time::Duration};

use load::{Load, Measured};
use servers::{Kind, Target};

/// What to measure.
struct Options {
    connections: usize,
    batches: Vec<usize>,
    seconds: f64,
    rounds: usize,
    json: Option<std::path::PathBuf>,
}

const USAGE: &str =
    "options: --connections N (256)  --events A,B,… a batch (1,10,100)  --seconds S a round (5)  --rounds N (3)
         --json FILE for the figures";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == servers::BARE) {
        return servers::bare();
    }
    if let Some(options) = options(&arguments) {
        return run(&options);
    }
    eprintln!("{USAGE}");
    ExitCode::from(64)
}

fn options(arguments: &[String]) -> Option<Options> {
    let mut options = Options { connections: 256, batches: vec![1, 10, 100], seconds: 5.0, rounds: 3, json: None };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--connections" => options.connections = value.parse().ok()?,
            "--events" => {
                options.batches = value.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
            }
            "--seconds" => options.seconds = value.parse().ok()?,
            "--rounds" => options.rounds = value.parse().ok()?,
            "--json" => options.json = Some(value.into()),
            _ => return None,
        }
    }
    Some(options)
}

/// One server's rounds at one batch size.
struct Series {
    kind: Kind,
    events: usize,
    rounds: Vec<Measured>,
}

fn run(options: &Options) -> ExitCode {
    let cores = servers::cores();
    println!(
        "server on core {}, load on core {}; {} connections, {} rounds of {} s each; events of 467 bytes",
        cores.0, cores.1, options.connections, options.rounds, options.seconds
    );
    let mut all = Vec::new();
    for &events in &options.batches {
        let mut pair = [Kind::Bare, Kind::Logweir].map(|kind| Series { kind, events, rounds: Vec::new() });
        for _ in 0..options.rounds {
            for series in &mut pair {
                let target = Target::start(series.kind, cores.0, &[]);
                let load = Load {
                    address: target.address,
                    connections: options.connections,
                    events,
                    stream: "heard",
                    warm_up: Duration::from_secs_f64(options.seconds / 4.0),
                    time: Duration::from_secs_f64(options.seconds),
                };
                let measured = load.run(cores.1, &target);
                series.rounds.push(measured);
                target.stop();
            }
        }
        print_pair(&pair);
        all.extend(pair);
    }
    if let Some(path) = &options.json {
        let figures: Vec<_> = all.iter().flat_map(Series::figures).collect();
        let text = serde_json::to_vec_pretty(&figures).expect("figures are JSON");
        std::fs::File::create(path).and_then(|mut file| file.write_all(&text)).expect("the figures' file is writable");
    }
    ExitCode::SUCCESS
}

impl Series {
    fn median(&self, figure: impl Fn(&Measured) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn spread(&self, figure: impl Fn(&Measured) -> f64) -> f64 {
        let values: Vec<f64> = self.rounds.iter().map(figure).collect();
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        (most - least) / 2.0
    }

    fn micros_an_event(&self) -> f64 {
        self.median(|round| round.cpu.as_secs_f64() * 1e6 / (round.requests * self.events as u64) as f64)
    }

    fn figures(&self) -> impl Iterator<Item = serde_json::Value> {
        self.rounds.iter().map(|round| {
            serde_json::json!({
                "server": self.kind.name(), "events_a_batch": self.events, "requests": round.requests,
                "refused": round.refused, "seconds": round.time.as_secs_f64(), "cpu_seconds": round.cpu.as_secs_f64(),
                "p50_ms": round.percentile(0.5), "p99_ms": round.percentile(0.99),
                "peak_bytes": round.peak_bytes, "metrics": round.metrics,
            })
        })
    }
}

fn print_pair(pair: &[Series; 2]) {
    println!("\n{} events a batch", pair[0].events);
    println!(
        "  {:<8} {:>11} {:>11} {:>20} {:>9} {:>9} {:>9} {:>8}",
        "server", "requests/s", "events/s", "CPU µs an event", "p50 ms", "p99 ms", "peak MB", "refused"
    );
    for series in pair {
        let rate = series.median(|round| round.requests as f64 / round.time.as_secs_f64());
        let spread =
            series.spread(|round| round.cpu.as_secs_f64() * 1e6 / (round.requests * series.events as u64) as f64);
        println!(
            "  {:<8} {:>11.0} {:>11.0} {:>12.2} ± {:>5.2} {:>9.2} {:>9.2} {:>9.1} {:>8}",
            series.kind.name(),
            rate,
            rate * series.events as f64,
            series.micros_an_event(),
            spread,
            series.median(|round| round.percentile(0.5)),
            series.median(|round| round.percentile(0.99)),
            series.median(|round| round.peak_bytes as f64 / 1e6),
            series.rounds.iter().map(|round| round.refused).sum::<u64>(),
        );
    }
    let [bare, logweir] = pair;
    let rate = |series: &Series| series.median(|round| round.requests as f64 / round.time.as_secs_f64());
    println!(
        "  logweir ÷ bare: {:.2} of the CPU an event, {:.2} of the requests/s",
        logweir.micros_an_event() / bare.micros_an_event(),
        rate(logweir) / rate(bare),
    );
    let last = logweir.rounds.last();
    if let Some(metrics) = last.map(|round| &round.metrics) {
        let mean = |name: &str| {
            let of = |suffix: &str| metrics.get(&format!("{name}{suffix}")).copied().unwrap_or(0.0);
            of("_sum") / of("_count").max(1.0)
        };
        println!(
            "  a sync takes {:.0} µs and makes {:.1} batches durable, {:.0} bytes",
            mean("logweir_sync_seconds") * 1e6,
            mean("logweir_group_batches"),
            mean("logweir_group_bytes"),
        );
    }
}
