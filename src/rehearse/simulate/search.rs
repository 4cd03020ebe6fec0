//! How many instances an advert needs: the fewest with which everything is in soon enough, and few are refused.
//!
//! Instances behind a load balancer are alike, and each meets its part of the crowd: so a thousand of them with ten million
//! batches are tried as a few with as many batches each. What is found is played in full once, and that is the answer.
//!
//! Limits: [`TRIED_BATCHES`] a trial, [`MAX_TRIALS`] trials.

use std::time::Duration;

use super::{Fleet, FleetError, MAX_INSTANCES, Rehearsed, simulate};

/// About so many new batches are played in a trial.
pub const TRIED_BATCHES: f64 = 300_000.0;
/// The most trials: halving finds any number of instances within these.
pub const MAX_TRIALS: usize = 32;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goals {
    /// How long after the last new batch everything is in at the latest.
    pub within: Duration,
    /// The largest share of new batches that is refused at the first try.
    pub refused: f64,
    /// The largest share of batches that devices give up.
    pub lost: f64,
}

impl Default for Goals {
    /// Everything within five minutes, a tenth refused at first, one in a thousand lost by devices that give up.
    fn default() -> Self {
        Self { within: Duration::from_mins(5), refused: 0.1, lost: 0.001 }
    }
}

/// What came of so many instances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// How many.
    pub instances: u32,
    /// From the end of the new batches to when everything was in; `None` if it was not.
    pub all_in: Option<f64>,
    /// The share of new batches that was refused at the first try.
    pub refused: f64,
    /// The share of batches that devices gave up.
    pub lost: f64,
    /// The longest that an instance would have taken for its backlog, in seconds.
    pub backlog_seconds: f64,
    /// Whether the goals hold.
    pub holds: bool,
}

