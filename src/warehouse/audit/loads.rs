//! What the warehouse tells: its ledger of objects, what became of their lines, and how many rows there are.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AuditError, Range, Request,
    report::{Kind, Loaded, Report},
};
use crate::{
    batch::{Hour, Millis, StreamName},
    warehouse::{
        Names,
        load::{Failure, Session},
        table::{literal, quoted},
    },
};

/// After how long an object may have left by a rule of the bucket's lifecycle, in milliseconds: the shortest is a day.
const LIFECYCLE_MILLIS: i64 = 24 * 3_600_000;

/// The warehouse that is compared with the books too.
pub struct Warehouse<'a> {
    /// Who asks it. Its times are UTC.
    pub session: &'a mut dyn Session,
    /// How its tables are called.
    pub names: Names,
    /// The streams that `logweir load` loads.
    pub streams: BTreeSet<StreamName>,
}

impl std::fmt::Debug for Warehouse<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warehouse").field("names", &self.names).field("streams", &self.streams).finish_non_exhaustive()
    }
}

/// What the warehouse tells of the whole range.
#[derive(Debug)]
pub(super) struct Tables<'a> {
    warehouse: Warehouse<'a>,
    /// Up to when each stream is loaded.
    complete: BTreeMap<StreamName, Millis>,
    /// The rows of each stream's table, by the hour in which they were received.
    rows: BTreeMap<(StreamName, Hour), u64>,
}

impl<'a> Tables<'a> {
    /// Reads the status and counts the rows. This comes before anything else is read, so that what is loaded meanwhile
    /// is found in the ledger and is not missed, and no row is counted that the ledger does not tell.
    pub(super) async fn read(warehouse: Warehouse<'a>, hours: Range) -> Result<Self, AuditError> {
        let mut tables = Self { warehouse, complete: BTreeMap::new(), rows: BTreeMap::new() };
        let Warehouse { session, names, streams } = &mut tables.warehouse;
        let status = format!(
            "SELECT stream, CAST(FLOOR(EXTRACT(EPOCH FROM complete_through) * 1000) AS BIGINT) FROM {}",
            names.of(Names::STATUS)
        );
        for row in session.rows(&status).await? {
            let [Some(stream), until] = &row[..] else { return Err(unexpected(&status)) };
            let until = until.as_ref().map(|until| until.parse().ok().and_then(Millis::new));
            if let (Ok(stream), Some(until)) = (StreamName::new(stream), until) {
                tables.complete.insert(stream, until.ok_or_else(|| unexpected(&status))?);
            }
        }
        let instant = |hour: Hour| session.dialect().instant(hour.start());
        let (first, end) = (instant(hours.first()), instant(hours.end()));
        for stream in streams.iter() {
            // Once for all hours: the table may have no order that helps.
            let count = format!(
                "SELECT CAST(FLOOR(EXTRACT(EPOCH FROM received_at) / 3600) AS BIGINT), COUNT(*) FROM {} \
                 WHERE received_at >= {first} AND received_at < {end} GROUP BY 1",
                names.of(stream.as_str())
            );
            for row in session.rows(&count).await? {
                let [hour, rows] = numbers(&row, &count)?;
                let hour = Hour(u32::try_from(hour).map_err(|_| unexpected(&count))?);
                tables.rows.insert((stream.clone(), hour), rows);
            }
        }
        Ok(tables)
    }

    /// The ledger of one hour. Both of its tables are read by one statement, so that a load is in both or in none.
    pub(super) async fn hour(&mut self, hour: Hour) -> Result<BTreeMap<StreamName, Ledger>, AuditError> {
        let Warehouse { session, names, streams } = &mut self.warehouse;
        let of_hour = format!("WHERE {} = {}", quoted("received_hour"), session.dialect().instant(hour.start()));
        let sql = format!(
            "SELECT {object}, stream, object, state, load_id, events, 0, 0, 0 FROM {ledger} {of_hour} UNION ALL \
             SELECT {load}, stream, {none}, {none}, load_id, lines, loaded, duplicates, conflicts FROM {loads} {of_hour}",
            object = literal("object"),
            load = literal("load"),
            none = literal(""),
            ledger = names.of(Names::LEDGER),
            loads = names.of(Names::LOADS),
        );
        let ledger_of = |stream: &StreamName| Ledger {
            hour,
            complete: self.complete.get(stream).is_some_and(|until| hour.next().start() <= *until),
            rows: self.rows.get(&(stream.clone(), hour)).copied().unwrap_or_default(),
            objects: BTreeMap::new(),
            loads: BTreeMap::new(),
            gone: 0,
            to_load: 0,
        };
        let mut ledgers: BTreeMap<StreamName, Ledger> =
            streams.iter().map(|stream| (stream.clone(), ledger_of(stream))).collect();
        for row in session.rows(&sql).await? {
            let [Some(kind), Some(stream), Some(object), Some(state), Some(load), figures @ ..] = &row[..] else {
                return Err(unexpected(&sql));
            };
            let [events, loaded, duplicates, conflicts] = numbers(figures, &sql)?;
            let stream = StreamName::new(stream).ok();
            let Some(ledger) = stream.and_then(|stream| ledgers.get_mut(&stream)) else { continue };
            if kind == "load" {
                ledger.loads.insert(load.clone(), Lines { all: events, loaded, duplicates, conflicts });
            } else {
                let is_loaded = state == "loaded";
                ledger.objects.insert(object.clone(), Taken { is_loaded, load: load.clone(), events });
            }
        }
        Ok(ledgers)
    }
}

