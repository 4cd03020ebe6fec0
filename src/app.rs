//! The only wiring: what starts in which order, and what stops in which order.
//!
//! Start: the sockets and what the sinks need, the spool (which takes up what the last process left), the sinks, the
//! workers, the acceptor, the admin port. Serving begins before a sink has stored anything. What is slow or can fail comes
//! before the spool: a process that succeeds another one waits there, see [`handover`](crate::handover).
//!
//! How it ends, and in which order, tells [`stop`].

mod apply;
mod audit;
mod ceiling;
mod descriptors;
mod files;
mod heartbeat;
mod lags;
mod listen;
mod load;
mod policy;
mod pulse;
mod replay;
mod schema;
mod sessions;
mod sinks;
mod stop;
mod stores;
mod stranded;
mod succeed;
mod sweep;
mod vigil;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use tokio::{runtime::Runtime, sync::watch};

pub use apply::ApplyError;
pub use audit::{AuditFailure, AuditRequest, audit};
pub use ceiling::memory_ceiling;
pub use descriptors::TooFewDescriptors;
pub use files::FileError;
pub use listen::ListenError;
pub use load::{Load, LoadFailure, LoadRequest, LoadRound};
pub use replay::{Replay, ReplayError, Replayed};
pub use schema::{Breaking, Changes, SchemaFailure, SchemaRequest, changes, definitions, schema};
pub use sessions::SessionError;
pub use stop::Stopped;
pub use stores::StoreSetupError;
pub use stranded::{Stranded, stranded};

use self::{
    heartbeat::Hearts,
    lags::{Lags, Quota},
    listen::Sockets,
    pulse::Pulse,
    sinks::{Prepared, Sinks},
    vigil::Vigil,
};
pub use crate::warehouse::load::{Event as LoadEvent, Report as LoadReport};
use crate::{
    admission::{Board, Demand, Gate, GateLimits},
    config::{Config, Loaded, Sink, SinkTarget, UndeclaredStreams},
    http::{
        Acceptor, AcceptorHandle, Admin, AdminHandle, BodyLimits, ConnectionLimits, Ending, Policies, Service, Worker,
        WorkerHandle,
    },
    metrics::{self, Metrics},
    queue::{self, Published},
    schema::Catalog,
    spool::{Held, Spool, StartError as SpoolError},
    succession::{Estate, Predecessor, SpoolDir, SuccessionError},
};

/// Threads of the background that may block: for the keeping of the sinks' lags.
const BLOCKING_THREADS: usize = 1;
/// Connections of the admin port.
const ADMIN_CONNECTIONS: usize = 64;

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    service: Arc<Service>,
    published: Arc<Published>,
    spool: Spool,
    acceptor: AcceptorHandle,
    admin: AdminHandle,
    /// The listening sockets, for a successor.
    sockets: Sockets,
    stop_accepting: watch::Sender<Option<Ending>>,
    stop_working: watch::Sender<Option<Ending>>,
    /// The spool's directory; `None` without a disk.
    spool_dir: Option<SpoolDir>,
    /// What the process may come to need, in bytes.
    ceiling: u64,
    max_connections: usize,
    /// Which configuration is in force.
    version: AtomicU64,
    /// The runtime of everything that is neither hot nor a sink's.
    runtime: Runtime,
    sinks: Sinks,
    hearts: Hearts,
}

/// A server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The limit of open files is too low.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// An address cannot be listened on, or must not be as things are configured.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// An object store cannot be set up.
    #[error(transparent)]
    Store(#[from] StoreSetupError),
    /// A thread or a runtime cannot be had.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// The process that was to be succeeded goes on.
    #[error("cannot succeed another process: {0}")]
    Succession(#[from] SuccessionError),
    /// The metrics contradict themselves.
    #[error("cannot set up the metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

impl StartError {
    /// Whether the configuration is at fault, or the limits that the process was given: to start again would not help.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Descriptors(_)
                | Self::Listen(ListenError::NoKey { .. } | ListenError::NoToken { .. } | ListenError::Elsewhere { .. })
                | Self::Succession(SuccessionError::OtherSpool { .. })
        )
    }
}

impl Server {
    /// Starts a server as `loaded` says.
    ///
    /// # Errors
    /// [`StartError`]; the process is to end then, since what was started before may still run.
    pub fn start(loaded: Loaded) -> Result<Self, StartError> {
        Self::start_after(loaded, background()?, None)
    }

