//! The audit: what was spooled, by the books, is what is stored, and every difference is named.
//!
//! # What is compared
//!
//! For each hour of received time, in this order: the heartbeats, the pages of the books, the objects. A page is put
//! behind the objects that it names, and a heartbeat calls complete only what has its pages; so whatever is stored while
//! the audit runs is found to be on its way, never to be lost.
//!
//! | difference | what it means |
//! |---|---|
//! | missing | a page names an object that is not there |
//! | unreadable | an object is truncated, is not exactly one gzip member or zstd frame, or its own checksum is wrong |
//! | changed | an object has other lines than its page counts |
//! | duplicate | a second object has the lines of one that a page names |
//! | not in the books | an object that no page names, and that is not on its way |
//! | damaged | places of a segment could not be read; what was in them is in the spool's quarantine |
//! | bad page | a page that cannot be read |
//! | not spooled | the heartbeats of an instance that has stored everything count more events than its pages |
//!
//! With a warehouse, for each stream that `logweir load` loads, by the warehouse's own ledger:
//! stored = loaded + duplicates + set aside + what is still to load.
//!
//! | difference | what it means |
//! |---|---|
//! | not loaded | an object is neither loaded nor set aside, although the status says that its hour is complete |
//! | loaded otherwise | the ledger counts other events of an object than the books, or names one that no page names |
//! | bad load | what became of the lines of a load does not add up to its lines, or these not to its objects' events |
//! | more rows | the table has more rows than were loaded; fewer are told and no difference, since rows may be erased |
//!
//! An object that was loaded and is missing is no difference if it was received a day ago or more, since then it may have
//! left by a rule of the bucket. What was set aside are the events of objects that could not be loaded, and the lines that
//! bear the id of another event. The system tables of a warehouse forget after days, and are not asked.
//!
//! An object without a page is *in flight* as long as its instance's heartbeat says that its hour may not be complete;
//! without any heartbeat of its instance, for an hour. In flight is no difference. (What was stored by a version that
//! kept no books is not in them.)
//!
//! # What can lag
//!
//! Only what heartbeats tell, since it comes from the memory of a process. An event counts as accepted in the hour of
//! the first heartbeat behind it, and what came after the last heartbeat before a kill is never counted: so the accepted
//! figure of an hour is marked `~` unless every process that beat in it has ended well in it. What is spooled and stored
//! is counted from what is durable, and does not lag.
//!
//! # A place of some streams
//!
//! The books of a sink that takes some streams only are about those: its pages name its objects, and its heartbeats count
//! the events of its streams. Where fewer streams are configured than before, and the process was killed in between, what
//! it left open is sealed for the new ones: the events of the others are told as not spooled, and the sink never got them.
//!
//! # What quick leaves out
//!
//! Objects are not read: the metadata (or for a file the gzip trailer) is compared. (A zstd file is read, since its frame
//! tells the length of the lines and no checksum that the books know.) Lines that were changed under their
//! old metadata, and an S3 object that was cut, are not noticed.
//!
//! # Limits
//!
//! An hour at a time is in memory: some 100 bytes for each object that its pages name, a page of a listing, and
//! [`READERS`] objects in pieces. At most [`MAX_NAMED`] differences are named, and all are counted. At most
//! [`MAX_HOURS`] hours.

mod compare;
mod fleet;
mod hour;
mod loads;
mod range;
mod report;

use std::{collections::BTreeMap, io, sync::Arc};

pub use loads::Warehouse;
pub use range::{Range, RangeError};
pub use report::{Kind, Summary};

use self::{
    fleet::{Fleet, Spooled},
    hour::Books,
    loads::Tables,
    report::Report,
};
use super::{
    load::Failure,
    place::{Place, PlaceError},
};
use crate::batch::Millis;

/// How many objects are read at the same time.
pub const READERS: usize = 8;
/// How many differences are named.
pub const MAX_NAMED: usize = 10_000;
/// The longest range, in hours.
pub const MAX_HOURS: u32 = 366 * 24;

/// What is to be compared.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The received hours.
    pub range: Range,
    /// Whether objects are compared by what is told of them, without being read.
    pub quick: bool,
    /// Whether the sink is a required one: then it has all that an instance calls complete.
    pub required: bool,
    /// Now.
    pub now: Millis,
}

/// The audit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store cannot be read.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The warehouse cannot be asked.
    #[error("cannot read the warehouse: {0}")]
    Warehouse(#[from] Failure),
    /// The report cannot be written.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// Compares the books of `place` with its objects, and with `warehouse` if there is one, and writes the report to `out`.
///
/// # Errors
/// [`AuditError`]; what was written so far is true.
pub async fn run(
    place: &Arc<Place>,
    request: Request,
    warehouse: Option<Warehouse<'_>>,
    out: &mut dyn io::Write,
) -> Result<Summary, AuditError> {
    let hours = request.range.until(request.now);
    let mut report = Report::new(out, warehouse.is_some());
    let mut tables = match warehouse {
        Some(warehouse) => Some(Tables::read(warehouse, hours).await?),
        None => None,
    };
    let fleet = Fleet::read(place, hours, request.now).await?;
    let mut spooled = Spooled::default();
    report.head()?;
    let directories = place.stream_directories().await?;
    for hour in hours.iter() {
        // Before the books, so that what is loaded meanwhile is in them.
        let mut ledgers = match &mut tables {
            Some(tables) => tables.hour(hour).await?,
            None => BTreeMap::new(),
        };
        let mut books = Books::read(place, hour, &mut report).await?;
        let taken = ledgers.iter().filter(|(_, ledger)| !ledger.is_empty()).map(|(stream, _)| stream.clone());
        books.add_streams(&directories, fleet.streams(hour).chain(taken));
        books.add_to(&mut spooled);
        for (stream, content) in books.into_streams() {
            let ledger = ledgers.remove(&stream);
            let row = compare::stream(place, &request, (&fleet, ledger), (hour, &stream, content), &mut report).await?;
            report.row(hour, &stream, fleet.accepted(hour, &stream), row)?;
        }
    }
    if request.required {
        fleet.compare_counts(hours, &spooled, &mut report);
    }
    fleet.tell(&request, &mut report);
    Ok(report.conclude()?)
}
