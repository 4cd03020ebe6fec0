//! `logweir load`: the objects of a configured sink into the configured warehouse.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::civil::Date;
use tokio::runtime::Runtime;

use super::{
    files::{self, FileError},
    sessions::{self, SessionError},
    stores::{self, StoreSetupError, UnknownSink},
};
use crate::{
    batch::{Clock, Millis},
    config::{Loaded, WarehouseKind},
    metrics::{
        LOAD_BYTES, LOAD_COMPLETE_THROUGH, LOAD_LAST_SUCCESS, LOAD_LATE_ROWS, LOAD_OBJECTS, LOAD_ROUNDS, LOAD_ROWS,
        LOAD_SET_ASIDE, LOAD_STRANGERS, LOAD_TRANSACTIONS, LOAD_WAITING, Metrics,
    },
    schema,
    warehouse::{
        Names, Table,
        load::{Failure, Limits, LoadError, Loader, Report, Rows, Session, Settings, Stop, Watcher},
        rollup,
        target::Definitions,
    },
};

/// Threads that may block: an object is read at a time, and a directory.
const BLOCKING_THREADS: usize = 2;
/// How often a loop looks as far back as late objects may be.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadRequest {
    /// The stream; all without.
    pub stream: Option<String>,
    /// Whether objects that are set aside are taken again.
    pub retry: bool,
    /// The first and the last day whose figures are counted anew.
    pub restate: Option<(Date, Date)>,
}

/// Nothing can be loaded, or no more.
#[derive(Debug, thiserror::Error)]
pub enum LoadFailure {
    /// There is no warehouse.
    #[error("warehouse.kind is \"none\": there is nothing to load into")]
    NoWarehouse,
    /// No stream is loaded by the loader.
    #[error("no stream has load = \"loader\"")]
    NoStream,
    /// The stream that was asked for is not loaded by the loader.
    #[error("there is no stream {0:?} with load = \"loader\"")]
    UnknownStream(String),
    /// There is no such sink.
    #[error(transparent)]
    Sink(#[from] UnknownSink),
    /// The metrics cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A database cannot be asked as it is configured.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The store cannot be set up.
    #[error(transparent)]
    Store(#[from] StoreSetupError),
    /// A runtime cannot be had.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// The metrics contradict themselves.
    #[error("cannot set up the metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// The round could not be ended.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Everything is loaded, and the figures by day and hour could not be counted or copied.
    #[error("the rollups: {0}")]
    Rollups(Failure),
}

impl LoadFailure {
    /// Whether somebody has to change something: the configuration, an argument, a table or a permission.
    pub fn is_standing(&self) -> bool {
        match self {
            Self::Load(error) => error.is_standing(),
            Self::Rollups(failure) => matches!(failure, Failure::Refused { .. }),
            Self::Store(_) | Self::Io(_) | Self::Metrics(_) => false,
            _ => true,
        }
    }
}

/// What came of a round.
#[derive(Debug)]
pub struct LoadRound {
    /// What it did, until it failed or was stopped if it did not end.
    pub report: Report,
    /// Why it failed, if it did; what was loaded until then is loaded.
    pub failure: Option<LoadFailure>,
    /// Whether a transaction was rolled back since it did not end in time after the round was told to stop.
    pub rolled_back: bool,
}

/// A loader that is set up.
pub struct Load {
    runtime: Runtime,
    loader: Loader,
    definitions: Definitions,
    export: Option<Box<dyn Session>>,
    restate: Option<(Date, Date)>,
    stop: Stop,
    metrics: Metrics,
    metrics_file: Option<PathBuf>,
    swept: Option<Instant>,
    clock: Clock,
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("loader", &self.loader).finish_non_exhaustive()
    }
}

impl Load {
    /// Sets up what `asked` names of `loaded`. Asks nobody anything yet.
    ///
    /// # Errors
    /// [`LoadFailure`].
    pub fn new(loaded: &Loaded, asked: &LoadRequest) -> Result<Self, LoadFailure> {
        let warehouse = &loaded.config.warehouse;
        if warehouse.kind == WarehouseKind::None {
            return Err(LoadFailure::NoWarehouse);
        }
        let ours = loaded.streams.iter().filter(|stream| stream.load == schema::Load::Loader);
        let wanted = |name: &str| asked.stream.as_ref().is_none_or(|stream| stream == name);
        let tables: Vec<Table> = ours.filter(|stream| wanted(stream.name.as_str())).map(Table::new).collect();
        if tables.is_empty() {
            return Err(asked.stream.clone().map_or(LoadFailure::NoStream, LoadFailure::UnknownStream));
        }
        let sink = stores::named(&loaded.config, warehouse.sink.as_deref())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()?;
        let place = Arc::new(stores::place(sink, &runtime)?);
        let session = sessions::warehouse(&loaded.config, &place, &runtime)?.ok_or(LoadFailure::NoWarehouse)?;
        let export = sessions::export(&loaded.config, &place)?;
        let mut definitions = super::definitions(loaded)?;
        // What somebody else loads, or nobody, has no status here by which its figures could be complete.
        let loaded_here = |stream: &str| {
            loaded.streams.iter().any(|own| own.name.as_str() == stream && own.load == schema::Load::Loader)
        };
        definitions.rollups.retain(|counted| loaded_here(&counted.stream));
        let settings = Settings {
            names: Names::new(&warehouse.schema),
            tables,
            limits: Limits { objects: sessions::most_objects(warehouse), bytes: warehouse.max_bytes.get() },
            window: warehouse.dedupe_window.get(),
            retry: asked.retry,
        };
        let stop = Stop::default();
        let metrics = Metrics::new()?;
        for outcome in ["ended", "interrupted", "failed"] {
            let _ = metrics.counter(&LOAD_ROUNDS, &[outcome]);
        }
        Ok(Self {
            loader: Loader::new(session, place, settings, stop.clone()),
            definitions,
            export,
            restate: asked.restate,
            runtime,
            stop,
            metrics,
            metrics_file: warehouse.metrics_file.clone(),
            swept: None,
            clock: Clock::starting_at(None),
        })
    }

