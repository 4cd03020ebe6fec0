//! The sinks that run.
//!
//! Each has a runtime of its own, with its own threads: one that hangs in a file call, or burns what it gets in
//! compressing, holds up neither another sink nor the timers and the pulse.
//!
//! At the end the required sinks get the whole time that there is, or all if none is required. Best-effort ones are waited
//! for behind them, as long as they come on.

use std::{
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
    time::{sleep, timeout, timeout_at},
};

use super::{StartError, stores, sweep::Swept};
use crate::{
    batch::InstanceId,
    config::{Config, Period, Sink, SinkTarget},
    metrics::Metrics,
    sink::{
        Aside, Backoff, FileStore, Filter, LineDriver, LineSettings, LineSink, ObjectDriver, ObjectSettings,
        ObjectStore,
    },
    spool::{Consumer, Destination, Follower, Shelf},
};

/// Threads of a sink's runtime that may block, for each object that is stored at the same time: reading and
/// compressing, and as many for the file calls.
const BLOCKING_THREADS_PER_UPLOAD: usize = 2;
/// And beside them: one for its heartbeat, one for its cursor, one for what a killed process has left.
const OTHER_BLOCKING_THREADS: usize = 3;
/// How long a sink that is told to stop may take to notice. One that hangs in a file call does not.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How long a best-effort sink may take to come on, once the others have everything and the process is to end.
const BEST_EFFORT_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(20);
/// What of the time for the drain no best-effort sink gets: the last heartbeats need it, and sinks that hang.
const RESERVE: Duration = Duration::from_secs(5);
/// At most this part of what is left of it.
const RESERVE_SHARE: u32 = 4;

/// The sinks that run.
#[derive(Debug)]
pub(super) struct Sinks {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    sink: String,
    /// Whether the drain is about it: it is required, or no sink is.
    needed: bool,
    /// Whether it takes lines.
    lines: bool,
    runtime: Runtime,
    driver: JoinHandle<()>,
}

/// What the sinks need that has nothing to do with a spool, and that is slow or can fail: it is had before one is taken.
pub(super) struct Prepared {
    runtimes: Vec<Runtime>,
    /// Of each sink, its store or its service, if it is not a directory.
    ends: Vec<End>,
}

/// Where a sink puts.
enum End {
    Dir(PathBuf),
    Store(Arc<dyn ObjectStore>),
    Service(Arc<dyn LineSink>, Period),
}

impl Prepared {
    /// For the sinks of `config`.
    ///
    /// # Errors
    /// [`StartError`] if a store cannot be set up, or there are no threads to be had.
    pub(super) fn new(config: &Config, metrics: &Arc<Metrics>) -> Result<Self, StartError> {
        let runtimes = config.sinks.iter().map(runtime).collect::<io::Result<Vec<_>>>()?;
        let end = |(sink, runtime): (&Sink, &Runtime)| {
            Ok::<_, StartError>(match sink.target() {
                SinkTarget::File { dir } => End::Dir(dir.to_owned()),
                SinkTarget::S3(_) => End::Store(stores::store(sink, runtime)?),
                SinkTarget::Firehose(target) => {
                    End::Service(stores::firehose(sink, &target, runtime, metrics)?, target.linger)
                }
            })
        };
        let ends = config.sinks.iter().zip(&runtimes).map(end).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { runtimes, ends })
    }
}

/// Where an object sink puts, and on whose threads.
#[derive(Clone)]
pub(super) struct ObjectPlace {
    pub(super) destination: Destination,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) runtime: Handle,
    /// Whether its sink is required, or none is.
    pub(super) needed: bool,
}

