//! The bounds that are kept beside the price of an event: refusals, latency, memory, workers, the start, S3.
//!
//! `cargo bench --bench bounds [-- OPTIONS]`
//!
//! The server runs on the first core, the load on the last, over loopback, with 256 connections and bodies of which no two
//! are alike; logweir with the embedded default, but for what a part says. Each part compares what is measured side by
//! side, round by round, and prints what each round gave; the table at the end has the medians, of memory the most.
//!
//! A bound that is missed is told in the table and nowhere else: a noisy minute must not fail a build.

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
mod arrivals;
#[path = "support/events.rs"]
mod events;
#[path = "bounds/figure.rs"]
mod figure;
#[path = "bounds/latency.rs"]
mod latency;
#[path = "support/load.rs"]
#[allow(dead_code, reason = "each benchmark prints some of what is measured")]
mod load;
#[path = "bounds/memory.rs"]
mod memory;
#[path = "support/price.rs"]
mod price;
#[path = "bounds/refusal.rs"]
mod refusal;
#[path = "support/rig.rs"]
mod rig;
#[path = "bounds/s3.rs"]
mod s3;
#[path = "../tests/common/s3_server.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "what tests and benchmarks share fails by panicking")]
mod s3_server;
#[path = "support/servers.rs"]
#[allow(dead_code, reason = "each benchmark prints some of what is measured")]
mod servers;
#[path = "bounds/start.rs"]
mod start;
#[path = "bounds/stored.rs"]
mod stored;
#[path = "bounds/workers.rs"]
mod workers;

use std::{path::PathBuf, process::ExitCode};

use figure::Figure;
use rig::Rig;

const USAGE: &str = "options: --part refusal|latency|memory|workers|start|s3 (all)  --seconds S a round (5)
         --rounds N (3)  --json FILE for the figures";
/// How many events a batch has where nothing else is said.
const EVENTS: usize = 10;
/// Connections of the load.
const CONNECTIONS: usize = 256;

/// What measures, by its name: given the rig, and how many rounds.
type Part = (&'static str, fn(&Rig, usize) -> Vec<Figure>);

const PARTS: [Part; 6] = [
    ("refusal", refusal::figures),
    ("latency", latency::figures),
    ("memory", memory::figures),
    ("workers", workers::figures),
    ("start", start::figures),
    ("s3", s3::figures),
];

struct Options {
    part: Option<&'static str>,
    seconds: f64,
    rounds: usize,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some(servers::BARE) => return servers::bare(),
        Some(s3::SERVER) => return s3::serve(),
        _ => {}
    }
    let Some(options) = options(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let rig = Rig::new(CONNECTIONS, options.seconds);
    println!(
        "server on core {}, load on core {}; {} rounds of {} s; events of 467 bytes",
        rig.server, rig.load, options.rounds, options.seconds
    );
    let wanted = |(name, _): &&Part| options.part.is_none_or(|part| part == *name);
    let figures: Vec<Figure> = PARTS.iter().filter(wanted).flat_map(|(_, part)| part(&rig, options.rounds)).collect();
    Figure::print_head();
    figures.iter().for_each(Figure::print);
    if let Some(path) = options.json {
        let figures: Vec<_> = figures.iter().map(Figure::json).collect();
        let text = serde_json::to_vec_pretty(&figures).expect("figures are JSON");
        std::fs::write(path, text).expect("the figures' file is writable");
    }
    ExitCode::SUCCESS
}

fn options(arguments: &[String]) -> Option<Options> {
    let mut options = Options { part: None, seconds: 5.0, rounds: 3, json: None };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--part" => options.part = Some(PARTS.iter().find(|(part, _)| part == value)?.0),
            "--seconds" => options.seconds = value.parse().ok()?,
            "--rounds" => options.rounds = value.parse().ok().filter(|rounds| *rounds > 0)?,
            "--json" => options.json = Some(value.into()),
            _ => return None,
        }
    }
    Some(options)
}