    /// As [`Self::start`], on `runtime`, which is one of [`background`]; if there is a predecessor, as the successor of that
    /// process, which has this instance, once it gives way.
    ///
    /// # Errors
    /// [`StartError`], [`StartError::Succession`] if the other process goes on.
    pub fn start_after(
        loaded: Loaded,
        runtime: Runtime,
        predecessor: Option<(Predecessor, [TcpListener; 2])>,
    ) -> Result<Self, StartError> {
        let Loaded { mut config, streams, .. } = loaded;
        let hash = config.fingerprint();
        config.server.max_connections = descriptors::connections(&config, descriptors::raise())?;
        let (predecessor, handed_over) = predecessor.map(succeed::handed_over).unzip();
        let sockets = listen::sockets(&config, handed_over)?;
        let metrics = Arc::new(Metrics::new()?);
        apply::show(&metrics, apply::FIRST_VERSION, hash);
        let (lanes, intake) = queue::queues(config.workers(), config.queue.batches);
        let published = intake.published();
        let prepared = Prepared::new(&config, &metrics)?;
        let leaving = succeed::take_over(&config, predecessor, &metrics)?;
        let spool = succeed::open_spool(&config, intake, &metrics, leaving)?;
        let spool_dir = succeed::spool_dir(&config, &spool)?;
        retire(&config, &spool);
        let (sinks, places) = Sinks::start(&config, prepared, (spool.instance(), &spool.shelf()), &metrics);
        let quota = Quota::new(&config, Arc::clone(&published));
        let room = metrics.gauge(&metrics::SPOOL_ROOM, &[]);
        runtime.spawn(Lags { shelf: spool.shelf(), clock: spool.clock(), quota, room }.run());
        let hearts = Hearts::start(&config, &spool, (&metrics, places));
        let catalog =
            Catalog::new(streams, config.limits.streams, config.ingest.undeclared_streams == UndeclaredStreams::Accept);
        let service = Arc::new(service(&config, catalog, &spool, &metrics));
        let (stop_accepting, accepting) = watch::channel(None);
        let (stop_working, working) = watch::channel(None);
        let mut workers = Vec::with_capacity(lanes.len());
        for (number, lane) in lanes.into_iter().enumerate() {
            let connections = connection_limits(&config);
            let (service, published) = (Arc::clone(&service), Arc::clone(&published));
            workers.push(Worker { number, service, published, lane, connections }.spawn(working.clone())?);
        }
        let times: Vec<_> = workers.iter().map(WorkerHandle::times).collect();
        let kept = sockets.try_clone()?;
        let most = config.server.max_connections;
        let acceptor = Acceptor {
            listener: sockets.public,
            workers,
            service: Arc::clone(&service),
            published: Arc::clone(&published),
            refusing_share: config.admission.refusing_share,
            most,
        };
        let acceptor = acceptor.spawn(accepting)?;
        let admin = Admin {
            listener: sockets.admin,
            token: (!config.admin.token.is_empty()).then(|| config.admin.token.expose().to_owned()),
            service: Arc::clone(&service),
            published: Arc::clone(&published),
            connections: ConnectionLimits { most: ADMIN_CONNECTIONS, ..connection_limits(&config) },
        };
        let admin = admin.spawn()?;
        let (health, watched) = (Arc::clone(&service.health), Arc::clone(&published));
        runtime.spawn(Vigil { health, workers: times.clone(), published: watched }.run());
        let pulse = Pulse::new(&config, Arc::clone(&service), Arc::clone(&published), spool.shelf(), times);
        runtime.spawn(pulse.run());
        let ceiling = memory_ceiling(&config);
        Ok(Self {
            service,
            published,
            spool,
            acceptor,
            admin,
            sockets: kept,
            stop_accepting,
            stop_working,
            spool_dir,
            ceiling,
            max_connections: most,
            version: AtomicU64::new(apply::FIRST_VERSION),
            runtime,
            sinks,
            hearts,
        })
    }

    /// Where devices post to.
    pub fn address(&self) -> SocketAddr {
        self.acceptor.address
    }

    /// Where operations people look.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// Every metric.
    pub fn metrics(&self) -> &Metrics {
        &self.service.metrics
    }

    /// What the spool tells everybody.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// The runtime that is free for what is not hot.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The listening sockets: the public one, and the admin's.
    pub fn sockets(&self) -> [BorrowedFd<'_>; 2] {
        [self.sockets.public.as_fd(), self.sockets.admin.as_fd()]
    }

