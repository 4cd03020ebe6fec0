//! One stream and hour: the objects that the books name, against those that are there.

use std::{collections::BTreeSet, sync::Arc};

use tokio::task::JoinSet;

use super::{
    AuditError, READERS, Request,
    fleet::Fleet,
    hour::{Expected, Named, StreamBooks},
    loads::Ledger,
    report::{Kind, Report, Row},
};
use crate::{
    batch::{Book, Hour, InstanceId, SegmentId, StreamName},
    sink::{Codec, Listed, ObjectKey, ObjectName},
    warehouse::{
        member::{Counted, Member},
        place::Place,
    },
};

/// Whose object, and of which segment.
type Who = (InstanceId, SegmentId);

/// What an object was found to be.
enum Examined {
    /// It holds this.
    Holds(Counted),
    /// It cannot be read as an object.
    Unreadable(String),
    /// It was listed, and is not there any more.
    Gone,
}

/// An object that is there, and what the books tell of it.
struct Candidate {
    key: String,
    /// What its name tells.
    name: Option<Who>,
    expected: Option<Counted>,
}

/// Compares one stream and hour.
pub(super) async fn stream(
    place: &Arc<Place>,
    request: &Request,
    (fleet, mut ledger): (&Fleet, Option<Ledger>),
    (hour, stream, books): (Hour, &StreamName, StreamBooks),
    report: &mut Report<'_>,
) -> Result<Row, AuditError> {
    let mut row = Row::default();
    let mut named_keys = BTreeSet::new();
    for (book, named) in books {
        let directory = ObjectKey::directory(&place.prefix, stream, book, hour);
        let missing = BTreeSet::new();
        let mut one =
            OneBook { place, request, fleet, hour, directory, unseen: named.clone(), named, missing, stored: 0 };
        one.compare(report).await?;
        // Rejected events are not loaded.
        let mut ledger = ledger.as_mut().filter(|_| book == Book::Accepted);
        one.tell_missing(ledger.as_deref_mut(), report);
        if let Some(ledger) = ledger {
            named_keys = one.compare_loads(ledger, report);
        }
        let spooled: u64 = one.named.values().map(|expected| expected.content.events).sum();
        match book {
            Book::Accepted => (row.spooled, row.stored) = (spooled, one.stored),
            Book::Rejected => (row.rejected_spooled, row.rejected_stored) = (spooled, one.stored),
        }
    }
    row.loaded = ledger.map(|ledger| ledger.conclude(stream, &named_keys, request, report));
    Ok(row)
}

/// One book of it.
struct OneBook<'a> {
    place: &'a Arc<Place>,
    request: &'a Request,
    fleet: &'a Fleet,
    hour: Hour,
    directory: String,
    named: Named,
    /// Those of `named` that were not found yet.
    unseen: Named,
    /// Those that are not there.
    missing: BTreeSet<Who>,
    /// Lines that can be read.
    stored: u64,
}

