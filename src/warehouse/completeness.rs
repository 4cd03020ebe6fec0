//! Up to which received time everything is stored, and who holds it back.
//!
//! # What is told
//!
//! Each instance's last process says in its last heartbeat up to when the required sinks have all that it took
//! ([`Heartbeat::complete_until`]). The earliest of these is what is complete. A process that has ended and left nothing
//! counts for nothing; an earlier process of an instance does not count, since the next one took up its spool. What an
//! instance says is capped at a minute before now: an instance whose clock is ahead must not speak for the others. If
//! every instance has ended, everything is complete until [`MARGIN_MILLIS`] before now: one that starts may have served
//! for as long before its first heartbeat is stored.
//!
//! Without any heartbeat nobody knows, and nothing is complete.
//!
//! # An instance that died
//!
//! It holds back what it held when it died, for ever, and is told as silent. What unblocks it is whoever stores the rest
//! of its spool: its own next process, or `logweir replay`, which writes a last heartbeat in its name when nothing is
//! left. If the spool is lost for good, only an operator can know that, who overwrites its last heartbeat with one that
//! has `"ended":true`; the audit goes on to name what is missing.
//!
//! # An instance that kept nothing
//!
//! One without a disk ([`Heartbeat::keeps`]) leaves nothing that could be stored later, so it does not hold back for ever:
//! silent for ten of its intervals ([`Heartbeat::has_vanished`]), it counts as ended. That is right whether it died or only
//! cannot be heard of. It answers 200 only when the required sinks have the events and the pages that name them, and it
//! answers within 55 s (the most that `ingest.stored_timeout` may be), less than the minute before now that nothing is
//! called complete in. So whatever it has acknowledged of what is called complete is stored, and what it has not
//! acknowledged is sent again, to an instance that is heard of. Should it come back and store that too, there are two
//! events of one id; the ten intervals are for that to be rare. (With ack `memory` it may lose what it acknowledged, as
//! that ack says.)
//!
//! A heartbeat that cannot be read (another version's, or a stranger's file under its name) says nothing of what its
//! process has stored: then the process counts as one that has stored nothing, together with those before it.
//!
//! # Why it is enough to read since the last answer
//!
//! Let W be a former answer. An instance that was open then had a heartbeat at `at`, and said at most `at` − 1 min; so
//! W ≤ `at` − 1 min, and its last heartbeat, which is that one or a later one, is in the hour of W or behind it. An
//! instance that was not open, or not there, counts again only by a heartbeat that was written after the former answer,
//! when it was later than W by its own clock, or less than an hour before it if that clock is behind. So what is read
//! begins an hour before W. What is left out had ended before.
//!
//! # Limits
//!
//! Two requests for each day since then and one for each hour that has heartbeats, and one for each instance that beat,
//! [`READERS`] at a time. At most [`MAX_PROCESSES`] processes, of some 50 bytes each; heartbeats may leave by lifecycle
//! once their instances have ended.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::JoinSet;

use super::{
    heartbeats::{self, Found, Process},
    place::{Place, PlaceError},
};
use crate::{
    batch::{Hour, InstanceId, Millis},
    ledger::{HEARTBEATS, Heartbeat},
    sink::{Failure, StoreError},
};

/// How many heartbeats are read at the same time.
pub const READERS: usize = 8;
/// How many processes are looked at, each by its last heartbeat.
pub const MAX_PROCESSES: usize = 1_000_000;
/// How long before now everything is complete if every instance has ended, in milliseconds: a process that starts beats
/// at once, but that heartbeat may fail, and so may the next one.
pub const MARGIN_MILLIS: i64 = 5 * 60_000;
/// How long before now nothing is complete, whatever a clock that is ahead says, in milliseconds: as long as a heartbeat
/// itself allows for.
const CAP_MILLIS: i64 = 60_000;

/// Up to when everything is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completeness {
    /// All that was received before it is stored; `None` if nobody knows.
    pub until: Option<Millis>,
    /// Whose events may come later, and whether it should have been heard of since. `None` if every instance has ended.
    pub held_back_by: Option<(InstanceId, bool)>,
}

/// What an instance that has not ended says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) until: Millis,
    pub(super) instance: InstanceId,
    pub(super) silent: bool,
}

impl Open {
    /// What `heartbeat` says; `None` if its process has ended, or has vanished and kept nothing.
    pub(super) fn new(heartbeat: &Heartbeat, now: Millis) -> Option<Self> {
        if heartbeat.has_vanished(now) {
            return None;
        }
        let until = heartbeat.complete_until()?;
        Some(Self { until, instance: heartbeat.instance, silent: heartbeat.is_silent(now) })
    }
}

impl Completeness {
    const UNKNOWN: Self = Self { until: None, held_back_by: None };