/// Every column is a number.
fn numbers<const N: usize>(row: &[Option<String>], sql: &str) -> Result<[u64; N], AuditError> {
    let read: Option<Vec<u64>> = row.iter().map(|figure| figure.as_ref()?.parse().ok()).collect();
    read.and_then(|read| read.try_into().ok()).ok_or_else(|| unexpected(sql))
}

fn unexpected(sql: &str) -> AuditError {
    let why = "the answer is not of the columns that were asked for".to_owned();
    AuditError::Warehouse(Failure::Refused { step: sql.to_owned(), why })
}

/// An object in the ledger.
#[derive(Debug)]
struct Taken {
    /// Otherwise it is set aside, or given up.
    is_loaded: bool,
    load: String,
    events: u64,
}

/// What became of the lines of a load.
#[derive(Debug, Clone, Copy)]
struct Lines {
    all: u64,
    loaded: u64,
    duplicates: u64,
    conflicts: u64,
}

/// What the warehouse tells of a stream and hour.
#[derive(Debug)]
pub(super) struct Ledger {
    hour: Hour,
    /// Whether everything of the hour should have been loaded.
    complete: bool,
    /// The rows of the table.
    rows: u64,
    objects: BTreeMap<String, Taken>,
    loads: BTreeMap<String, Lines>,
    /// Objects that were loaded and are not stored any more.
    gone: u64,
    /// The events of stored objects that are not in the ledger.
    to_load: u64,
}

impl Ledger {
    /// Whether anything was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 && self.objects.is_empty() && self.loads.is_empty()
    }

    /// Whether an object may be there no more: it was loaded, and is so old that a rule of the bucket may have removed it.
    pub(super) fn excuses(&mut self, key: &str, now: Millis) -> bool {
        let excused = self.is_old(now) && self.objects.get(key).is_some_and(|taken| taken.is_loaded);
        self.gone += u64::from(excused);
        excused
    }

    fn is_old(&self, now: Millis) -> bool {
        self.hour.next().start().saturating_add(LIFECYCLE_MILLIS) < now
    }

    /// Compares an object that the books name, and that is stored or has been.
    pub(super) fn compare(&mut self, key: &str, events: u64, is_stored: bool, report: &mut Report<'_>) {
        match self.objects.get(key) {
            Some(taken) if taken.is_loaded && taken.events != events => {
                let how = format!("{} events by the ledger, {events} by the books", taken.events);
                report.differs(Kind::LoadedOtherwise, key, how);
            }
            Some(_) => {}
            // That it is missing is told already.
            None if !is_stored => {}
            None => {
                self.to_load += events;
                if self.complete {
                    report.differs(Kind::NotLoaded, key, format!("{events} events, and its hour counts as complete"));
                }
            }
        }
    }

    /// Compares what is left, when every object that the books name has been: the ledger with itself and with the table.
    pub(super) fn conclude(
        self,
        stream: &StreamName,
        named: &BTreeSet<String>,
        request: &Request,
        report: &mut Report<'_>,
    ) -> Loaded {
        let of = |what: &str| format!("{what}, {stream} of {}", self.hour.partition());
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        let mut loaded = Loaded { to_load: self.to_load, ..Loaded::default() };
        for (key, taken) in &self.objects {
            if taken.is_loaded {
                *sums.entry(&taken.load).or_default() += taken.events;
            } else {
                loaded.set_aside += taken.events;
            }
            // Pages leave with the objects, if a rule says so.
            if !named.contains(key) && !self.is_old(request.now) {
                let how = format!("{} events by the ledger, and no page names it", taken.events);
                report.differs(Kind::LoadedOtherwise, key, how);
            }
        }
        for (load, lines) in &self.loads {
            let Lines { all: lines, loaded: rows, duplicates, conflicts } = *lines;
            loaded.rows += rows;
            loaded.duplicates += duplicates;
            loaded.set_aside += conflicts;
            if lines != rows + duplicates + conflicts {
                let how = format!("{lines} lines, but {rows} loaded, {duplicates} duplicates, {conflicts} conflicts");
                report.differs(Kind::BadLoad, of(&format!("load {load}")), how);
            }
            let events = sums.remove(load.as_str()).unwrap_or_default();
            if lines != events {
                let how = format!("{lines} lines, but the ledger's objects of it have {events} events");
                report.differs(Kind::BadLoad, of(&format!("load {load}")), how);
            }
        }
        for (load, events) in sums.into_iter().filter(|(_, events)| *events > 0) {
            let how = format!("the ledger's objects of it have {events} events, and nothing tells what became of them");
            report.differs(Kind::BadLoad, of(&format!("load {load}")), how);
        }
        if self.rows > loaded.rows {
            let how = format!("{} in the table, {} by the ledger", self.rows, loaded.rows);
            report.differs(Kind::MoreRows, of("rows"), how);
        } else if self.rows < loaded.rows {
            let missing = loaded.rows - self.rows;
            report.note(&format!("{missing} {} are not in the table: erased, or loaded just now", of("rows")));
        }
        if self.gone > 0 {
            report.note(&format!("{} {} were loaded and are not stored any more", self.gone, of("objects")));
        }
        loaded
    }
}
