//! The heartbeats: what the instances have accepted, and up to when each has stored everything.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    AuditError, Range, Request,
    hour::Books,
    report::{Kind, Report},
};
use crate::{
    batch::{Book, Hour, InstanceId, Millis, StreamName},
    ledger::Heartbeat,
    warehouse::{
        completeness::{Completeness, Open},
        heartbeats::{self, Process},
        place::Place,
    },
};

/// How many hours behind the range are searched for what became of its instances.
const HOURS_BEHIND: u32 = 48;
/// How many of the last hours are searched for instances that live.
const LAST_HOURS: u32 = 2;
/// For how long an object may be on its way whose instance writes no heartbeats, in milliseconds.
const UNKNOWN_MILLIS: i64 = 3_600_000;

/// What was spooled of an instance's stream: accepted and rejected events.
pub(super) type Spooled = BTreeMap<(InstanceId, StreamName), (u64, u64)>;

/// What the heartbeats tell of an hour of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) events: u64,
    /// Whether there may have been more.
    pub(super) can_lag: bool,
}

/// What the heartbeats tell.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    /// The last heartbeat of each instance.
    latest: BTreeMap<InstanceId, Heartbeat>,
    accepted: BTreeMap<Hour, BTreeMap<StreamName, Accepted>>,
    /// What processes that started within the range have counted within it.
    counted: Spooled,
}

impl Fleet {
    /// Reads the heartbeats of `hours`, and what became of the instances since.
    pub(super) async fn read(place: &Place, hours: Range, now: Millis) -> Result<Self, AuditError> {
        let mut fleet = Self::default();
        let mut last: BTreeMap<Process, Heartbeat> = BTreeMap::new();
        // The hour before says where the counts of the first one begin.
        let before = Hour(hours.first().0.saturating_sub(1));
        for hour in before.0..hours.end().0 {
            for (process, key) in heartbeats::keys(place, Hour(hour)).await? {
                let Some(heartbeat) = read(place, &key).await? else { continue };
                if hour >= hours.first().0 {
                    fleet.count(Hour(hour), &heartbeat, last.get(&process), before.start());
                }
                last.insert(process, heartbeat);
            }
        }
        for heartbeat in last.values().filter(|heartbeat| heartbeat.started >= hours.first().start()) {
            for (stream, events) in streams(heartbeat) {
                let counted = fleet.counted.entry((heartbeat.instance, stream)).or_default();
                counted.0 += events.accepted;
                counted.1 += events.rejected;
            }
        }
        for (process, key) in later_keys(place, hours.end(), now.hour()).await? {
            if let Some(heartbeat) = read(place, &key).await? {
                last.insert(process, heartbeat);
            }
        }
        // In the order of the processes' starts, so that an instance's last process stays.
        for (_, heartbeat) in last {
            fleet.latest.insert(heartbeat.instance, heartbeat);
        }
        Ok(fleet)
    }

    /// Adds what was accepted since the heartbeat `before` this one.
    fn count(&mut self, hour: Hour, heartbeat: &Heartbeat, before: Option<&Heartbeat>, known_since: Millis) {
        // A process that is older than what was read has counted something before, and nobody knows how much.
        let unknown = before.is_none() && heartbeat.started < known_since;
        for (stream, events) in streams(heartbeat) {
            let former =
                before.and_then(|before| before.events.get(stream.as_str())).map_or(0, |former| former.accepted);
            let accepted = self.accepted.entry(hour).or_default().entry(stream).or_default();
            accepted.events += if unknown { 0 } else { events.accepted.saturating_sub(former) };
            accepted.can_lag |= unknown || !heartbeat.ended;
        }
    }

    /// What was accepted of `stream` in `hour`, if heartbeats tell.
    pub(super) fn accepted(&self, hour: Hour, stream: &StreamName) -> Option<Accepted> {
        self.accepted.get(&hour)?.get(stream).copied()
    }

    /// The streams of which something was accepted in `hour`.
    pub(super) fn streams(&self, hour: Hour) -> impl Iterator<Item = StreamName> {
        let counted = self.accepted.get(&hour).into_iter().flatten();
        counted.filter(|(_, accepted)| accepted.events > 0).map(|(stream, _)| stream.clone())
    }

