//! What a second sink costs the first: the rate at which batches are taken, and how far the objects lag, with Firehose
//! healthy, dead, hung, failing and throttling, and without it.
//!
//! `cargo bench --bench isolation [-- OPTIONS]`
//!
//! The server runs on the first core with a directory and Firehose as sinks, the load and the Firehose on the last, over
//! loopback. Rounds of the states alternate, so that a noisy minute meets all of them; the ratios are to the rounds with a
//! healthy Firehose. Delivering costs the server's core CPU too: what a healthy sink takes of it, a dead one leaves.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a benchmark prints its table, and stops at what it did not expect"
)]

#[path = "support/arrivals.rs"]
#[allow(dead_code, reason = "each benchmark lets batches come in its own way")]
mod arrivals;
#[path = "support/events.rs"]
mod events;
#[path = "../tests/common/firehose_server.rs"]
#[allow(clippy::unwrap_used, reason = "what tests and benchmarks share fails by panicking")]
mod firehose_server;
#[path = "support/load.rs"]
#[allow(dead_code, reason = "each benchmark prints some of what is measured")]
mod load;
#[path = "support/servers.rs"]
#[allow(dead_code, reason = "each benchmark prints some of what is measured")]
mod servers;

use std::{process::ExitCode, time::Duration};

use firehose_server::{Fault, FirehoseServer};
use load::{Load, Measured};
use servers::{Kind, Target};

const USAGE: &str = "options: --seconds S a round (5)  --rounds N (3)  --connections N (64)  --events N a batch (10)";

struct Options {
    seconds: f64,
    rounds: usize,
    connections: usize,
    events: usize,
}

/// How Firehose does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    Healthy,
    Dead,
    Hung,
    Failing,
    Throttling,
}

const STATES: [(State, &str); 6] = [
    (State::Absent, "none"),
    (State::Healthy, "healthy"),
    (State::Dead, "dead"),
    (State::Hung, "hung"),
    (State::Failing, "failing"),
    (State::Throttling, "throttling"),
];

/// A round: what was taken, and how long the directory lagged when it ended.
struct Round {
    measured: Measured,
    lag_seconds: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == servers::BARE) {
        return servers::bare();
    }
    let Some(options) = options(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let mut rounds: Vec<Vec<Round>> = STATES.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (of_state, (state, _)) in rounds.iter_mut().zip(STATES) {
            of_state.push(round(&options, state));
        }
    }
    print(&options, &rounds);
    ExitCode::SUCCESS
}

fn options(arguments: &[String]) -> Option<Options> {
    let mut options = Options { seconds: 5.0, rounds: 3, connections: 64, events: 10 };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--seconds" => options.seconds = value.parse().ok()?,
            "--rounds" => options.rounds = value.parse().ok().filter(|rounds| *rounds > 0)?,
            "--connections" => options.connections = value.parse().ok()?,
            "--events" => options.events = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

fn round(options: &Options, state: State) -> Round {
    let (server_core, load_core) = servers::cores();
    let firehose = std::thread::scope(|scope| {
        let start = scope.spawn(|| {
            servers::pin(load_core);
            FirehoseServer::start_counting()
        });
        start.join().expect("the Firehose starts")
    });
    match state {
        State::Absent | State::Healthy => {}
        State::Dead => firehose.refuse_connections(),
        State::Hung => firehose.fault_always(Fault::Hang),
        State::Failing => firehose.fault_always(Fault::Bare(500)),
        State::Throttling => firehose.fault_always(Fault::UNAVAILABLE),
    }
    let target = Target::start(Kind::Logweir, server_core, &settings(state, &firehose.endpoint()));
    let load = Load {
        address: target.address,
        connections: options.connections,
        events: options.events,
        stream: "heard",
        warm_up: Duration::from_secs(1),
        time: Duration::from_secs_f64(options.seconds),
    };
    let measured = load.run(load_core, &target);
    // Looked at once a second by the server.
    std::thread::sleep(Duration::from_millis(1_100));
    let lag_seconds = target.labelled("logweir_sink_lag_seconds{sink=\"files\"}");
    target.stop();
    Round { measured, lag_seconds }
}

fn settings(state: State, endpoint: &str) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("LOGWEIR__SPOOL__SEAL_AFTER", "1s".to_owned()),
        ("LOGWEIR__SINKS__0__NAME", "files".to_owned()),
        ("LOGWEIR__SINKS__0__KIND", "file".to_owned()),
        ("LOGWEIR__SINKS__0__DIR", "data/objects".to_owned()),
        ("LOGWEIR__DRAIN__TIMEOUT", "5s".to_owned()),
    ];
    if state != State::Absent {
        settings.extend([
            ("LOGWEIR__SINKS__1__NAME", "stream".to_owned()),
            ("LOGWEIR__SINKS__1__KIND", "firehose".to_owned()),
            ("LOGWEIR__SINKS__1__DELIVERY_STREAM", "logweir-{stream}".to_owned()),
            ("LOGWEIR__SINKS__1__ENDPOINT", endpoint.to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIALOGWEIRBENCHES".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "no secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]);
    }
    settings
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(options: &Options, rounds: &[Vec<Round>]) {
    let of = |state: usize, value: fn(&Round) -> f64| median(rounds[state].iter().map(value).collect());
    let rate = |round: &Round| round.measured.requests as f64 / round.measured.time.as_secs_f64();
    let healthy = of(1, rate);
    println!("batches of {} events of 467 bytes, medians of {} rounds", options.events, options.rounds);
    println!(
        "{:<12}{:>12}{:>12}{:>14}{:>12}{:>12}",
        "Firehose", "batches/s", "to healthy", "CPU us/event", "lag s", "peak MB"
    );
    for (state, (_, name)) in STATES.iter().enumerate() {
        let events = options.events as f64;
        let cpu = of(state, |round| round.measured.cpu.as_secs_f64() * 1e6 / round.measured.requests as f64) / events;
        println!(
            "{name:<12}{:>12.0}{:>12.2}{cpu:>14.2}{:>12.1}{:>12.0}",
            of(state, rate),
            of(state, rate) / healthy,
            of(state, |round| round.lag_seconds),
            of(state, |round| round.measured.peak_bytes as f64 / 1e6),
        );
    }
    let refused: u64 = rounds.iter().flatten().map(|round| round.measured.refused).sum();
    println!("refused in all rounds: {refused}");
}