    /// The runtime that it runs on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A round, until `told` is ready; then the transaction that runs has `grace` to end, and is rolled back. Blocks.
    pub fn round(&mut self, told: impl Future<Output = ()>, grace: Duration, watcher: Watcher<'_>) -> LoadRound {
        let sweep = self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP_INTERVAL);
        let began = Instant::now();
        let Self { runtime, loader, export, definitions, restate, stop, clock, .. } = self;
        let mut report = Report::default();
        let ended = runtime.block_on(async {
            let mut round = std::pin::pin!(async {
                loader.round(sweep, &mut report, watcher).await?;
                if !report.interrupted {
                    let to = export.as_mut().map(|session| &mut **session as &mut dyn Session);
                    let counted = rollup::run(loader.session(), to, definitions, *restate, clock.now()).await;
                    report.rollups = Some(counted.map_err(LoadFailure::Rollups)?);
                }
                Ok::<_, LoadFailure>(())
            });
            tokio::select! {
                ended = &mut round => return Some(ended),
                () = told => stop.stop(),
            }
            tokio::time::timeout(grace, round).await.ok()
        });
        let rolled_back = ended.is_none();
        report.interrupted |= rolled_back;
        let mut failure = ended.and_then(Result::err);
        report.problem = failure.as_ref().map(ToString::to_string);
        let outcome = match &failure {
            Some(_) => "failed",
            None if report.interrupted => "interrupted",
            None => "ended",
        };
        self.metrics.counter(&LOAD_ROUNDS, &[outcome]).increment(1);
        self.tell(&report);
        let loaded_all = matches!(failure, None | Some(LoadFailure::Rollups(_))) && !report.interrupted;
        if loaded_all && !report.has_problem() && sweep {
            self.swept = Some(began);
        }
        if outcome == "ended" && !report.has_problem() {
            self.metrics.gauge(&LOAD_LAST_SUCCESS, &[]).set(seconds(self.clock.now()));
        }
        if let Some(Err(error)) = self.metrics_file.as_ref().map(|file| files::replace(file, &self.metrics.render())) {
            failure.get_or_insert(error.into());
        }
        LoadRound { report, failure, rolled_back }
    }

    fn tell(&self, report: &Report) {
        let count = |metric, labels: &[&str], value| self.metrics.counter(metric, labels).increment(value);
        for stream in &report.streams {
            let name = stream.stream.as_str();
            let Rows { loaded, duplicates, conflicts, late, .. } = stream.rows;
            count(&LOAD_TRANSACTIONS, &[name], stream.loads);
            count(&LOAD_OBJECTS, &[name], stream.objects);
            count(&LOAD_BYTES, &[name], stream.bytes);
            for (outcome, rows) in [("loaded", loaded), ("duplicate", duplicates), ("conflict", conflicts)] {
                count(&LOAD_ROWS, &[name, outcome], rows);
            }
            count(&LOAD_LATE_ROWS, &[name], late);
            let complete = stream.complete_through.as_deref().and_then(Millis::parse_rfc3339);
            let gauge = |metric, value| self.metrics.gauge(metric, &[name]).set(value);
            // What was not looked at stays as it was told before.
            if let Some(objects) = stream.set_aside_objects {
                gauge(&LOAD_SET_ASIDE, objects as f64);
                gauge(&LOAD_COMPLETE_THROUGH, complete.map_or(0.0, seconds));
            }
            if stream.looked_through {
                gauge(&LOAD_WAITING, stream.waiting as f64);
                gauge(&LOAD_STRANGERS, (stream.strangers_in_all + stream.unbooked_in_all) as f64);
            }
        }
    }
}

fn seconds(at: Millis) -> f64 {
    at.get() as f64 / 1_000.0
}