    /// Whether `instance` may still be storing events of `hour`.
    pub(super) fn may_be_in_flight(&self, instance: InstanceId, hour: Hour, request: &Request) -> bool {
        let end = hour.next().start();
        match self.latest.get(&instance).map(Heartbeat::complete_until) {
            // What the required sinks have, another one need not have yet.
            Some(Some(until)) => until < end || !request.required,
            Some(None) => false,
            None => request.now < end.saturating_add(UNKNOWN_MILLIS),
        }
    }

    /// An instance that has stored everything has spooled at least what its heartbeats count.
    pub(super) fn compare_counts(&self, hours: Range, spooled: &Spooled, report: &mut Report<'_>) {
        for ((instance, stream), counted) in &self.counted {
            let until = self.latest.get(instance).and_then(Heartbeat::complete_until);
            if until.is_some_and(|until| until < hours.end().start()) {
                continue;
            }
            let found = spooled.get(&(*instance, stream.clone())).copied().unwrap_or_default();
            for (book, counted, found) in [(Book::Accepted, counted.0, found.0), (Book::Rejected, counted.1, found.1)] {
                if counted > found {
                    let what = format!("{stream}, {} events of {instance}", book.as_str());
                    report.differs(
                        Kind::NotSpooled,
                        what,
                        format!("{counted} by its heartbeats, {found} by its pages"),
                    );
                }
            }
        }
    }

    /// Tells up to when everything is stored, and who has not been heard of.
    pub(super) fn tell(&self, request: &Request, report: &mut Report<'_>) {
        if !request.required {
            report.note("this sink is not required: what follows is about those that are");
        }
        let open = self.latest.values().filter_map(|heartbeat| Open::new(heartbeat, request.now));
        match Completeness::of(open, request.now) {
            _ if self.latest.is_empty() => {
                report.note("there are no heartbeats, so nobody knows what is still to come");
            }
            Completeness { until: Some(until), held_back_by: Some((instance, _)) } => {
                report.note(&format!("complete up to {until}; {instance} may still store what came later"));
            }
            _ => report.note("every instance that was heard of has ended and stored everything"),
        }
        for heartbeat in self.latest.values().filter(|heartbeat| heartbeat.is_silent(request.now)) {
            let Heartbeat { instance, at, .. } = heartbeat;
            if !heartbeat.keeps {
                report.note(&format!("{instance} is silent since {at}; it kept nothing that it had acknowledged"));
                continue;
            }
            let since = heartbeat.complete_until().unwrap_or(*at);
            report.note(&format!(
                "{instance} is silent since {at}; its spool may hold events that were received since {since}"
            ));
        }
    }
}

impl Books {
    /// Adds what the books name to `spooled`.
    pub(super) fn add_to(&self, spooled: &mut Spooled) {
        for (instance, stream, book, events) in self.events() {
            let counts = spooled.entry((instance, stream.clone())).or_default();
            match book {
                Book::Accepted => counts.0 += events,
                Book::Rejected => counts.1 += events,
            }
        }
    }
}

fn streams(heartbeat: &Heartbeat) -> impl Iterator<Item = (StreamName, crate::ledger::EventCounts)> {
    heartbeat.events.iter().filter_map(|(stream, events)| Some((StreamName::new(stream).ok()?, *events)))
}

/// The last heartbeat of each process in the hours from `from` on.
async fn later_keys(place: &Place, from: Hour, now: Hour) -> Result<BTreeMap<Process, String>, AuditError> {
    // An hour more than now: the clocks of a fleet are not the auditor's.
    let end = now.0.saturating_add(1);
    let soon: RangeInclusive<u32> = from.0..=end.min(from.0.saturating_add(HOURS_BEHIND));
    let recent = (*soon.end() + 1).max(end.saturating_sub(LAST_HOURS))..=end;
    let mut found = BTreeMap::new();
    for hour in soon.chain(recent) {
        found.extend(heartbeats::keys(place, Hour(hour)).await?);
    }
    Ok(found)
}

/// A heartbeat that is no such thing tells nothing of what was counted, as one that was never written.
async fn read(place: &Place, key: &str) -> Result<Option<Heartbeat>, AuditError> {
    Ok(heartbeats::read(place, key).await?.heartbeat())
}
