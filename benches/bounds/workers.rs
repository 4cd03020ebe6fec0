//! What a second worker costs: the CPU of an event, with the load on the same two cores.
//!
//! Batches come by chance, half as many a second as two workers take there at the most. What counts is all that the server
//! uses from the first batch until it has stored everything and ended.

use serde_json::json;

use crate::{
    EVENTS,
    figure::{Figure, Of, median},
    rig::Rig,
    servers::{Kind, Target},
    stored::micros_an_event,
};

const LIMIT: f64 = 1.15;
/// The part of the peak that comes.
const SHARE: f64 = 0.5;

/// The CPU an event of two workers, to that of one.
pub(crate) fn figures(rig: &Rig, rounds: usize) -> Vec<Figure> {
    println!("\nworkers: CPU an event of one and of two, the load on the same two cores, {EVENTS} events a batch");
    let mut figure = Figure {
        name: "CPU an event, two workers ÷ one, at half load",
        unit: "",
        limit: LIMIT,
        rounds: Vec::new(),
        of: Of::Median,
        more: json!([]),
    };
    let cores = [rig.server, rig.load];
    if cores[0] == cores[1] {
        println!("  LEFT OUT: there is one core");
        figure.more = json!("there is one core");
        return vec![figure];
    }
    let start =
        |workers: usize| Target::start(Kind::Logweir, cores, &[("LOGWEIR__SERVER__WORKERS", workers.to_string())]);
    let peaks: Vec<f64> = (0..rounds)
        .map(|_| {
            let target = start(2);
            let peak = rig.batches(&target, "heard", EVENTS).run(cores, &target);
            target.stop();
            peak.requests as f64 / peak.time.as_secs_f64()
        })
        .collect();
    let rate = median(&peaks) * SHARE;
    println!("  peak of two workers {:.0} batches/s", median(&peaks));
    let mut more = Vec::new();
    for _ in 0..rounds {
        let [(one, p99_one), (two, p99_two)] = [1, 2].map(|workers| {
            let target = start(workers);
            let measured = rig.batches(&target, "heard", EVENTS).run_at(rate, cores, &target);
            (micros_an_event(&measured, &target.stop(), EVENTS), measured.percentile(0.99))
        });
        println!(
            "  at {rate:.0} batches/s: one {one:.2} µs (p99 {p99_one:.1} ms), two {two:.2} µs (p99 {p99_two:.1} ms)"
        );
        more.push(json!({
            "batches_per_second": rate, "one_us": one, "two_us": two, "one_p99_ms": p99_one, "two_p99_ms": p99_two,
        }));
        figure.rounds.push(two / one);
    }
    figure.more = more.into();
    vec![figure]
}
