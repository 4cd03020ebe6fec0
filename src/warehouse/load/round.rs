//! A round: all that is stored and not loaded, is.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use ulid::Ulid;

use super::{
    Failure, Guard, Script, Session,
    bisect::halves,
    find::{self, Found},
    manifest,
    patience::Patience,
    plan::{self, Limits},
    report::{FORMAT, Report, Rows, SetAside, StreamReport},
    script::{self, Load, Of, Status},
    tables::{self, Tables},
    watch::{Event, Stop, Watcher},
};
use crate::{
    batch::{Clock, Hour, Millis},
    warehouse::{Completeness, Dialect, Names, Place, PlaceError, Table, completeness, table::literal},
};

/// How often what another loader has taken is left out, and the rest is tried, before the round leaves the batch to it.
const REPLANS: u32 = 1_000;
/// How many objects of a stream are set aside, in all rounds, before its loading stops: so many have nothing wrong with
/// each, but with the table or with the schema.
pub const MAX_SET_ASIDE: usize = 50;
/// The steps of a load whose refusal is not the stream's alone.
const SHARED_STEPS: [&str; 6] = ["connect", "begin", "lock", "ledger", "status row", "status"];
/// How times are asked for.
const TIME_FORMAT: &str = r#"YYYY-MM-DD"T"HH24:MI:SS.MS"Z""#;

/// What a loader does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the tables are called.
    pub names: Names,
    /// The tables of the streams that are loaded.
    pub tables: Vec<Table>,
    /// What a transaction takes.
    pub limits: Limits,
    /// How far apart two copies of an event may be received, and how far behind the watermark late objects are sought.
    pub window: Duration,
    /// Whether objects that are set aside are taken again.
    pub retry: bool,
}

/// The round cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store cannot be read.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The warehouse cannot be reached, or does not do it.
    #[error(transparent)]
    Warehouse(#[from] Failure),
    /// The loader's own tables are not as they should be.
    #[error("{0}")]
    Tables(String),
}

impl LoadError {
    /// Whether it will not get better by itself.
    pub fn is_standing(&self) -> bool {
        matches!(self, Self::Tables(_) | Self::Warehouse(Failure::Refused { .. }))
    }
}

/// Loads what one place holds into one warehouse.
pub struct Loader {
    session: Box<dyn Session>,
    place: Arc<Place>,
    settings: Settings,
    clock: Clock,
    stop: Stop,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What came of a transaction that was to load objects.
enum Outcome {
    Loaded(Rows),
    /// It came to nothing again and again, perhaps since it takes longer, or more memory, than there is: in halves it may
    /// do. Nothing is set aside for that.
    TooMuch,
    /// Another loader has taken some of them.
    Taken,
    /// One of them is bad; which, if it is known.
    Bad(Option<String>, String),
    /// The stream's tables do not take it.
    Refused(String),
}

impl Loader {
    /// A loader that speaks to the warehouse by `session`.
    pub fn new(session: Box<dyn Session>, place: Arc<Place>, settings: Settings, stop: Stop) -> Self {
        Self { session, place, settings, clock: Clock::starting_at(None), stop }
    }

    /// The session with the warehouse, for what comes after a load.
    pub fn session(&mut self) -> &mut dyn Session {
        &mut *self.session
    }

    /// Loads what is new. With `sweep` it looks as far back as copies of an event may be apart, for what came late;
    /// without, from where everything was complete.
    ///
    /// # Errors
    /// [`LoadError`]; what was loaded until then is loaded, and `report` tells of it. It does so too if this is dropped
    /// before its end.
    pub async fn round(&mut self, sweep: bool, report: &mut Report, watcher: Watcher<'_>) -> Result<(), LoadError> {
        let began = Instant::now();
        *report = Report { format: FORMAT, ..Report::default() };
        let ended = self.streams(sweep, report, watcher).await;
        report.interrupted = self.stop.is_told();
        report.seconds = began.elapsed().as_secs_f64();
        report.problem = ended.as_ref().err().map(ToString::to_string);
        ended
    }