impl Candidate {
    /// What `rehearsed` says about `instances` of them, against `goals`.
    pub fn judge(instances: u32, rehearsed: &Rehearsed, goals: &Goals) -> Self {
        let Rehearsed { report, figures } = rehearsed;
        let all_in = figures.all_in.map(|all_in| (all_in - report.setup.duration).max(0.0));
        let refused = figures.first_refused_share(report);
        let lost = report.totals.given_up as f64 / report.totals.new.max(1) as f64;
        let in_time = all_in.is_some_and(|all_in| all_in <= goals.within.as_secs_f64());
        let holds = in_time && refused <= goals.refused && lost <= goals.lost;
        Self { instances, all_in, refused, lost, backlog_seconds: figures.peak_backlog_seconds, holds }
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What was tried, by number of instances.
    pub candidates: Vec<Candidate>,
    /// The fewest that hold, played in full; `None` if not even [`MAX_INSTANCES`] do.
    pub best: Option<(Fleet, Rehearsed)>,
}

/// Finds the fewest instances with which `fleet` reaches `goals`. Its own number of instances does not matter, and none of
/// them dies.
///
/// # Errors
/// [`FleetError`].
pub fn search(fleet: &Fleet, goals: &Goals) -> Result<Found, FleetError> {
    let fleet = Fleet { kills: Vec::new(), ..fleet.clone() };
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut tried = |instances: u32| -> Result<bool, FleetError> {
        let candidate = Candidate::judge(instances, &simulate(&part(&fleet, instances))?, goals);
        candidates.push(candidate);
        Ok(candidate.holds)
    };
    // From what the average needs: more never hurts.
    let mean = fleet.flood.batches() / fleet.flood.duration.as_secs_f64();
    let one = Fleet { instances: 1, ..fleet.clone() }.capacity();
    let first = (mean / one).ceil().clamp(1.0, f64::from(MAX_INSTANCES)) as u32;
    let (mut fails, mut holds) = (0, None);
    let mut next = first;
    for _ in 0..MAX_TRIALS {
        if tried(next)? {
            holds = Some(next);
        } else {
            fails = next;
        }
        next = match holds {
            Some(holds) if near(fails, holds) => break,
            Some(holds) => u32::midpoint(fails, holds),
            None if fails >= MAX_INSTANCES => break,
            None => fails.saturating_mul(2).min(MAX_INSTANCES),
        };
    }
    // A part of the crowd is luckier or less lucky than all of it: the answer is what holds in full.
    let mut best = None;
    let mut instances = holds;
    for _ in 0..MAX_TRIALS {
        let Some(number) = instances else { break };
        let whole = Fleet { instances: number, ..fleet.clone() };
        let rehearsed = simulate(&whole)?;
        let candidate = Candidate::judge(number, &rehearsed, goals);
        candidates.retain(|tried| tried.instances != number);
        candidates.push(candidate);
        if candidate.holds {
            best = Some((whole, rehearsed));
            break;
        }
        instances = (number < MAX_INSTANCES).then(|| (number + (number / 50).max(1)).min(MAX_INSTANCES));
    }
    candidates.sort_by_key(|candidate| candidate.instances);
    Ok(Found { candidates, best })
}

/// Whether nothing worth a trial lies between: of hundreds, one in fifty does not matter.
fn near(fails: u32, holds: u32) -> bool {
    holds - fails <= (holds / 50).max(1)
}

/// The part of `fleet` that meets a few of so many `instances`.
fn part(fleet: &Fleet, instances: u32) -> Fleet {
    let each = fleet.flood.batches() / f64::from(instances);
    let few = (TRIED_BATCHES / each.max(1.0)).ceil().clamp(1.0, f64::from(instances)) as u32;
    let share = f64::from(few) / f64::from(instances);
    let mut part = Fleet { instances: few, ..fleet.clone() };
    part.flood.peak *= share;
    part.devices = ((fleet.devices as f64 * share).ceil() as u64).max(1);
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearse::{
        device::Mix,
        profile::{Flood, Profile},
    };

    fn fleet(batches: f64) -> Fleet {
        let mut flood = Flood { duration: Duration::from_secs(20), ..Flood::new(Profile::Advert, 1.0) };
        flood.peak = batches / flood.batches();
        let mut fleet = Fleet::new(flood, 1, 10);
        fleet.mix = Mix { behave: 1.0, careless: 0.0, stubborn: 0.0 };
        fleet.machine.disk = 4e6;
        fleet.machine.limits.capacity_floor = 4_000_000;
        fleet
    }

    #[test]
    fn the_fewest_instances_are_found_with_which_the_goals_hold() {
        let fleet = fleet(60_000.0);
        let goals = Goals { refused: 0.05, ..Goals::default() };
        let found = search(&fleet, &goals).unwrap();
        let (best, rehearsed) = found.best.as_ref().unwrap();
        assert!(Candidate::judge(best.instances, rehearsed, &goals).holds);
        let fewer = Fleet { instances: best.instances - 1, ..best.clone() };
        assert!(!Candidate::judge(1, &simulate(&fewer).unwrap(), &goals).holds, "{found:?}");
        let table: Vec<(u32, bool)> = found.candidates.iter().map(|tried| (tried.instances, tried.holds)).collect();
        assert!(table.len() >= 3 && table.is_sorted_by(|one, other| one.0 < other.0), "{table:?}");
        let lenient = search(&fleet, &Goals { refused: 1.0, ..goals }).unwrap().best.unwrap().0;
        assert!(lenient.instances < best.instances, "{} and {}", lenient.instances, best.instances);
    }

    #[test]
    fn a_part_of_the_crowd_sees_what_all_of_it_sees() {
        let mut fleet = fleet(450_000.0);
        fleet.instances = 21;
        let part = part(&fleet, 21);
        assert_eq!(part.instances, 14);
        let goals = Goals::default();
        let [whole, part] = [&fleet, &part].map(|fleet| Candidate::judge(21, &simulate(fleet).unwrap(), &goals));
        assert!((whole.refused - part.refused).abs() < 0.02, "{whole:?} {part:?}");
        // When the very last one is in, is chance's.
        assert!((whole.backlog_seconds - part.backlog_seconds).abs() < 0.05, "{whole:?} {part:?}");
    }

    #[test]
    fn what_no_fleet_can_do_is_not_found() {
        let mut fleet = fleet(2_000.0);
        fleet.machine.sync = Duration::ZERO;
        let found = search(&fleet, &Goals { within: Duration::ZERO, refused: -1.0, lost: 0.0 }).unwrap();
        assert!(found.best.is_none() && found.candidates.iter().all(|tried| !tried.holds));
        assert_eq!(found.candidates.last().unwrap().instances, MAX_INSTANCES);
    }
}
