//! Takes what an instance can do from the report of a rehearsal against a real one.
//!
//! - its disk: what it says it can make durable, once it has measured that. With it comes the time of its syncs: a capacity
//!   is bytes by the time that a sync was busy with them, so what is simulated has no further time for one.
//! - the price of a refusal: the part of the workers' time that went into refusing, by the number of refusals.
//! - what a batch is: its events, and its bytes as sent.
//!
//! The price of a batch that is let in is not in a report: nobody measures it where the disk was the limit. It stays.

use std::time::Duration;

use super::Fleet;
use crate::rehearse::{
    plan::STORED_EVENT_BYTES,
    report::{Kind, Report, Sample},
};

/// The fewest refusals that say what one costs.
const MIN_REFUSALS: f64 = 1_000.0;

/// A report says nothing to calibrate by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalibrateError {
    /// It was virtual, too.
    #[error("this report is of a virtual fleet: it says what the simulation was told")]
    Virtual,
    /// The target's metrics are not in it.
    #[error("this report has no metrics of its target, which tell what it can take: rehearse with --metrics")]
    NoCapacity,
}

/// Lets the instances of `fleet` be like the one that `report` is of, with batches like those of that rehearsal. What was
/// found is told in sentences.
///
/// # Errors
/// [`CalibrateError`]; `fleet` is as it was.
pub fn calibrate(fleet: &mut Fleet, report: &Report) -> Result<Vec<String>, CalibrateError> {
    if report.setup.kind == Kind::Virtual {
        return Err(CalibrateError::Virtual);
    }
    let capacity = report.samples.iter().rev().find_map(|sample| sample.capacity).filter(|capacity| *capacity > 0.0);
    let capacity = capacity.ok_or(CalibrateError::NoCapacity)?;
    let machine = &mut fleet.machine;
    (machine.disk, machine.sync) = (capacity, Duration::ZERO);
    machine.limits.capacity_floor = machine.limits.capacity_floor.min(capacity as u64);
    let mut notes =
        vec![format!("An instance takes {capacity:.0} bytes of lines a second, as {} told.", report.setup.target)];
    if let Some(workers) = report.samples.iter().rev().find_map(|sample| sample.workers) {
        machine.limits.workers = (workers as usize).max(1);
        notes.push(format!("It has {workers} workers."));
    }
    match price_of_refusal(&report.samples) {
        Some(price) => {
            machine.refuse = price;
            notes.push(format!("A refusal takes {:.1} µs of a worker's time.", price.as_secs_f64() * 1e6));
        }
        None => notes.push("There were too few refusals to say what one costs: the price stays.".to_owned()),
    }
    fleet.events = report.setup.events.max(1);
    fleet.body_bytes = report.setup.body_bytes.max(1.0);
    fleet.gzip = report.setup.gzip;
    fleet.stored_bytes = f64::from(fleet.events) * STORED_EVENT_BYTES;
    Ok(notes)
}

/// Worker's time by refusals. The gauge is of the last second, and samples are less than one apart: each stands for the
/// time since the one before.
fn price_of_refusal(samples: &[Sample]) -> Option<Duration> {
    let busy = |pair: &[Sample]| Some((pair[1].at - pair[0].at) * pair[1].refusing? * pair[1].workers?);
    let seconds: f64 = samples.windows(2).filter_map(busy).sum();
    let refusals: f64 =
        samples.last()?.refusals.iter().filter(|(cause, _)| *cause != "connections").map(|(_, n)| n).sum();
    let price = Duration::try_from_secs_f64(seconds / refusals).ok()?;
    (refusals >= MIN_REFUSALS && !price.is_zero()).then_some(price)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rehearse::profile::{Flood, Profile};

    fn report() -> Report {
        let mut report = Report::default();
        (report.setup.events, report.setup.body_bytes, report.setup.gzip) = (20, 1_234.0, true);
        report.samples = (0..=20_u32)
            .map(|n| Sample {
                at: f64::from(n) * 0.5,
                capacity: Some(1e6 + f64::from(n) * 1e5),
                refusing: Some(0.1),
                workers: Some(2.0),
                refusals: BTreeMap::from([("backlog".to_owned(), f64::from(n) * 5_000.0)]),
                ..Sample::default()
            })
            .collect();
        report
    }

    #[test]
    fn instances_become_like_the_one_that_was_rehearsed() {
        let mut fleet = Fleet::new(Flood::new(Profile::Advert, 1.0), 3, 10);
        let notes = calibrate(&mut fleet, &report()).unwrap();
        let machine = fleet.machine;
        assert_eq!((machine.disk, machine.limits.workers, machine.sync), (3e6, 2, Duration::ZERO));
        assert_eq!(machine.limits.capacity_floor, 3_000_000);
        // A tenth of two workers for ten seconds, for 100,000 refusals.
        assert_eq!(machine.refuse, Duration::from_micros(20));
        assert_eq!((fleet.events, fleet.body_bytes, fleet.stored_bytes, fleet.gzip), (20, 1_234.0, 12_800.0, true));
        assert_eq!(notes.len(), 3);
    }

    #[test]
    fn a_report_that_says_nothing_changes_nothing() {
        let fleet = Fleet::new(Flood::new(Profile::Advert, 1.0), 3, 10);
        let mut same = fleet.clone();
        let mut report = report();
        report.setup.kind = Kind::Virtual;
        assert_eq!(calibrate(&mut same, &report), Err(CalibrateError::Virtual));
        report.setup.kind = Kind::Real;
        report.samples.clear();
        assert_eq!(calibrate(&mut same, &report), Err(CalibrateError::NoCapacity));
        assert_eq!(same, fleet);
        report.samples = vec![Sample { capacity: Some(5e6), ..Sample::default() }];
        calibrate(&mut same, &report).unwrap();
        assert_eq!(same.machine.refuse, fleet.machine.refuse);
    }
}