    async fn streams(&mut self, sweep: bool, report: &mut Report, watcher: Watcher<'_>) -> Result<(), LoadError> {
        let names = self.settings.names.clone();
        let tables = self.tables(watcher).await?;
        if let Some(wrong) = tables.own(&names) {
            return Err(LoadError::Tables(wrong));
        }
        for table in self.settings.tables.clone() {
            report.streams.push(StreamReport { stream: table.stream.to_string(), ..StreamReport::default() });
            let Some(stream) = report.streams.last_mut() else { continue };
            let wrong = tables.of_stream(self.session.dialect(), &names, &table);
            stream.problem = match wrong {
                Some(wrong) => Some(wrong),
                None => tables::copy_job(&mut *self.session, &names, table.stream.as_str()).await?,
            };
            if self.stop.is_told() {
                continue;
            }
            if stream.problem.is_none() {
                self.stream(&table, sweep, stream, watcher).await?;
            }
            self.read_status(&table, stream, watcher).await?;
        }
        Ok(())
    }

    async fn tables(&mut self, watcher: Watcher<'_>) -> Result<Tables, Failure> {
        let mut patience = Patience::new();
        loop {
            match Tables::read(&mut *self.session, &self.settings.names).await {
                Err(Failure::Unreachable(why)) => patience.wait(why, watcher).await?,
                read => return read,
            }
        }
    }

    async fn rows(&mut self, sql: &str, watcher: Watcher<'_>) -> Result<Vec<super::Row>, Failure> {
        let mut patience = Patience::new();
        loop {
            match self.session.rows(sql).await {
                Err(Failure::Unreachable(why)) => patience.wait(why, watcher).await?,
                answer => return answer,
            }
        }
    }

    async fn stream(
        &mut self,
        table: &Table,
        sweep: bool,
        report: &mut StreamReport,
        watcher: Watcher<'_>,
    ) -> Result<(), LoadError> {
        let now = self.clock.now();
        let stream = literal(table.stream.as_str()).to_string();
        let before = self.complete_through(&stream, watcher).await?;
        // Before the listing: what was stored by then is listed.
        let complete = completeness(&self.place, before, now).await?;
        let (days, strangers) = find::days(&self.place, &table.stream).await?;
        report.strangers(strangers);
        let mut from = match (before, sweep) {
            (None, _) => Hour(0),
            (Some(before), false) => before.hour(),
            (Some(before), true) => before.saturating_add(-(self.settings.window.as_millis() as i64)).hour(),
        };
        if self.settings.retry {
            from = from.min(self.oldest_set_aside(&stream, watcher).await?.unwrap_or(from));
        }
        // The oldest of what is stored and not loaded, and why it is not.
        let mut behind: Option<(Hour, &'static str)> = None;
        let room = self.room_to_set_aside(&stream, watcher).await?;
        'days: for day in days.into_iter().filter(|day| find::day_of(*day).1 > from) {
            let known = self.known(&stream, day, watcher).await?;
            let found = find::day(&self.place, &table.stream, (day, from), &known, now).await?;
            report.waiting += found.waiting.len() as u64;
            report.strangers(found.strangers);
            let waiting = found.waiting.into_iter().map(|hour| (hour, "on its way"));
            let unbooked = found.unbooked.iter().map(|object| (object.hour, object.held_back_by));
            behind = behind.into_iter().chain(waiting).chain(unbooked).min();
            report.unbooked(found.unbooked);
            let mut batches = plan::batches(found.new, self.settings.limits);
            while let Some(batch) = batches.pop_front() {
                if self.stop.is_told() {
                    break 'days;
                }
                // With this one none of the rest of the day is loaded, and the rest need not be later.
                let first = batches.iter().flatten().chain(&batch).map(|object| object.hour).min();
                self.batch(table, batch, room, report, watcher).await?;
                if report.problem.is_some() {
                    behind = behind.into_iter().chain(first.map(|hour| (hour, "not loaded"))).min();
                    break 'days;
                }
            }
        }
        report.looked_through = report.problem.is_none() && !self.stop.is_told();
        let whole = report.looked_through;
        let (until, held_back_by) = held_back(whole.then_some(complete), behind);
        let (names, dialect) = (self.settings.names.clone(), self.session.dialect());
        let held_back_by = held_back_by.as_deref();
        let status = Status { whole, complete_through: until, held_back_by, now: self.clock.now() };
        let script = Of { dialect, names: &names, table }.status(status);
        Ok(self.do_again(&script, watcher).await?)
    }

