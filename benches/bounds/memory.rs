//! The most memory that a server needs with its default settings.

use serde_json::json;

use crate::{
    figure::{Figure, Of},
    rig::Rig,
    servers::{Kind, Target},
};

const LIMIT_MB: f64 = 150.0;
/// How many times as long as elsewhere: segments are to be sealed and stored meanwhile, by age too.
const LONGER: f64 = 3.0;

/// Resident memory in MB, the most that was ever seen (`VmHWM`).
pub(crate) fn figures(rig: &Rig, rounds: usize) -> Vec<Figure> {
    let rig = Rig { seconds: rig.seconds * LONGER, ..*rig };
    println!("\nmemory: the most resident memory in MB, {} s each", rig.seconds);
    let names = [
        (1, "peak memory at default settings, 1 event a batch"),
        (10, "peak memory at default settings, 10 events a batch"),
        (100, "peak memory at default settings, 100 events a batch"),
    ];
    let figure = |(events, name)| {
        let (mut peaks, mut more) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let target = Target::start(Kind::Logweir, rig.server, &[]);
            let measured = rig.closed_loop(&target, "heard", events);
            let (peak, objects) = (target.peak_bytes() as f64 / 1e6, objects(&target));
            target.stop();
            let rate = measured.requests as f64 / measured.time.as_secs_f64();
            println!(
                "  {events:>3} events a batch: {peak:.1} at {rate:.0} batches/s; {objects} objects stored meanwhile"
            );
            more.push(json!({"peak_mb": peak, "batches_per_second": rate, "objects": objects}));
            peaks.push(peak);
        }
        Figure { name, unit: "MB", limit: LIMIT_MB, rounds: peaks, of: Of::Most, more: more.into() }
    };
    names.map(figure).into()
}

/// How many objects the sink of the default settings has stored.
fn objects(target: &Target) -> f64 {
    target.labelled("logweir_objects_total{sink=\"files\",outcome=\"stored\"}")
}
