//! What a round has done, for people and for machines.

use std::fmt;

use serde::Serialize;

use super::find::{Stranger, Unbooked};
use crate::warehouse::rollup;

/// The version of the summary's form.
pub const FORMAT: u32 = 1;
/// How many objects of each kind are named; all are counted.
pub const MAX_NAMED: usize = 100;

/// What a round has done. As JSON, the names of its members are stable: more may come, none changes its meaning.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Whether it was told to stop, and there may be more to load.
    pub interrupted: bool,
    /// How long it took.
    pub seconds: f64,
    /// The streams, in the order of the configuration.
    pub streams: Vec<StreamReport>,
    /// Why the round ended before everything was done, if it did. What it did until then is told all the same.
    pub problem: Option<String>,
    /// What became of the figures by day and hour; `null` if they were not counted.
    pub rollups: Option<rollup::Summary>,
}

/// What a round has done for a stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StreamReport {
    /// The stream.
    pub stream: String,
    /// Transactions that loaded something.
    pub loads: u64,
    /// Objects loaded.
    pub objects: u64,
    /// Their compressed bytes.
    pub bytes: u64,
    /// What became of their lines.
    #[serde(flatten)]
    pub rows: Rows,
    /// Objects that this round could not load and set aside, up to [`MAX_NAMED`].
    pub set_aside: Vec<SetAside>,
    /// How many objects are set aside, those of former rounds included; `null` if the status was not asked.
    pub set_aside_objects: Option<u64>,
    /// Their lines, by the books; `null` if the status was not asked.
    pub set_aside_events: Option<u64>,
    /// Whether all that is stored was looked at. If not, `waiting`, `unbooked` and the strangers are of a part of it.
    pub looked_through: bool,
    /// Objects that no page of the books names yet.
    pub waiting: u64,
    /// Objects that no page of the books names, or whose page cannot be read, up to [`MAX_NAMED`]. They hold back
    /// `complete_through` until an operator gives them up.
    pub unbooked: Vec<Named>,
    /// How many of them there are.
    pub unbooked_in_all: u64,
    /// What stands among the stream's objects and is none, up to [`MAX_NAMED`].
    pub strangers: Vec<Named>,
    /// How many of them there are.
    pub strangers_in_all: u64,
    /// All that was received before is loaded; `null` if nobody knows, or the status was not asked.
    pub complete_through: Option<String>,
    /// Who holds it back: an instance that is silent, `set aside`, `on its way`, `page unreadable`, `not in the books`,
    /// `not loaded`.
    pub held_back_by: Option<String>,
    /// Why the stream was not loaded, or not all of it, if it was not.
    pub problem: Option<String>,
}

/// Lines = loaded + duplicates + conflicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// Lines read.
    pub lines: u64,
    /// Rows of the table that they became.
    pub loaded: u64,
    /// Copies of events that the table has.
    pub duplicates: u64,
    /// Lines that bear the id of another event; they are in the stream's table of conflicts.
    pub conflicts: u64,
    /// Of those loaded: received before what was already complete.
    pub late: u64,
}

/// An object that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// Its key.
    pub object: String,
    /// Its lines, by the books.
    pub events: u64,
    /// What is wrong with it.
    pub error: String,
}

/// Something by its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The key.
    pub key: String,
    /// What is to be said of it.
    pub why: String,
}

impl Rows {
    pub(super) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.loaded += other.loaded;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.late += other.late;
    }
}

impl StreamReport {
    pub(super) fn strangers(&mut self, strangers: Vec<Stranger>) {
        self.strangers_in_all += strangers.len() as u64;
        let room = MAX_NAMED.saturating_sub(self.strangers.len());
        self.strangers.extend(strangers.into_iter().take(room).map(|Stranger { key, why }| Named { key, why }));
    }

    pub(super) fn unbooked(&mut self, unbooked: Vec<Unbooked>) {
        self.unbooked_in_all += unbooked.len() as u64;
        let room = MAX_NAMED.saturating_sub(self.unbooked.len());
        self.unbooked.extend(unbooked.into_iter().take(room).map(|Unbooked { key, why, .. }| Named { key, why }));
    }

    /// Whether somebody should look at it: an object is set aside or not in the books, a line bears the id of another
    /// event, or something stands among the objects that is none.
    pub fn needs_somebody(&self) -> bool {
        self.set_aside_objects.is_some_and(|objects| objects > 0)
            || self.rows.conflicts > 0
            || self.unbooked_in_all + self.strangers_in_all > 0
    }
}

impl Report {
    /// Whether somebody should look at one of the streams.
    pub fn needs_somebody(&self) -> bool {
        self.streams.iter().any(StreamReport::needs_somebody)
    }

    /// Whether a stream was not loaded because of its table.
    pub fn has_problem(&self) -> bool {
        self.streams.iter().any(|stream| stream.problem.is_some())
    }
}

/// For people: a paragraph a stream.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stream in &self.streams {
            stream.fmt(f)?;
        }
        if self.interrupted {
            writeln!(f, "stopped before everything was loaded")?;
        }
        if let Some(problem) = &self.problem {
            writeln!(f, "the round failed: {problem}")?;
        }
        Ok(())
    }
}

/// `1 object`, `2 objects`.
pub(super) fn counted(count: u64, one: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| write!(f, "{count} {one}{}", if count == 1 { "" } else { "s" }))
}

impl fmt::Display for StreamReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rows { lines, loaded, duplicates, conflicts, late } = self.rows;
        writeln!(
            f,
            "{}: {}, {} = {loaded} loaded + {duplicates} duplicates + {conflicts} conflicts",
            self.stream,
            counted(self.objects, "object"),
            counted(lines, "line")
        )?;
        match &self.complete_through {
            Some(through) => write!(f, "  complete through {through}")?,
            None if self.looked_through => write!(f, "  complete through: nobody knows, there are no heartbeats")?,
            None => write!(f, "  complete through: not known, since the stream was not looked through")?,
        }
        writeln!(f, "{}", self.held_back_by.as_ref().map(|by| format!(", held back by {by}")).unwrap_or_default())?;
        if late > 0 {
            writeln!(f, "  {late} of the loaded were received before what was already complete")?;
        }
        if self.waiting > 0 {
            writeln!(f, "  {} objects wait for their page of the books", self.waiting)?;
        }
        for SetAside { object, events, error } in &self.set_aside {
            writeln!(f, "  set aside: {object} ({events} events): {error}")?;
        }
        let events = self.set_aside_events.unwrap_or(0);
        if let Some(objects) = self.set_aside_objects.filter(|objects| *objects > 0) {
            writeln!(f, "  {objects} objects are set aside, {events} events; --retry takes them again")?;
        }
        for Named { key, why } in &self.unbooked {
            writeln!(f, "  not in the books: {key}: {why}")?;
        }
        let unnamed = self.unbooked_in_all - self.unbooked.len() as u64;
        if unnamed > 0 {
            writeln!(f, "  and {unnamed} more that are not in the books")?;
        }
        for Named { key, why } in &self.strangers {
            writeln!(f, "  stranger: {key}: {why}")?;
        }
        let unnamed = self.strangers_in_all - self.strangers.len() as u64;
        if unnamed > 0 {
            writeln!(f, "  and {unnamed} strangers more")?;
        }
        if let Some(problem) = &self.problem {
            writeln!(f, "  not loaded: {problem}")?;
        }
        Ok(())
    }
}