    /// What the status tells of the stream, into `report`.
    async fn read_status(
        &mut self,
        table: &Table,
        report: &mut StreamReport,
        watcher: Watcher<'_>,
    ) -> Result<(), Failure> {
        let sql = format!(
            "SELECT TO_CHAR(complete_through, '{TIME_FORMAT}'), held_back_by, set_aside_objects, set_aside_events FROM {} \
             WHERE stream = {}",
            self.settings.names.of(Names::STATUS),
            literal(table.stream.as_str())
        );
        if let [row, ..] = self.rows(&sql, watcher).await?.as_slice() {
            report.complete_through = time(row).map(|through| through.to_string());
            report.held_back_by = row.get(1).cloned().flatten();
            (report.set_aside_objects, report.set_aside_events) = (Some(number(row, 2)), Some(number(row, 3)));
        }
        Ok(())
    }

    /// Up to when the stream is said to be loaded.
    async fn complete_through(&mut self, stream: &str, watcher: Watcher<'_>) -> Result<Option<Millis>, Failure> {
        let status = self.settings.names.of(Names::STATUS);
        let sql = format!("SELECT TO_CHAR(complete_through, '{TIME_FORMAT}') FROM {status} WHERE stream = {stream}");
        Ok(self.rows(&sql, watcher).await?.first().and_then(|row| time(row)))
    }

    /// How many objects of the stream may be set aside until it is taken to be the table. What former rounds have set
    /// aside counts, unless it is taken again.
    async fn room_to_set_aside(&mut self, stream: &str, watcher: Watcher<'_>) -> Result<usize, Failure> {
        if self.settings.retry {
            return Ok(MAX_SET_ASIDE);
        }
        let ledger = self.settings.names.of(Names::LEDGER);
        let sql = format!("SELECT COUNT(*) FROM {ledger} WHERE stream = {stream} AND state = 'set_aside'");
        let known = self.rows(&sql, watcher).await?.first().map_or(0, |row| number(row, 0));
        Ok(MAX_SET_ASIDE.saturating_sub(usize::try_from(known).unwrap_or(usize::MAX)))
    }

    async fn oldest_set_aside(&mut self, stream: &str, watcher: Watcher<'_>) -> Result<Option<Hour>, Failure> {
        let sql = format!(
            "SELECT TO_CHAR(MIN(received_hour), '{TIME_FORMAT}') FROM {} WHERE stream = {stream} AND state = 'set_aside'",
            self.settings.names.of(Names::LEDGER)
        );
        let rows = self.rows(&sql, watcher).await?;
        Ok(rows.first().and_then(|row| time(row)).map(Millis::hour))
    }

    /// The objects of a day that are not to be loaded: the ledger has them.
    async fn known(&mut self, stream: &str, day: Hour, watcher: Watcher<'_>) -> Result<HashSet<String>, Failure> {
        let (first, end) = find::day_of(day);
        let dialect = self.session.dialect();
        let sql = format!(
            "SELECT object FROM {} WHERE stream = {stream} AND received_hour >= {} AND received_hour < {}{}",
            self.settings.names.of(Names::LEDGER),
            dialect.instant(first.start()),
            dialect.instant(end.start()),
            if self.settings.retry { " AND state <> 'set_aside'" } else { "" },
        );
        Ok(self.rows(&sql, watcher).await?.into_iter().flatten().flatten().collect())
    }