    /// Of a fleet of which something was heard, and of which these have not ended.
    pub(super) fn of(open: impl Iterator<Item = Open>, now: Millis) -> Self {
        let Some(first) = open.min_by_key(|open| open.until) else {
            return Self { until: Some(now.saturating_add(-MARGIN_MILLIS)), held_back_by: None };
        };
        let until = first.until.min(now.saturating_add(-CAP_MILLIS));
        Self { until: Some(until), held_back_by: Some((first.instance, first.silent)) }
    }
}

/// Up to which received time everything is stored in `place`, which is that of a required sink. `since` is a former
/// answer, or something earlier; without it every heartbeat that is still there is looked at.
///
/// # Errors
/// [`PlaceError`] if the heartbeats cannot be read, or if there are more than [`MAX_PROCESSES`] processes.
pub async fn completeness(place: &Place, since: Option<Millis>, now: Millis) -> Result<Completeness, PlaceError> {
    let first = since.map_or(Hour(0), |since| Hour(since.hour().0.saturating_sub(1)));
    let mut last: BTreeMap<Process, Hour> = BTreeMap::new();
    for hour in heartbeats::hours(place, first).await? {
        last.extend(heartbeats::keys(place, hour).await?.into_iter().map(|(process, _)| (process, hour)));
        if last.len() > MAX_PROCESSES {
            let what = format!("{}{HEARTBEATS}", place.prefix);
            let source = format!("there are more than {MAX_PROCESSES} processes").into();
            return Err(PlaceError { what, source: StoreError { cause: Failure::Other, source } });
        }
    }
    let mut instances: BTreeMap<InstanceId, Vec<(Millis, Hour)>> = BTreeMap::new();
    for ((instance, started), hour) in last {
        instances.entry(instance).or_default().push((started, hour));
    }
    if instances.is_empty() {
        // Whoever had not ended at the former answer would have been found.
        let ended = since.is_some() && heartbeats::are_any(place).await?;
        return Ok(if ended { Completeness::of(std::iter::empty(), now) } else { Completeness::UNKNOWN });
    }
    let place = Arc::new(place.clone());
    let (mut reading, mut open) = (JoinSet::new(), Vec::new());
    let mut left = instances.into_iter();
    loop {
        while reading.len() < READERS
            && let Some((instance, processes)) = left.next()
        {
            let place = Arc::clone(&place);
            reading.spawn(async move { state(&place, instance, processes, now).await });
        }
        match reading.join_next().await {
            None => return Ok(Completeness::of(open.into_iter(), now)),
            Some(Ok(state)) => open.extend(state?),
            // A reader that panicked is a bug of ours, and must not look like an instance that has ended.
            Some(Err(error)) => {
                let source = StoreError { cause: Failure::Other, source: error.into() };
                return Err(PlaceError { what: format!("{}{HEARTBEATS}", place.prefix), source });
            }
        }
    }
}

/// What `instance` says, of whose processes these are the last heartbeats' hours; `None` if it has ended.
async fn state(
    place: &Place,
    instance: InstanceId,
    mut processes: Vec<(Millis, Hour)>,
    now: Millis,
) -> Result<Option<Open>, PlaceError> {
    let mut unreadable: Option<Open> = None;
    while let Some((started, hour)) = processes.pop() {
        let key = Heartbeat::key_of(&place.prefix, hour, (instance, started));
        match heartbeats::read(place, &key).await? {
            Found::Heartbeat(heartbeat) => {
                let own = Open::new(&heartbeat, now);
                return Ok(unreadable.into_iter().chain(own).min_by_key(|open| open.until));
            }
            // Processes come in the order of their starts, so this one is the earliest of those.
            Found::Unreadable => unreadable = Some(Open { until: started, instance, silent: true }),
            Found::Gone => {}
        }
    }
    Ok(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis::MAX;

    fn open(number: u8, until: i64, silent: bool) -> Open {
        let instance = InstanceId::from_bytes([number; 16]);
        Open { until: NOW.saturating_add(until), instance, silent }
    }

    #[test]
    fn the_earliest_open_instance_holds_back_and_is_told_with_whether_it_is_silent() {
        for silent in [false, true] {
            let held = Completeness::of([open(1, -70_000, false), open(2, -600_000, silent)].into_iter(), NOW);
            let second = open(2, -600_000, silent);
            assert_eq!(held.until, Some(second.until));
            assert_eq!(held.held_back_by, Some((second.instance, silent)));
        }
    }

    #[test]
    fn if_all_have_ended_everything_is_complete_but_for_a_margin() {
        let ended = Completeness::of(std::iter::empty(), NOW);
        assert_eq!(ended, Completeness { until: Some(NOW.saturating_add(-300_000)), held_back_by: None });
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_speak_for_the_others() {
        let ahead = Completeness::of([open(1, -1, false)].into_iter(), NOW);
        assert_eq!(ahead.until, Some(NOW.saturating_add(-60_000)));
    }
}