impl Sinks {
    /// Starts the sinks of `config` over the segments of `instance`; and tells where its object sinks put.
    pub(super) fn start(
        config: &Config,
        Prepared { runtimes, ends }: Prepared,
        (instance, shelf): (InstanceId, &Arc<Shelf>),
        metrics: &Arc<Metrics>,
    ) -> (Self, Vec<ObjectPlace>) {
        let mut places = Vec::with_capacity(config.sinks.len());
        for ((sink, runtime), end) in config.sinks.iter().zip(&runtimes).zip(&ends) {
            let Some(destination) = sink.destination() else { continue };
            let store = match end {
                End::Dir(dir) => swept(sink, dir.clone(), instance, runtime.handle()),
                End::Store(store) => Arc::clone(store),
                End::Service(..) => continue,
            };
            places.push(ObjectPlace {
                destination,
                store,
                runtime: runtime.handle().clone(),
                needed: needed(config, sink),
            });
        }
        let start = Start { config, instance, metrics, places: &places };
        let mut starting = Vec::with_capacity(config.sinks.len());
        for ((sink, runtime), end) in config.sinks.iter().zip(runtimes).zip(ends) {
            let consumer = shelf.consumer(&sink.name, sink.terms(&config.spool));
            let lines = matches!(end, End::Service(..));
            let driver = match (end, start.place(sink)) {
                (End::Service(service, linger), _) => start.line_driver(sink, linger, service, consumer),
                (End::Dir(_) | End::Store(_), Some(place)) => start.object_driver(sink, place, consumer),
                (End::Dir(_) | End::Store(_), None) => continue,
            };
            starting.push((sink, lines, runtime, driver));
        }
        shelf.all_joined();
        let running = starting.into_iter().map(|(sink, lines, runtime, driver)| {
            let driver = runtime.spawn(driver);
            Running { sink: sink.name.clone(), needed: needed(config, sink), lines, runtime, driver }
        });
        (Self { running: running.collect() }, places)
    }

    /// Waits until the sinks have everything that there will ever be.
    pub(super) async fn finished(&mut self) {
        for sink in &mut self.running {
            sink.finished().await;
        }
    }

    /// The same for those alone that have to: the required ones, or all if none is.
    pub(super) async fn needed_finished(&mut self) {
        for sink in self.running.iter_mut().filter(|sink| sink.needed) {
            sink.finished().await;
        }
    }

    /// Waits until those that take lines have everything that there is.
    pub(super) async fn lines_finished(&mut self) {
        for sink in self.running.iter_mut().filter(|sink| sink.lines) {
            sink.finished().await;
        }
    }

    /// Lets the sinks take what they can until `deadline`; the best-effort ones, once the others have everything, only as
    /// long as they come on. What they could not stays in the spool. Blocks.
    pub(super) fn finish(&mut self, runtime: &Runtime, segments: &Shelf, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        // What a best-effort sink still takes must not cost the last heartbeats, which come behind it.
        let best_effort = Instant::now() + left.saturating_sub(RESERVE.min(left / RESERVE_SHARE));
        runtime.block_on(async {
            if timeout_at(deadline.into(), self.needed_finished()).await.is_ok() {
                let _ = timeout_at(best_effort.into(), self.finished_or_stuck(segments)).await;
            }
        });
        self.stop(runtime);
    }

    /// Waits until each sink has everything, or has not come on for a while.
    async fn finished_or_stuck(&self, segments: &Shelf) {
        let mut waited_for: Vec<_> = self.running.iter().map(|sink| (sink, u64::MAX, Instant::now())).collect();
        while !waited_for.is_empty() {
            waited_for.retain_mut(|(Running { sink, driver, .. }, least, since)| {
                let lag = segments.lag_bytes(sink);
                if lag < *least {
                    (*least, *since) = (lag, Instant::now());
                }
                let is_stuck = since.elapsed() > BEST_EFFORT_PATIENCE;
                if is_stuck {
                    tracing::warn!(sink, lag, "a best-effort sink does not come on: it is not waited for");
                }
                !is_stuck && !driver.is_finished()
            });
            sleep(LOOK).await;
        }
    }

    /// Stops those that still run: as good as a kill, which loses nothing, since what they were doing is done again. Blocks.
    pub(super) fn stop(&mut self, runtime: &Runtime) {
        for sink in &self.running {
            sink.driver.abort();
        }
        runtime.block_on(async {
            let _ = timeout(STOP_GRACE, self.finished()).await;
        });
        for Running { sink, .. } in self.running.iter().filter(|sink| !sink.driver.is_finished()) {
            tracing::warn!(sink, "the sink does not stop: some call of its hangs");
        }
    }

