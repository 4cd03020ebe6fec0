//! The flood: what a refusal costs, and how much is still taken when ten times as much comes as can be.
//!
//! `cargo bench --bench flood [-- OPTIONS]`
//!
//! The server runs on the first core, the load on the last, over loopback. Four parts, each compared with what was
//! measured beside it in the same run:
//!
//! - *price*: the server's CPU for a request that is accepted, muted, or refused at the gate, against a bare axum handler
//!   that reads the same body;
//! - *CPU is the limit*: accepted and refused requests together, against what the price of the refusals leaves;
//! - *the durable path is the limit*: the spool is slowed down to a twentieth of bare's requests a second, so that this
//!   machine can offer ten times of it; goodput, latencies and memory at 0.5 to 10 times;
//! - *recovery*: five times the capacity for 30 s from devices of which a third ignores Retry-After, then 0.7 times.

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
#[path = "support/price.rs"]
mod price;
#[path = "support/rig.rs"]
mod rig;
#[path = "support/servers.rs"]
#[allow(dead_code, reason = "each benchmark prints some of what is measured")]
mod servers;

use std::process::{Command, ExitCode, Stdio};

use load::Measured;
use price::{Price, micros, muting, slowed};
use rig::Rig;
use serde_json::Value;
use servers::{Kind, Target};

const USAGE: &str = "options: --part price|cpu|durable|recovery (all)  --seconds S a round (5)  --connections N (256)";
/// What one of these events is stored as, in bytes.
const STORED_BYTES: f64 = 640.0;
/// The part of bare's requests a second that the slowed spool takes.
const SLOWED: f64 = 1.0 / 20.0;
/// How many connections the open loop may use: those of accepted requests wait for a slow disk.
const OPEN_LOOP_CONNECTIONS: &str = "8192";

struct Options {
    part: Option<String>,
    seconds: f64,
    connections: usize,
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
    let rig = Rig::new(options.connections, options.seconds);
    println!("server on core {}, load on core {}; events of 467 bytes", rig.server, rig.load);
    let bench = Bench { options, rig };
    for (name, part) in [
        ("price", Bench::price as fn(&Bench)),
        ("cpu", Bench::cpu),
        ("durable", Bench::durable),
        ("recovery", Bench::recovery),
    ] {
        if bench.options.part.as_ref().is_none_or(|only| only == name) {
            part(&bench);
        }
    }
    ExitCode::SUCCESS
}

