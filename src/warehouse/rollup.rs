//! Rollups: figures by day and hour of the analysts' clock, so that no dashboard reads the history of a stream again.
//!
//! # What is counted
//!
//! Of each stream in `[rollups.streams]` that is loaded: events, and devices that sent one, by day and by hour of `event_time`, in all
//! and for each value of each dimension. An event whose device is null counts as an event, and as no device. A day or an
//! hour is what the wall clock of `rollups.timezone` shows: where clocks are set back, the hour that comes twice is one
//! row; where they are set forward, the hour that is left out has none. What had no event has no row.
//!
//! # When
//!
//! An event may come days after its `event_time`, so figures are counted anew, each time from the events themselves and
//! never from what was counted before:
//!
//! ```text
//!            final_before           complete_through        now
//!   ── is_final ──┤── is_complete ──────────┤── neither ─────┤
//!   never touched │            deleted and counted anew, in one transaction
//! ```
//!
//! `complete_through` is what the loader promises in `load_status`: everything received before it is loaded. A day is
//! *complete* when its end is not after it: what devices sent in time is there. It is *final* when it ended `days − 1`
//! times 24 hours before it: what is later than that stays in the stream's table and changes no figure any more, until
//! somebody [restates](restate) the day. Nothing moves `final_before` back. While the loader is behind, so is
//! `complete_through`, and all that is not final is counted anew, however long ago it was.
//!
//! Where `complete_through` is not known (nobody loads with `logweir load`, or no instance keeps books) no day is ever
//! complete or final, and the days are counted anew that ended less than `days − 1` days before the last refresh.
//!
//! A stream of which nothing new was loaded is left out. When the zone, the device or the dimensions of a stream change,
//! everything is counted anew from the events that are there. Where older ones were deleted meanwhile, of which there are
//! figures, the days until the oldest event's own stay as they were counted, by the old definition; if the zone is
//! another one, and no more than one day was deleted, that is not seen, and its figures are lost.
//!
//! # How two refreshes meet
//!
//! A transaction for each stream locks [`ROLLUP_STATUS`](super::Names::ROLLUP_STATUS) first, which no dashboard reads. That table tells from
//! where the figures are not final. A refresh reads it ahead, to write the bounds as literals by which the table of events
//! is pruned, and once more within the transaction: what became final meanwhile is not touched.
//!
//! # What it costs
//!
//! For each stream 2 + 2 × dimensions reads of the columns in question, of the days that are not final.

mod count;
mod ddl;
mod export;
mod standing;

use jiff::{
    civil::{Date, Time},
    tz::TimeZone,
};

pub use ddl::{ddl, names};
pub use export::{Exported, export};
pub use standing::Standing;

use self::count::{Figures, Span};
use super::{
    Dialect,
    load::{Failure, Script, Session},
    target::{Counted, Definitions},
};
use crate::{batch::Millis, schema::Load};

/// The longest value of a dimension that is kept, in characters; in bytes on Redshift. Of a longer one, its beginning.
pub const MAX_VALUE: usize = 256;

/// What is asked for cannot be counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollupError {
    /// The time zone is not known.
    #[error("{0:?} is no time zone that is known here")]
    NoZone(String),
    /// There is no such table.
    #[error("the stream {0} has no table")]
    NoTable(String),
    /// There is no such column: it is not declared, or dropped since it is private.
    #[error("the table of {stream} has no column {column}")]
    NoColumn {
        /// The stream.
        stream: String,
        /// The device or the dimension.
        column: String,
    },
    /// A value of JSON is equal to another in more than one way.
    #[error("{column} of {stream} is JSON, whose values are not told apart")]
    Json {
        /// The stream.
        stream: String,
        /// The device or the dimension.
        column: String,
    },
}

impl From<RollupError> for Failure {
    fn from(error: RollupError) -> Self {
        Self::Refused { step: "rollups".to_owned(), why: error.to_string() }
    }
}

/// What a refresh has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Summary {
    /// Streams that were counted anew.
    pub counted: usize,
    /// Streams of which nothing new was loaded.
    pub unchanged: usize,
    /// Streams of which days were counted anew that were asked for.
    pub restated: usize,
    /// What was copied, where the figures are copied.
    pub exported: Option<Exported>,
}

/// Counts anew what is not final, a transaction for each stream in the order of the definitions; a stream that stands as
/// it stood at its last refresh is left out.
///
/// # Errors
/// [`RollupError`] if something cannot be counted. Then there is no script for any stream.
pub fn refresh(
    dialect: Dialect,
    definitions: &Definitions,
    standing: &Standing,
    now: Millis,
) -> Result<Vec<Script>, RollupError> {
    let zone = zone(definitions)?;
    let figures = Figures::all(dialect, definitions)?;
    Ok(figures.iter().filter_map(|figures| Some(figures.refresh(standing.plan(figures, &zone)?, &zone, now))).collect())
}

/// Counts the days `from` to `to` anew, both included, final ones too: after rows were deleted or loaded by hand. Run
/// it after a [refresh]; a stream whose zone, device or dimensions have changed since its last one is left as it is.
///
/// # Errors
/// [`RollupError`] if something cannot be counted.
pub fn restate(
    dialect: Dialect,
    definitions: &Definitions,
    from: Date,
    to: Date,
    now: Millis,
) -> Result<Vec<Script>, RollupError> {
    let zone = zone(definitions)?;
    let span =
        Span { from: from.to_datetime(Time::midnight()), until: Some(to.saturating_add(jiff::Span::new().days(1))) };
    Ok(Figures::all(dialect, definitions)?.iter().map(|figures| figures.restate(span, &zone, now)).collect())
}

/// Refreshes what `session` holds, restates the `days` that are asked for, from the first to the last, and copies what is
/// new to `to`, if there is one. To be called after a load; what it was kept from doing, the next one does.
///
/// # Errors
/// [`Failure`]. The streams before the one that failed have been counted.
pub async fn run(
    session: &mut dyn Session,
    to: Option<&mut dyn Session>,
    definitions: &Definitions,
    days: Option<(Date, Date)>,
    now: Millis,
) -> Result<Summary, Failure> {
    let mut summary = Summary::default();
    let streams = loaded(definitions).count();
    if streams == 0 {
        return Ok(summary);
    }
    let standing = Standing::read(session, &definitions.names).await?;
    let scripts = refresh(session.dialect(), definitions, &standing, now)?;
    summary.unchanged = streams - scripts.len();
    for script in &scripts {
        session.run(script).await?;
        summary.counted += 1;
    }
    if let Some((first, last)) = days {
        for script in &restate(session.dialect(), definitions, first, last, now)? {
            session.run(script).await?;
            summary.restated += 1;
        }
    }
    if let Some(to) = to {
        summary.exported = Some(export(session, to, definitions).await?);
    }
    Ok(summary)
}

/// What is counted in a warehouse: streams that nothing loads have no table there.
fn loaded(definitions: &Definitions) -> impl Iterator<Item = &Counted> {
    let is_loaded = |counted: &&Counted| {
        let table = definitions.tables.iter().find(|table| table.stream.as_str() == counted.stream);
        table.is_none_or(|table| table.load != Load::None)
    };
    definitions.rollups.iter().filter(is_loaded)
}

fn zone(definitions: &Definitions) -> Result<TimeZone, RollupError> {
    TimeZone::get(&definitions.timezone).map_err(|_| RollupError::NoZone(definitions.timezone.clone()))
}