    /// Says of each sink that does not have everything how much it lacks of `segments`.
    pub(super) fn tell_left(&self, segments: &Shelf) {
        for Running { sink, .. } in &self.running {
            let bytes = segments.lag_bytes(sink);
            if bytes > 0 {
                tracing::warn!(sink, bytes, "the sink does not have everything");
            }
        }
    }

    /// Ends the sinks' threads without waiting: compressing cannot be interrupted, and what it makes is not wanted any
    /// more.
    pub(super) fn end(self) {
        for sink in self.running {
            sink.runtime.shutdown_background();
        }
    }
}

/// What the drivers are made from.
struct Start<'s> {
    config: &'s Config,
    instance: InstanceId,
    metrics: &'s Arc<Metrics>,
    places: &'s [ObjectPlace],
}

/// A driver that is to run.
type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Start<'_> {
    /// Where `sink` puts its objects.
    fn place(&self, sink: &Sink) -> Option<&ObjectPlace> {
        self.places.iter().find(|place| place.destination.sink == sink.name)
    }

    fn object_driver(&self, sink: &Sink, place: &ObjectPlace, consumer: Consumer) -> Driving {
        let settings = ObjectSettings {
            destination: place.destination.clone(),
            concurrency: sink.in_flight(),
            attempt_timeout: sink.attempt_timeout.get(),
            backoff: backoff(sink),
        };
        Box::pin(ObjectDriver::new(settings, Arc::clone(&place.store), consumer, self.metrics).run())
    }

    fn line_driver(&self, sink: &Sink, linger: Period, service: Arc<dyn LineSink>, consumer: Consumer) -> Driving {
        let settings = LineSettings {
            sink: sink.name.clone(),
            instance: self.instance,
            concurrency: sink.in_flight(),
            stretch_bytes: service.limits().bytes,
            linger: linger.get(),
            attempt_timeout: sink.attempt_timeout.get(),
            backoff: backoff(sink),
            filter: Filter { streams: sink.stream_names(), rejected: sink.takes_rejected() },
        };
        let aside = self.config.undelivered(sink).and_then(|keeper| {
            let ObjectPlace { destination, store, .. } = self.place(keeper)?.clone();
            let (attempt_timeout, backoff) = (keeper.attempt_timeout.get(), backoff(keeper));
            Some(Aside { store, destination, attempt_timeout, backoff })
        });
        Box::pin(LineDriver::new(settings, service, Follower::new(consumer), aside, self.metrics).run())
    }
}

/// Whether the end of a process waits for `sink`: it is required, or no sink is.
fn needed(config: &Config, sink: &Sink) -> bool {
    sink.required || !config.sinks.iter().any(|sink| sink.required)
}

fn backoff(sink: &Sink) -> Backoff {
    Backoff::new(sink.backoff_min.get(), sink.backoff_max.get())
}

impl Running {
    async fn finished(&mut self) {
        if !self.driver.is_finished()
            && let Err(error) = (&mut self.driver).await
            && error.is_panic()
        {
            tracing::error!(sink = self.sink, "a sink's driver panicked; what it does not have stays in the spool");
        }
    }
}

/// The store of `sink` in `dir`, from which what a killed process of `instance` has left is removed first, on `runtime`.
fn swept(sink: &Sink, dir: PathBuf, instance: InstanceId, runtime: &Handle) -> Arc<dyn ObjectStore> {
    let sink = sink.name.clone();
    let sweep = move || {
        if let Err(error) = FileStore::sweep(&dir, instance) {
            tracing::warn!(sink, %error, "cannot remove what a killed process has left of unfinished files");
        }
    };
    Arc::new(Swept::new(FileStore::default(), runtime, sweep))
}

fn runtime(sink: &Sink) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(sink.in_flight() * BLOCKING_THREADS_PER_UPLOAD + OTHER_BLOCKING_THREADS)
        .thread_name(format!("sink-{}", sink.name))
        .enable_all()
        .build()
}