impl OneBook<'_> {
    async fn compare(&mut self, report: &mut Report<'_>) -> Result<(), AuditError> {
        let mut reading = JoinSet::new();
        let mut after = None;
        loop {
            let page = self.place.list(&self.directory, after).await?;
            for directory in page.directories {
                report.differs(Kind::NotInBooks, directory, "nothing is stored in a directory here");
            }
            for listed in page.objects {
                let candidate = self.candidate(listed);
                if reading.len() >= READERS
                    && let Some(examined) = reading.join_next().await
                {
                    self.judge(examined, report)?;
                }
                let (place, quick) = (Arc::clone(self.place), self.request.quick);
                reading.spawn(async move {
                    let examined = examine(&place, &candidate, quick).await;
                    examined.map(|examined| (candidate, examined))
                });
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        while let Some(examined) = reading.join_next().await {
            self.judge(examined, report)?;
        }
        self.missing.extend(self.unseen.keys());
        Ok(())
    }

    /// Tells what the books name and is not there, unless the warehouse's ledger says why.
    fn tell_missing(&self, mut ledger: Option<&mut Ledger>, report: &mut Report<'_>) {
        for who in &self.missing {
            let Some(expected) = self.named.get(who) else { continue };
            let key = self.key(*who, *expected);
            if ledger.as_mut().is_some_and(|ledger| ledger.excuses(&key, self.request.now)) {
                continue;
            }
            report.differs(Kind::Missing, key, format!("{} events", expected.content.events));
        }
    }

    /// Compares what the books name with the warehouse's ledger: all keys that they name.
    fn compare_loads(&self, ledger: &mut Ledger, report: &mut Report<'_>) -> BTreeSet<String> {
        let compared = self.named.iter().map(|(who, expected)| {
            let key = self.key(*who, *expected);
            ledger.compare(&key, expected.content.events, !self.missing.contains(who), report);
            key
        });
        compared.collect()
    }

    fn candidate(&mut self, listed: Listed) -> Candidate {
        let name = listed.key.strip_prefix(&self.directory).and_then(ObjectKey::parse_name);
        let expected = name.and_then(|ObjectName { instance, segment, suffix, codec }| {
            let named = self.named.get(&(instance, segment));
            named.filter(|expected| (expected.suffix, expected.codec) == (suffix, codec))
        });
        let name = name.map(|ObjectName { instance, segment, .. }| (instance, segment));
        let expected = expected.map(|expected| expected.content);
        if let (Some(who), Some(_)) = (name, expected) {
            self.unseen.remove(&who);
        }
        Candidate { key: listed.key, name, expected }
    }

    fn judge(
        &mut self,
        examined: Result<Result<(Candidate, Examined), AuditError>, tokio::task::JoinError>,
        report: &mut Report<'_>,
    ) -> Result<(), AuditError> {
        // A reader that panicked is a bug of ours, and is told as one.
        let (candidate, examined) = examined.map_err(|error| AuditError::Output(std::io::Error::other(error)))??;
        match (candidate.expected, examined) {
            (None, examined) => self.judge_unnamed(candidate, examined, report),
            (Some(expected), Examined::Holds(found)) => {
                self.stored += found.events;
                if found != expected {
                    report.differs(Kind::Changed, candidate.key, difference(found, expected));
                }
            }
            (Some(_), Examined::Unreadable(why)) => report.differs(Kind::Unreadable, candidate.key, why),
            (Some(_), Examined::Gone) => self.missing.extend(candidate.name),
        }
        Ok(())
    }

    /// An object that no page names.
    fn judge_unnamed(&mut self, candidate: Candidate, examined: Examined, report: &mut Report<'_>) {
        let key = candidate.key;
        let segment_is_named = candidate.name.is_some_and(|who| self.named.contains_key(&who));
        if let Some((instance, _)) = candidate.name
            && !segment_is_named
            && self.fleet.may_be_in_flight(instance, self.hour, self.request)
        {
            return report.in_flight();
        }
        match examined {
            Examined::Gone => {}
            Examined::Unreadable(why) => report.differs(Kind::NotInBooks, key, why),
            Examined::Holds(found) => {
                self.stored += found.events;
                let same = |expected: Counted| (expected.bytes, expected.crc32) == (found.bytes, found.crc32);
                let original = self.named.iter().find(|(_, expected)| same(expected.content));
                match original {
                    Some((who, expected)) => {
                        let original = self.key(*who, *expected);
                        report.differs(Kind::Duplicate, key, format!("{} events of {original}", found.events));
                    }
                    None => report.differs(Kind::NotInBooks, key, format!("{} events", found.events)),
                }
            }
        }
    }

    fn key(&self, (instance, segment): Who, Expected { suffix, codec, .. }: Expected) -> String {
        format!("{}{}", self.directory, ObjectName { instance, segment, suffix, codec })
    }
}

/// Reads an object, or what is told of it.
async fn examine(place: &Place, candidate: &Candidate, quick: bool) -> Result<Examined, AuditError> {
    if !quick {
        let read = place.read(&candidate.key, || Member::counting(Codec::of_key(&candidate.key))).await?;
        return Ok(read.map_or(Examined::Gone, |member| match member.content() {
            Ok(content) => Examined::Holds(content),
            Err(why) => Examined::Unreadable(why),
        }));
    }
    let Some(told) = place.told(&candidate.key).await? else { return Ok(Examined::Gone) };
    let as_told = Counted {
        events: told.events.unwrap_or_default(),
        bytes: told.bytes.unwrap_or_default(),
        crc32: told.crc32.unwrap_or_default(),
    };
    let matched = candidate.expected.filter(|own| told.matches(own.events, own.bytes, own.crc32));
    Ok(Examined::Holds(matched.unwrap_or(as_told)))
}

fn difference(found: Counted, expected: Counted) -> String {
    let describe = |content: Counted| {
        format!("{} events in {} bytes with checksum {:08x}", content.events, content.bytes, content.crc32)
    };
    format!("{}, not {}", describe(found), describe(expected))
}