    /// Loads a batch, but for what cannot be loaded or was loaded by somebody else.
    async fn batch(
        &mut self,
        table: &Table,
        batch: Vec<Found>,
        room: usize,
        report: &mut StreamReport,
        watcher: Watcher<'_>,
    ) -> Result<(), LoadError> {
        let mut replans = 0;
        // What is to be done, the last first.
        let mut work = vec![batch];
        while let Some(mut batch) = work.pop().filter(|_| !self.stop.is_told()) {
            let began = Instant::now();
            match self.load(table, &batch, watcher).await? {
                Outcome::Loaded(rows) => {
                    report.loads += 1;
                    report.objects += batch.len() as u64;
                    report.bytes += batch.iter().map(|object| object.bytes).sum::<u64>();
                    report.rows.add(rows);
                    let (stream, objects) = (table.stream.as_str(), batch.len());
                    watcher(Event::Loaded { stream, objects, rows, took: began.elapsed() });
                }
                Outcome::TooMuch => {
                    if let Ok((first, second)) = halves(batch) {
                        work.extend([second, first]);
                    }
                }
                Outcome::Taken => {
                    replans += 1;
                    if replans > REPLANS {
                        report.problem = Some(format!(
                            "other loaders have taken objects of one batch {REPLANS} times: run no more than one or two"
                        ));
                        return Ok(());
                    }
                    let taken = self.taken(&batch, watcher).await?;
                    batch.retain(|object| !taken.contains(&object.key));
                    if !batch.is_empty() {
                        work.push(batch);
                    }
                }
                Outcome::Bad(object, why) => {
                    let place = object.and_then(|key| batch.iter().position(|object| object.key == key));
                    let bad = match place {
                        Some(place) => {
                            let bad = batch.remove(place);
                            if !batch.is_empty() {
                                work.push(batch);
                            }
                            bad
                        }
                        None => match halves(batch) {
                            Ok((first, second)) => {
                                work.extend([second, first]);
                                continue;
                            }
                            Err(Some(bad)) => bad,
                            Err(None) => continue,
                        },
                    };
                    if report.set_aside.len() >= room {
                        report.problem = Some(format!(
                            "{MAX_SET_ASIDE} objects are set aside, so it is not the objects: compare the table with \
                             `logweir schema`, and then run with --retry. The next is {}: {why}",
                            bad.key
                        ));
                        return Ok(());
                    }
                    if self.set_aside(table, &bad, &why, watcher).await? {
                        watcher(Event::SetAside { object: &bad.key, why: &why });
                        report.set_aside.push(SetAside { object: bad.key, events: bad.events, error: why });
                    }
                }
                Outcome::Refused(why) => {
                    report.problem = Some(why);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn load(&mut self, table: &Table, objects: &[Found], watcher: Watcher<'_>) -> Result<Outcome, LoadError> {
        let (names, dialect) = (self.settings.names.clone(), self.session.dialect());
        let of = Of { dialect, names: &names, table };
        let mut patience = Patience::new();
        loop {
            let now = self.clock.now();
            // Each attempt is another load, so that the ledger can be asked about one of them.
            let id = Ulid::from_parts(now.get().max(0) as u64, random()).to_string();
            let manifest = match dialect {
                Dialect::Postgres => String::new(),
                Dialect::Redshift => manifest::put(&self.place, &id, objects).await?,
            };
            let (window, retry) = (self.settings.window, self.settings.retry);
            let script = of.load(Load { id: &id, objects, manifest: &manifest, window, now, retry });
            match self.session.run(&script).await {
                Ok(()) => return Ok(Outcome::Loaded(self.counted(&id, watcher).await?)),
                Err(Failure::Guard(Guard::NotLoaded)) => return Ok(Outcome::Taken),
                Err(Failure::Guard(guard)) => return Ok(Outcome::Bad(None, guard.to_string())),
                Err(Failure::Object { object, why }) => return Ok(Outcome::Bad(object, why)),
                Err(Failure::Unreachable(why)) => {
                    patience.wait(why, watcher).await?;
                    if patience.is_short() && objects.len() > 1 {
                        return Ok(Outcome::TooMuch);
                    }
                }
                Err(Failure::Ambiguous(why)) => {
                    patience.wait(why, watcher).await?;
                    if self.has_committed(of, &id, watcher).await? {
                        return Ok(Outcome::Loaded(self.counted(&id, watcher).await?));
                    }
                }
                Err(Failure::Refused { step, why }) if !SHARED_STEPS.contains(&step.as_str()) => {
                    return Ok(Outcome::Refused(format!("{step}: {why}")));
                }
                Err(refused @ Failure::Refused { .. }) => return Err(refused.into()),
            }
        }
    }

    /// Whether the load `id`, which was lost while it committed, is in the ledger.
    async fn has_committed(&mut self, of: Of<'_>, id: &str, watcher: Watcher<'_>) -> Result<bool, LoadError> {
        // It had the lock: whoever gets it now comes after its end.
        self.do_again(&of.wait(), watcher).await?;
        let ledger = self.settings.names.of(Names::LEDGER);
        let sql = format!("SELECT COUNT(*) FROM {ledger} WHERE load_id = {}", literal(id));
        Ok(self.rows(&sql, watcher).await?.first().is_some_and(|row| number(row, 0) > 0))
    }

    /// What became of the lines of the load `id`.
    async fn counted(&mut self, id: &str, watcher: Watcher<'_>) -> Result<Rows, Failure> {
        let sql = format!(
            "SELECT COALESCE(SUM(lines), 0), COALESCE(SUM(loaded), 0), COALESCE(SUM(duplicates), 0), \
             COALESCE(SUM(conflicts), 0), COALESCE(SUM(late), 0) FROM {} WHERE load_id = {}",
            self.settings.names.of(Names::LOADS),
            literal(id)
        );
        let rows = self.rows(&sql, watcher).await?;
        Ok(rows.first().map_or_else(Rows::default, |row| Rows {
            lines: number(row, 0),
            loaded: number(row, 1),
            duplicates: number(row, 2),
            conflicts: number(row, 3),
            late: number(row, 4),
        }))
    }

    /// Which of `objects` are loaded or given up, or set aside and not taken again, whatever else their rows say: just what
    /// the guard of a load asks for.
    async fn taken(&mut self, objects: &[Found], watcher: Watcher<'_>) -> Result<HashSet<String>, Failure> {
        let mut taken = HashSet::new();
        for sql in script::taken(&self.settings.names, objects, self.settings.retry) {
            taken.extend(self.rows(&sql, watcher).await?.into_iter().flatten().flatten());
        }
        Ok(taken)
    }

    /// Whether it was set aside: somebody else could load it, or an operator has given it up meanwhile.
    async fn set_aside(
        &mut self,
        table: &Table,
        object: &Found,
        why: &str,
        watcher: Watcher<'_>,
    ) -> Result<bool, LoadError> {
        let (names, dialect, now) = (self.settings.names.clone(), self.session.dialect(), self.clock.now());
        let id = Ulid::from_parts(now.get().max(0) as u64, random()).to_string();
        let script = Of { dialect, names: &names, table }.set_aside(object, &id, why, now);
        match self.do_again(&script, watcher).await {
            Err(Failure::Guard(_)) => Ok(false),
            done => Ok(done.map(|()| true)?),
        }
    }

    /// Runs a script that may run twice.
    async fn do_again(&mut self, script: &Script, watcher: Watcher<'_>) -> Result<(), Failure> {
        let mut patience = Patience::new();
        loop {
            match self.session.run(script).await {
                Err(Failure::Unreachable(why) | Failure::Ambiguous(why)) => patience.wait(why, watcher).await?,
                done => return done,
            }
        }
    }
}

/// Up to when everything is loaded, and who holds it back if that is not the ordinary course. Without `complete` only
/// what is `behind` counts: the stream was not looked through.
fn held_back(complete: Option<Completeness>, behind: Option<(Hour, &str)>) -> (Option<Millis>, Option<String>) {
    let behind = behind.map(|(hour, why)| (hour.start(), why.to_owned())).unzip();
    let Some(Completeness { until, held_back_by }) = complete else { return behind };
    match (until, behind.0) {
        (None, _) => (None, None),
        (Some(until), Some(start)) if start < until => behind,
        _ => (until, held_back_by.and_then(|(instance, silent)| silent.then(|| instance.to_string()))),
    }
}

/// The time in a row's first column, written in [`TIME_FORMAT`].
fn time(row: &[Option<String>]) -> Option<Millis> {
    Millis::parse_rfc3339(row.first()?.as_deref()?)
}

/// A number of a row; PostgreSQL writes sums as decimals without a fraction.
fn number(row: &[Option<String>], column: usize) -> u64 {
    row.get(column).and_then(|text| text.as_deref()?.parse().ok()).unwrap_or(0)
}

fn random() -> u128 {
    let mut random = [0; 16];
    if getrandom::fill(&mut random).is_err() {
        random = fastrand::u128(..).to_le_bytes();
    }
    u128::from_le_bytes(random)
}