fn options(arguments: &[String]) -> Option<Options> {
    let mut options = Options { part: None, seconds: 5.0, connections: 256 };
    let mut arguments = arguments.iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--part" => options.part = Some(value.clone()),
            "--seconds" => options.seconds = value.parse().ok()?,
            "--connections" => options.connections = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

struct Bench {
    options: Options,
    rig: Rig,
}

/// Requests a second that were answered as wanted.
fn rate(requests: u64, measured: &Measured) -> f64 {
    requests as f64 / measured.time.as_secs_f64()
}

impl Bench {
    fn price(&self) {
        println!("\nprice: the server's CPU a request, in µs ({} connections)", self.options.connections);
        println!(
            "  {:>14} {:>9} {:>9} {:>9} {:>9} {:>13} {:>17} {:>17}",
            "events a batch", "bare", "accepted", "muted", "gate", "muted ÷ bare", "gate ÷ bare", "gate ÷ accepted"
        );
        for events in [1, 10, 100, 300] {
            let Price { bare, accepted, muted, gate } = Price::measure(&self.rig, events);
            println!(
                "  {events:>14} {bare:>9.2} {accepted:>9.2} {muted:>9.2} {gate:>9.2} {:>13.2} {:>17.2} {:>17.2}",
                muted / bare,
                gate / bare,
                gate / accepted
            );
        }
        println!(
            "  bodies of more than 64 KiB (300 events) end the connection of a direct client, and it connects anew"
        );
    }

    /// Half of the connections send what is accepted, half what is muted, and the core is busy all the time.
    fn cpu(&self) {
        println!("\nthe CPU is the limit: goodput against what the price of the refusals leaves");
        for events in [1, 10] {
            let accepted = self.rig.measure(Kind::Logweir, &muting(), "heard", events);
            let muted = self.rig.measure(Kind::Logweir, &muting(), "muted", events);
            let target = Target::start(Kind::Logweir, self.rig.server, &muting());
            let [one, other] = std::thread::scope(|scope| {
                ["heard", "muted"]
                    .map(|stream| {
                        let target = &target;
                        scope.spawn(move || self.rig.closed_loop(target, stream, events))
                    })
                    .map(|load| load.join().expect("the load ends"))
            });
            target.stop();
            let price = [micros(accepted.cpu, accepted.requests), micros(muted.cpu, muted.refused)];
            // Both loads share a core, so that the end of each is seen late: what was answered belongs to the time that was
            // asked for, and the CPU to the time that it was measured over.
            let a_second = |count: u64| count as f64 / self.options.seconds;
            let (taken, refused) = (a_second(one.requests), a_second(other.refused));
            let busy = one.cpu.as_secs_f64() / one.time.as_secs_f64();
            let left = (busy * 1e6 - refused * price[1]) / price[0];
            println!(
                "  {events:>3} events: {:>7.0} accepted/s beside {refused:>7.0} refused/s; alone {:>7.0}/s; {:.2} of what the \
                 price leaves",
                taken,
                rate(accepted.requests, &accepted),
                taken / left
            );
        }
    }

    /// A twentieth of what bare makes, in requests a second of one event each.
    fn slowed_rate(&self) -> f64 {
        let bare = self.rig.measure(Kind::Bare, &[], "heard", 1);
        rate(bare.requests, &bare) * SLOWED
    }

    fn durable(&self) {
        let capacity = self.slowed_rate();
        println!("\nthe durable path is the limit: slowed to {capacity:.0} batches/s of one event");
        println!(
            "  {:>6} {:>10} {:>10} {:>10} {:>9} {:>9} {:>14} {:>14} {:>9} {:>9}",
            "times",
            "offered/s",
            "sent/s",
            "goodput/s",
            "of peak",
            "refused",
            "p99 accepted s",
            "p99 refused ms",
            "peak MB",
            "ceiling"
        );
        let mut most = 0.0_f64;
        for times in [0.5, 1.0, 2.0, 5.0, 10.0] {
            let target = Target::start(Kind::Logweir, self.rig.server, &slowed(capacity * STORED_BYTES));
            let seconds = self.options.seconds * 4.0;
            let report = self.rehearse(&target, &["--profile", "steady", "--behave", "1"], capacity * times, seconds);
            let totals = &report["totals"];
            let number = |value: &Value| value.as_f64().unwrap_or(0.0);
            let lasted = number(&report["setup"]["lasted"]);
            let refused: f64 = totals["refused"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(_, count)| number(count))
                .sum::<f64>()
                .max(0.0);
            // The first seconds fill the backlog.
            let steady = report["seconds"].as_array().map_or(&[][..], Vec::as_slice);
            let steady = &steady[steady.len() / 4..];
            let goodput = steady.iter().map(|second| number(&second["accepted"])).sum::<f64>() / steady.len() as f64;
            most = most.max(goodput);
            let ceiling = target.metrics()["logweir_memory_ceiling_bytes"];
            println!(
                "  {times:>6} {:>10.0} {:>10.0} {goodput:>10.0} {:>8.0}% {refused:>9} {:>14.2} {:>14.1} {:>9.1} {:>9.1}",
                (number(&totals["new"]) + number(&totals["returns"])) / lasted,
                number(&totals["sent"]) / lasted,
                100.0 * goodput / most,
                number(&report["latency"]["accepted"]["p99"]),
                number(&report["latency"]["refused"]["p99"]) * 1e3,
                target.peak_bytes() as f64 / 1e6,
                ceiling / 1e6
            );
            target.stop();
        }
    }

    fn recovery(&self) {
        let capacity = self.slowed_rate() / 2.0;
        println!(
            "\nrecovery: 5 times {capacity:.0} batches/s for 30 s, a third of the devices ignores Retry-After, then 0.7 times"
        );
        let target = Target::start(Kind::Logweir, self.rig.server, &slowed(capacity * STORED_BYTES));
        let report = self.rehearse(&target, &["--profile", "retry-storm"], capacity * 5.0, 0.0);
        target.stop();
        println!("  no refusals any more {} s after the flood", report["recovery"]);
        println!("  let in at the first return: {}", report["first_returns"]);
        println!("  totals: {}", report["totals"]);
    }

    /// Plays a profile from the load's core, in a process of its own: its report.
    fn rehearse(&self, target: &Target, arguments: &[&str], peak: f64, seconds: f64) -> Value {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the report");
        let report = dir.path().join("report.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_logweir"));
        command
            .args(["rehearse", &format!("http://{}", target.address), "--events", "1"])
            .args(["--metrics", &format!("http://{}/metrics", target.admin.expect("logweir has an admin port"))])
            .args(["--peak", &format!("{peak:.0}"), "--connections", OPEN_LOOP_CONNECTIONS, "--stream", "heard"])
            .args(arguments)
            .arg("--json")
            .arg(&report)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if seconds > 0.0 {
            command.args(["--duration", &format!("{seconds:.0}s")]);
        }
        let core = self.rig.load;
        let status = std::thread::scope(|scope| {
            let play = scope.spawn(|| {
                servers::pin(core);
                command.status().expect("the rehearsal starts")
            });
            play.join().expect("the rehearsal ends")
        });
        assert!(status.success(), "the rehearsal ends with {status}");
        serde_json::from_slice(&std::fs::read(report).expect("it wrote its report")).expect("a JSON report")
    }
}
