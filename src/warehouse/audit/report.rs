//! What the audit tells: a row for each stream and hour as it comes, and every difference at the end.

use std::{fmt::Display, io};

use super::{MAX_NAMED, fleet::Accepted};
use crate::batch::{Hour, StreamName};

/// In which way something does not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A page names an object that is not there.
    Missing,
    /// An object is not exactly one sound gzip member or zstd frame.
    Unreadable,
    /// An object has other lines than its page counts.
    Changed,
    /// A second object has the lines of one that a page names.
    Duplicate,
    /// An object that no page names.
    NotInBooks,
    /// Places of a segment could not be read.
    Damaged,
    /// A page that cannot be read.
    BadPage,
    /// Heartbeats count more events than pages.
    NotSpooled,
    /// An object is neither loaded nor set aside, although it should be.
    NotLoaded,
    /// The warehouse's ledger tells something else of an object than the books.
    LoadedOtherwise,
    /// What became of a load's lines does not add up.
    BadLoad,
    /// A table has more rows than were loaded.
    MoreRows,
}

impl Kind {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Changed => "changed",
            Self::Duplicate => "duplicate",
            Self::NotInBooks => "not in the books",
            Self::Damaged => "damaged",
            Self::BadPage => "bad page",
            Self::NotSpooled => "not spooled",
            Self::NotLoaded => "not loaded",
            Self::LoadedOtherwise => "loaded otherwise",
            Self::BadLoad => "bad load",
            Self::MoreRows => "more rows",
        }
    }
}

/// What came of an audit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// What does not add up.
    pub differences: u64,
    /// Objects that no page names yet.
    pub in_flight: u64,
}

/// Events of a stream and hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) spooled: u64,
    pub(super) stored: u64,
    pub(super) rejected_spooled: u64,
    pub(super) rejected_stored: u64,
    /// If it is a stream that is loaded.
    pub(super) loaded: Option<Loaded>,
}

/// What became of the stored events in the warehouse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) rows: u64,
    pub(super) duplicates: u64,
    /// Of objects that could not be loaded, and of lines that bear the id of another event.
    pub(super) set_aside: u64,
    /// Of stored objects that the warehouse's ledger does not tell of.
    pub(super) to_load: u64,
}

impl Row {
    /// How many more are stored than were spooled.
    fn difference(self) -> i128 {
        let sum = |one: u64, other: u64| i128::from(one) + i128::from(other);
        sum(self.stored, self.rejected_stored) - sum(self.spooled, self.rejected_spooled)
    }
}

/// The report, as it is written.
pub(super) struct Report<'a> {
    out: &'a mut dyn io::Write,
    total: Row,
    /// Whether there is a warehouse to tell of.
    with_loads: bool,
    named: Vec<String>,
    notes: Vec<String>,
    summary: Summary,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a mut (dyn io::Write + 'a), with_loads: bool) -> Self {
        let total = Row { loaded: with_loads.then(Loaded::default), ..Row::default() };
        Self { out, total, with_loads, named: Vec::new(), notes: Vec::new(), summary: Summary::default() }
    }

    pub(super) fn head(&mut self) -> io::Result<()> {
        let (left, right) = (["hour (UTC)", "stream"], ["accepted", "spooled", "stored"]);
        let figures = [right[0], right[1], right[2], "rej. spooled", "rej. stored", "difference"];
        self.line(left, figures, ["loaded", "duplicates", "set aside", "to load"])
    }

    /// A stream and hour, unless nothing is known of it.
    pub(super) fn row(
        &mut self,
        hour: Hour,
        stream: &StreamName,
        accepted: Option<Accepted>,
        row: Row,
    ) -> io::Result<()> {
        let accepted = accepted.filter(|accepted| accepted.events > 0);
        let nothing = Row { loaded: row.loaded.map(|_| Loaded::default()), ..Row::default() };
        if accepted.is_none() && row == nothing {
            return Ok(());
        }
        for (total, one) in [
            (&mut self.total.spooled, row.spooled),
            (&mut self.total.stored, row.stored),
            (&mut self.total.rejected_spooled, row.rejected_spooled),
            (&mut self.total.rejected_stored, row.rejected_stored),
        ] {
            *total += one;
        }
        if let (Some(total), Some(one)) = (&mut self.total.loaded, row.loaded) {
            total.rows += one.rows;
            total.duplicates += one.duplicates;
            total.set_aside += one.set_aside;
            total.to_load += one.to_load;
        }
        let mark = |accepted: Accepted| format!("{}{}", if accepted.can_lag { "~" } else { "" }, accepted.events);
        let (day, of_day) = hour.day_and_hour();
        let accepted = accepted.map_or("-".to_owned(), mark);
        self.figures([&format!("{day}T{of_day}"), stream.as_str()], &accepted, row)
    }

    fn figures(&mut self, left: [&str; 2], accepted: &str, row: Row) -> io::Result<()> {
        let figures =
            [row.spooled, row.stored, row.rejected_spooled, row.rejected_stored].map(|count| count.to_string());
        let difference = row.difference().to_string();
        let [spooled, stored, rejected_spooled, rejected_stored] = &figures;
        let loads = row.loaded.map(|Loaded { rows, duplicates, set_aside, to_load }| {
            [rows, duplicates, set_aside, to_load].map(|count| count.to_string())
        });
        let loads = loads.as_ref().map_or(["-"; 4], |loads| loads.each_ref().map(String::as_str));
        self.line(left, [accepted, spooled, stored, rejected_spooled, rejected_stored, &difference], loads)
    }

    fn line(&mut self, [hour, stream]: [&str; 2], figures: [&str; 6], loads: [&str; 4]) -> io::Result<()> {
        write!(self.out, "{hour:<14} {stream:<24}")?;
        for figure in figures.into_iter().chain(loads.into_iter().filter(|_| self.with_loads)) {
            write!(self.out, " {figure:>12}")?;
        }
        writeln!(self.out)
    }

    /// Something does not add up.
    pub(super) fn differs(&mut self, kind: Kind, what: impl Display, how: impl Display) {
        self.summary.differences += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(format!("{}: {what} ({how})", kind.as_str()));
        }
    }

    /// An object that no page names yet.
    pub(super) fn in_flight(&mut self) {
        self.summary.in_flight += 1;
    }

    /// Something that is to be known.
    pub(super) fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    /// Writes the end.
    pub(super) fn conclude(mut self) -> io::Result<Summary> {
        self.figures(["total", ""], "", self.total)?;
        writeln!(self.out)?;
        for named in &self.named {
            writeln!(self.out, "{named}")?;
        }
        let Summary { differences, in_flight } = self.summary;
        if differences > self.named.len() as u64 {
            writeln!(self.out, "and {} more", differences - self.named.len() as u64)?;
        }
        for note in &self.notes {
            writeln!(self.out, "{note}")?;
        }
        if in_flight > 0 {
            writeln!(self.out, "{in_flight} objects are in flight: their instances have not written their pages yet")?;
        }
        writeln!(
            self.out,
            "accepted is what heartbeats tell; ~ marks what can lag, by up to an interval, or by what came after the \
             last heartbeat before a kill"
        )?;
        match differences {
            0 => writeln!(self.out, "everything adds up")?,
            1 => writeln!(self.out, "1 difference")?,
            _ => writeln!(self.out, "{differences} differences")?,
        }
        self.out.flush()?;
        Ok(self.summary)
    }
}
