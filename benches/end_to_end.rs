//! The same load against a bare axum handler, nginx and logweir with everything on, side by side.
//!
//! `cargo bench --bench end_to_end [-- OPTIONS]`; `benches/README.md` tells how to read what it prints.
//!
//! Each server runs in processes of its own on the first core; the load comes from this process on the last one, over
//! loopback. "bare" is an axum handler that reads the body and answers. "nginx" writes it into a buffered gzip'd access log;
//! it is left out where it is not installed. logweir runs with the embedded default: validation, fdatasync before every 200,
//! gzip objects written to files. What is compared is the server's CPU time for each event, from the first request until
//! the server has ended and so stored everything; what nginx and logweir stored is read again and held against what was sent.
//!
//! Rounds of the servers alternate, so that a noisy minute meets all; the tables show medians, and half of what lies between
//! the least and the most. No figure decides the exit code.

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
#[path = "support/machine.rs"]
mod machine;
#[path = "support/proof.rs"]
mod proof;
#[path = "support/report.rs"]
mod report;
#[path = "support/servers.rs"]
#[allow(dead_code, reason = "each benchmark prints some of what is measured")]
mod servers;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use events::{Bodies, EVENT_BYTES};
use load::Load;
use machine::Machine;
use proof::Stored;
use report::{Round, Series, Table};
use servers::{Kind, Target};

/// What to measure.
struct Options {
    connections: usize,
    batches: Vec<usize>,
    seconds: f64,
    rounds: usize,
    json: Option<PathBuf>,
}

const USAGE: &str = "\
usage: cargo bench --bench end_to_end [-- OPTIONS]

  --connections N   of the load, which sends on each the next batch when the last is answered (256)
  --events A,B,…    a batch (1,10,100)
  --seconds S       of each round, behind a quarter of it to warm up (5)
  --rounds N        of each server at each batch size (3)
  --json FILE       the machine, every round and the medians";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == servers::BARE) {
        return servers::bare();
    }
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match options(&arguments) {
        Ok(options) => run(&options),
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { connections: 256, batches: vec![1, 10, 100], seconds: 5.0, rounds: 3, json: None };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next().map_or("", String::as_str);
        let count = |text: &str| text.parse().ok().filter(|count| (1..=10_000).contains(count));
        let known = match name.as_str() {
            "--connections" => count(value).map(|connections| options.connections = connections),
            "--events" => value.split(',').map(count).collect::<Option<_>>().map(|batches| options.batches = batches),
            "--seconds" => {
                let seconds = value.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
                seconds.map(|seconds| options.seconds = seconds)
            }
            "--rounds" => count(value).map(|rounds| options.rounds = rounds),
            "--json" => (!value.is_empty()).then(|| options.json = Some(value.into())),
            _ => return Err(format!("there is no option {name}")),
        };
        known.ok_or_else(|| format!("{name} cannot be {value:?}"))?;
    }
    Ok(options)
}

fn run(options: &Options) -> ExitCode {
    // Known before anything is measured.
    if let Some(error) = options.json.as_ref().and_then(|path| std::fs::write(path, "").err()) {
        eprintln!("the file for --json cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    let (machine, cores) = (Machine::this(), servers::cores());
    println!("{machine}");
    println!(
        "server on core {}, load on core {} · {} connections · {} rounds of {} s · events of {EVENT_BYTES} bytes",
        cores.0, cores.1, options.connections, options.rounds, options.seconds
    );
    if machine.load_before > 0.5 {
        println!("the machine has other work (load {}): compare ratios", machine.load_before);
    }
    if cores.0 == cores.1 {
        println!("there is one core, which the server shares with the load: compare ratios");
    }
    let mut kinds = vec![Kind::Bare, Kind::Nginx, Kind::Logweir];
    if machine.nginx.is_empty() {
        println!("nginx is not installed, and left out");
        kinds.retain(|kind| *kind != Kind::Nginx);
    }
    let mut tables = Vec::new();
    for &events in &options.batches {
        let series = |&kind| Series { kind, events, rounds: Vec::new() };
        let mut table = Table(kinds.iter().map(series).collect());
        for number in 1..=options.rounds {
            for series in &mut table.0 {
                let round = round(options, cores, series.kind, events, number == options.rounds);
                series.rounds.push(round);
            }
        }
        println!("\n{}", table.text());
        tables.push(table);
    }
    if let Some(limits) = report::limits(&tables) {
        println!("\n{limits}");
    }
    if let Some(path) = &options.json {
        let figures = serde_json::json!({
            "machine": machine,
            "setup": {
                "server_core": cores.0, "load_core": cores.1, "connections": options.connections,
                "rounds": options.rounds, "seconds": options.seconds, "event_bytes": EVENT_BYTES,
            },
            "batches": tables.iter().map(Table::figures).collect::<Vec<_>>(),
        });
        std::fs::write(path, format!("{figures:#}\n")).expect("the figures' file could be written before");
    }
    ExitCode::SUCCESS
}

/// Starts a server, measures it, ends it, and looks at what it left.
fn round(options: &Options, cores: (usize, usize), kind: Kind, events: usize, weigh: bool) -> Round {
    let target = Target::start(kind, cores.0, &[]);
    let load = Load {
        address: target.address,
        connections: options.connections,
        events,
        stream: "heard",
        warm_up: Duration::from_secs_f64(options.seconds / 4.0),
        time: Duration::from_secs_f64(options.seconds),
    };
    let measured = load.run(cores.1, &target);
    let ended = target.stop();
    assert!(ended.well, "{} ends as it is told to", kind.name());
    let stored = ended.dir.as_ref().and_then(|dir| {
        let bodies = Bodies::new(events);
        match kind {
            Kind::Bare => None,
            Kind::Nginx => Some(Stored::by_nginx(dir.path(), &bodies, &measured.taken)),
            Kind::Logweir => Some(Stored::by_logweir(dir.path(), &bodies, &measured.taken, weigh)),
        }
    });
    let whole_cpu = ended.cpu.saturating_sub(measured.cpu_before).as_secs_f64();
    Round { measured, whole_cpu, end_seconds: ended.took.as_secs_f64(), stored }
}
