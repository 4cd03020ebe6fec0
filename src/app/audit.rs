//! `logweir audit`: the books of a configured sink against its objects.

use std::{collections::BTreeSet, io, sync::Arc};

use super::{
    sessions::{self, SessionError},
    stores::{self, StoreSetupError, UnknownSink},
};
use crate::{
    batch::{Clock, StreamName},
    config::Config,
    schema::Load,
    warehouse::{
        Names,
        audit::{self, AuditError, Range, RangeError, Request, Summary, Warehouse},
    },
};

/// Threads that may block: each reader of a file has one.
const BLOCKING_THREADS: usize = audit::READERS + 1;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRequest {
    /// Where the received hours begin, as RFC 3339 or a date in UTC.
    pub from: String,
    /// Where they end.
    pub to: String,
    /// The sink; the first required one without.
    pub sink: Option<String>,
    /// Whether objects are not read.
    pub quick: bool,
    /// Whether the warehouse is compared too.
    pub warehouse: bool,
}

/// An audit cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditFailure {
    /// What is asked for makes no sense.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// There is no such sink.
    #[error(transparent)]
    Sink(#[from] UnknownSink),
    /// There is no warehouse to compare with.
    #[error("--warehouse needs a [warehouse] in the configuration")]
    NoWarehouse,
    /// The warehouse cannot be asked as it is configured.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The store cannot be set up.
    #[error(transparent)]
    Store(#[from] StoreSetupError),
    /// A runtime cannot be had.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// The store cannot be read, or the report not be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl AuditFailure {
    /// Whether other arguments would do.
    pub fn is_of_arguments(&self) -> bool {
        match self {
            Self::Range(_) | Self::Sink(_) | Self::NoWarehouse | Self::Session(_) => true,
            Self::Store(_) | Self::Io(_) | Self::Audit(_) => false,
        }
    }
}

/// Compares what `asked` names, and writes the report to `out`. Blocks.
///
/// # Errors
/// [`AuditFailure`]; what was written so far is true.
pub fn audit(config: &Config, asked: &AuditRequest, out: &mut dyn io::Write) -> Result<Summary, AuditFailure> {
    let range = Range::parse(&asked.from, &asked.to)?;
    let loaded_from = config.warehouse.sink.as_deref().filter(|_| asked.warehouse);
    let sink = stores::named(config, asked.sink.as_deref().or(loaded_from))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(BLOCKING_THREADS).enable_all().build()?;
    let place = Arc::new(stores::place(sink, &runtime)?);
    let mut session = None;
    if asked.warehouse {
        session = Some(sessions::warehouse(config, &place, &runtime)?.ok_or(AuditFailure::NoWarehouse)?);
    }
    let now = Clock::starting_at(None).now();
    let request = Request { range, quick: asked.quick, required: sink.required, now };
    let warehouse = session.as_mut().map(|session| Warehouse {
        session: &mut **session,
        names: Names::new(&config.warehouse.schema),
        streams: loaded_streams(config),
    });
    Ok(runtime.block_on(audit::run(&place, request, warehouse, out))?)
}

/// The streams that `logweir load` loads.
fn loaded_streams(config: &Config) -> BTreeSet<StreamName> {
    let declared = config.streams.iter().filter(|(_, stream)| stream.load == Load::Loader);
    declared.filter_map(|(name, _)| StreamName::new(name).ok()).collect()
}
