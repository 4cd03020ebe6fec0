//! How long a batch takes to be durable at 70 % of what the server can do, on a disk whose sync takes 4 ms.
//!
//! A disk that is faster is slowed down: strace holds back the answer of each fdatasync by so much, and touches no other
//! call. It runs on the server's core. Peak is what 256 connections get that send the next batch when the last is answered; then
//! batches come by chance, 70 % as many a second, and a latency counts from when a batch came.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::{
    EVENTS,
    figure::{Figure, Of},
    load::Measured,
    rig::Rig,
    servers::{Kind, Launch, Target},
};

const LIMIT_MS: f64 = 20.0;
/// How long a sync is to take.
const SYNC_MS: f64 = 4.0;
/// The part of the peak that comes.
const SHARE: f64 = 0.7;
/// What strace stops. It stops a thread at every call until the first of these, so there are two among them that threads make
/// when they begin.
const TRACED: &str = "trace=fdatasync,set_robust_list,sigaltstack";

/// The 99th percentile in milliseconds.
pub(crate) fn figures(rig: &Rig, rounds: usize) -> Vec<Figure> {
    println!("\nlatency: {EVENTS} events a batch, open loop at 70 % of peak, a sync of {SYNC_MS} ms");
    let mut figure = Figure {
        name: "p99 at 70 % of peak with a sync of 4 ms",
        unit: "ms",
        limit: LIMIT_MS,
        rounds: Vec::new(),
        of: Of::Median,
        more: json!([]),
    };
    let own = sync_ms(&rig.measure(Kind::Logweir, &[], "heard", EVENTS));
    println!("  the disk's own sync takes {own:.2} ms");
    let inject = format!("inject=fdatasync:delay_exit={:.0}", SYNC_MS * 1e3);
    // -D: the process that is started is the server, and strace its child.
    let strace = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", TRACED, "-e", &inject];
    let under = if own < SYNC_MS { &strace[..] } else { &[] };
    if let Some(why) = cannot_run(under) {
        println!("  LEFT OUT: the disk is faster, and strace cannot slow it down: {why}");
        figure.more = json!(why);
        return vec![figure];
    }
    let mut more = Vec::new();
    for _ in 0..rounds {
        let target = slow_server(rig, under);
        let peak = rig.closed_loop(&target, "heard", EVENTS);
        target.stop();
        let peak = peak.requests as f64 / peak.time.as_secs_f64();
        let target = slow_server(rig, under);
        let measured = rig.batches(&target, "heard", EVENTS).run_at(peak * SHARE, rig.load, &target);
        target.stop();
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| measured.percentile(share));
        let rate = measured.requests as f64 / measured.time.as_secs_f64();
        let (sync, refused) = (sync_ms(&measured), measured.refused);
        println!(
            "  peak {peak:.0}/s; {rate:.0}/s answered 200, {refused} refused; p50 {p50:.1}, p99 {p99:.1}, p99.9 {p999:.1} ms; \
             a sync took {sync:.2} ms"
        );
        more.push(json!({
            "peak_per_second": peak, "offered_per_second": peak * SHARE, "answered_per_second": rate, "refused": refused,
            "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "sync_ms": sync,
        }));
        figure.rounds.push(p99);
    }
    figure.more = more.into();
    vec![figure]
}

fn slow_server(rig: &Rig, under: &[&str]) -> Target {
    Target::launch(rig.server, Launch { under, ..Launch::default() })
}

/// How long a sync took, on the average since the server's start.
fn sync_ms(measured: &Measured) -> f64 {
    let of = |suffix: &str| measured.metrics.get(&format!("logweir_sync_seconds_{suffix}")).copied().unwrap_or(0.0);
    of("sum") * 1e3 / of("count").max(1.0)
}

/// Why `program` with its arguments cannot run another, if so.
fn cannot_run(program: &[&str]) -> Option<String> {
    let (name, arguments) = program.split_first()?;
    match Command::new(name).args(arguments).arg("true").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() && output.stderr.is_empty() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}