    /// What a successor takes over, beside the sockets.
    pub fn estate(&self) -> Estate {
        Estate { supervised: self.sockets.supervised, spool: self.spool_dir.clone() }
    }

    /// From now on every answer closes its connection; or not any more.
    pub fn prepare_to_give_way(&self, way: bool) {
        self.service.health.give_way(way);
    }
}

/// Says what the sinks still lacked that were configured when the spool was last used and are not any more.
fn retire(config: &Config, spool: &Spool) {
    let known: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    for Held { sink, segments, bytes } in spool.shelf().retire(&known) {
        tracing::warn!(
            sink,
            segments,
            bytes,
            "a sink is not configured any more: nothing is kept for it, and this much it had not stored"
        );
    }
}

/// The runtime of everything that is neither hot nor a sink's.
///
/// # Errors
/// The operating system's, if there is no thread to be had.
pub fn background() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("background")
        .enable_all()
        .build()
}

fn service(config: &Config, catalog: Catalog, spool: &Spool, metrics: &Arc<Metrics>) -> Service {
    let gate = Gate::new(GateLimits {
        budget: config.queue.bytes.in_memory(),
        disk_quota: config.spool.quota().get(),
        target: config.admission.target.get(),
        capacity_floor: config.pacing.capacity_floor.get(),
        retry_after_cap: config.pacing.retry_after_cap.get(),
    });
    Service {
        catalog,
        gate: if config.spool.keeps() { gate } else { gate.in_memory() },
        keeps: config.spool.keeps(),
        clock: spool.clock(),
        health: Arc::default(),
        metrics: Arc::clone(metrics),
        body: BodyLimits {
            encoded: config.limits.encoded_body.in_memory(),
            decoded: config.limits.decoded_body.in_memory(),
            ratio: config.limits.decode_ratio as usize,
            grace: config.server.body_grace.get(),
            min_rate: config.server.body_min_rate.get(),
            behind_proxy: config.server.behind_proxy,
        },
        limits: config.limits.validation(),
        stored_timeout: config.ingest.stored_timeout.get(),
        demand: Demand::default(),
        policies: Policies::new(policy::policy(config, None)),
        shares: Board::new(config.workers()),
        began: Instant::now(),
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        most: config.server.max_connections,
        head_bytes: config.server.max_head.in_memory(),
        head_timeout: config.server.head_timeout.get(),
        idle_timeout: config.server.idle_timeout.get(),
    }
}

/// Tells the log what was started, and what it promises and may come to need.
pub fn announce(server: &Server, config: &Config) {
    let sinks: Vec<String> = config.sinks.iter().map(describe).collect();
    let forecast = crate::config::Forecast::new(config);
    let outage = forecast.outage(config.pacing.capacity_floor);
    tracing::info!(
        address = %server.address(),
        admin = %server.admin_address(),
        workers = config.workers(),
        sinks = sinks.join(", "),
        "serving"
    );
    if !config.spool.keeps() {
        tracing::info!(
            instance = %server.spool.instance(),
            memory = %config.spool.memory,
            window = %config.spool.window,
            "nothing is kept on this instance: answers wait for the required sinks"
        );
        return tell_ceiling(server);
    }
    tracing::info!(
        spool = %config.spool.dir.display(),
        instance = %server.spool.instance(),
        disk_quota = %config.spool.disk_quota,
        seal_after = %config.spool.seal_after,
        ?outage,
        at_bytes_per_second = config.pacing.capacity_floor.get(),
        "if no sink takes anything, the disk quota lasts this long"
    );
    tell_ceiling(server);
}

fn tell_ceiling(server: &Server) {
    server.service.metrics.gauge(&metrics::MEMORY_CEILING, &[]).set(server.ceiling as f64);
    tracing::info!(bytes = server.ceiling, "memory ceiling");
}

/// What a sink is, without anything secret.
fn describe(sink: &Sink) -> String {
    let place = match sink.target() {
        SinkTarget::File { dir } => format!("{}/{}", dir.display(), sink.prefix),
        SinkTarget::S3(target) => format!("s3://{}/{}", target.bucket, sink.prefix),
        SinkTarget::Firehose(target) => {
            let own = target.delivery_streams.iter().map(|(_, name)| name.as_str());
            format!("Firehose {}", target.delivery_stream.into_iter().chain(own).collect::<Vec<_>>().join(" "))
        }
    };
    let need = if sink.required { "required" } else { "best effort" };
    format!("{} ({place}, {need})", sink.name)
}
