//! `logweir load`: the objects of a configured sink into the configured warehouse.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::{
    files::{self, FileError},
    stores::{self, StoreSetupError, UnknownSink},
};
use crate::{
    batch::{Clock, Millis},
    config::{Connection, Loaded, Tls, WarehouseKind},
    metrics::{
        LOAD_BYTES, LOAD_COMPLETE_THROUGH, LOAD_LAST_SUCCESS, LOAD_LATE_ROWS, LOAD_OBJECTS, LOAD_ROUNDS, LOAD_ROWS,
        LOAD_SET_ASIDE, LOAD_STRANGERS, LOAD_TRANSACTIONS, LOAD_WAITING, Metrics,
    },
    schema,
    warehouse::{
        Names, Place, Table,
        load::{
            Address, Limits, LoadError, Loader, PostgresSession, Report, Roots, RootsError, Rows, Session, Settings,
            Stop, Watcher,
        },
    },
};

/// Threads that may block: an object is read at a time, and a directory.
const BLOCKING_THREADS: usize = 2;
/// How often a loop looks as far back as late objects may be.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);
/// PostgreSQL's port.
const POSTGRES_PORT: u16 = 5432;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadRequest {
    /// The stream; all without.
    pub stream: Option<String>,
    /// Whether objects that are set aside are taken again.
    pub retry: bool,
}

/// Nothing can be loaded, or no more.
#[derive(Debug, thiserror::Error)]
pub enum LoadFailure {
    /// There is no warehouse.
    #[error("warehouse.kind is \"none\": there is nothing to load into")]
    NoWarehouse,
    /// The warehouse is of a kind that is not loaded by this version.
    #[error("this version does not load into {0}")]
    Unsupported(&'static str),
    /// No stream is loaded by the loader.
    #[error("no stream has load = \"loader\"")]
    NoStream,
    /// The stream that was asked for is not loaded by the loader.
    #[error("there is no stream {0:?} with load = \"loader\"")]
    UnknownStream(String),
    /// There is no such sink.
    #[error(transparent)]
    Sink(#[from] UnknownSink),
    /// The certificates cannot be read, or the metrics not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nobody can vouch for the warehouse's host.
    #[error("the certificates for warehouse.connection: {0}")]
    Roots(#[from] RootsError),
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
}

impl LoadFailure {
    /// Whether somebody has to change something: the configuration, an argument, a table or a permission.
    pub fn is_standing(&self) -> bool {
        match self {
            Self::Load(error) => error.is_standing(),
            Self::Store(_) | Self::Io(_) | Self::Metrics(_) => false,
            _ => true,
        }
    }
}

/// A loader that is set up.
#[derive(Debug)]
pub struct Load {
    runtime: Runtime,
    loader: Loader,
    stop: Stop,
    metrics: Metrics,
    metrics_file: Option<PathBuf>,
    swept: Option<Instant>,
    clock: Clock,
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
        let session: Box<dyn Session> = match warehouse.kind {
            WarehouseKind::Postgres => Box::new(postgres(loaded, &place)?),
            WarehouseKind::Redshift => return Err(LoadFailure::Unsupported("Redshift")),
            WarehouseKind::None => return Err(LoadFailure::NoWarehouse),
        };
        let settings = Settings {
            names: Names::new(&warehouse.schema),
            tables,
            limits: Limits { objects: warehouse.max_objects, bytes: warehouse.max_bytes.get() },
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

    /// A round, until `told` is ready; then the transaction that runs has `grace` to end, and is rolled back. `None` if it
    /// was. Blocks.
    ///
    /// # Errors
    /// [`LoadFailure`]; what was loaded until then is loaded.
    pub fn round(
        &mut self,
        told: impl Future<Output = ()>,
        grace: Duration,
        watcher: Watcher<'_>,
    ) -> Result<Option<Report>, LoadFailure> {
        let sweep = self.swept.is_none_or(|swept| swept.elapsed() >= SWEEP_INTERVAL);
        let began = Instant::now();
        let (loader, stop) = (&mut self.loader, &self.stop);
        let ended = self.runtime.block_on(async {
            let mut round = std::pin::pin!(loader.round(sweep, watcher));
            tokio::select! {
                ended = &mut round => return Some(ended),
                () = told => stop.stop(),
            }
            tokio::time::timeout(grace, round).await.ok()
        });
        let outcome = match &ended {
            Some(Ok(report)) if !report.interrupted => "ended",
            Some(Err(_)) => "failed",
            Some(Ok(_)) | None => "interrupted",
        };
        self.metrics.counter(&LOAD_ROUNDS, &[outcome]).increment(1);
        if let Some(Ok(report)) = &ended {
            self.tell(report);
            if outcome == "ended" && !report.has_problem() {
                self.swept = if sweep { Some(began) } else { self.swept };
                self.metrics.gauge(&LOAD_LAST_SUCCESS, &[]).set(seconds(self.clock.now()));
            }
        }
        if let Some(file) = &self.metrics_file {
            files::replace(file, &self.metrics.render())?;
        }
        Ok(ended.transpose()?)
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
            gauge(&LOAD_SET_ASIDE, stream.set_aside_objects as f64);
            gauge(&LOAD_WAITING, stream.waiting as f64);
            gauge(&LOAD_STRANGERS, stream.strangers_in_all as f64);
            gauge(&LOAD_COMPLETE_THROUGH, complete.map_or(0.0, seconds));
        }
    }
}

fn seconds(at: Millis) -> f64 {
    at.get() as f64 / 1_000.0
}

fn postgres(loaded: &Loaded, place: &Arc<Place>) -> Result<PostgresSession, LoadFailure> {
    let warehouse = &loaded.config.warehouse;
    let address = address(&warehouse.connection, POSTGRES_PORT, warehouse.statement_timeout.get())?;
    Ok(PostgresSession::new(address, Arc::clone(place)))
}

/// Where `connection` leads, by `port` if it names none.
fn address(connection: &Connection, port: u16, statement_timeout: Duration) -> Result<Address, LoadFailure> {
    let roots = match (connection.tls, &connection.ca_file) {
        (Tls::Off, _) => None,
        (Tls::Verify, None) => Some(Roots::of_system()?),
        (Tls::Verify, Some(file)) => Some(Roots::of_pem(&files::certificates(file)?)?),
    };
    Ok(Address {
        host: connection.host.clone(),
        port: if connection.port == 0 { port } else { connection.port },
        database: connection.database.clone(),
        user: connection.user.clone(),
        password: connection.password.expose().to_owned(),
        roots,
        connect_timeout: connection.connect_timeout.get(),
        statement_timeout,
    })
}
