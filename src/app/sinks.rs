//! The sinks that run.
//!
//! Each has a runtime of its own, with its own threads: one that hangs in a file call, or burns what it gets in
//! compressing, holds up neither another sink nor the timers and the pulse.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
    time::{timeout, timeout_at},
};

use super::{StartError, stores};
use crate::{
    batch::InstanceId,
    config::{Config, Period, Sink, SinkTarget},
    metrics::Metrics,
    sink::{Aside, Backoff, Driver, FileStore, Filter, LineDriver, LineSettings, LineSink, ObjectStore, Settings},
    spool::{Consumer, Destination, Follower, Shelf},
};

/// Threads of a sink's runtime that may block, for each object that is stored at the same time: reading and
/// compressing, and as many for the file calls.
const BLOCKING_THREADS_PER_UPLOAD: usize = 2;
/// And beside them: one for its heartbeat, one for its cursor.
const OTHER_BLOCKING_THREADS: usize = 2;
/// How long a sink that is told to stop may take to notice. One that hangs in a file call does not.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// The sinks that run.
#[derive(Debug)]
pub(super) struct Sinks {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    sink: String,
    runtime: Runtime,
    driver: JoinHandle<()>,
}

/// Where an object sink puts, and on whose threads.
#[derive(Clone)]
pub(super) struct ObjectPlace {
    pub(super) destination: Destination,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) runtime: Handle,
}

impl Sinks {
    /// Starts the sinks of `config` over the segments of `instance`; and tells where its object sinks put.
    ///
    /// # Errors
    /// [`StartError`] if a store cannot be set up, or there are no threads to be had.
    pub(super) fn start(
        config: &Config,
        (instance, shelf): (InstanceId, &Arc<Shelf>),
        metrics: &Arc<Metrics>,
    ) -> Result<(Self, Vec<ObjectPlace>), StartError> {
        let runtimes = config.sinks.iter().map(runtime).collect::<io::Result<Vec<_>>>()?;
        let mut places = Vec::with_capacity(config.sinks.len());
        for (sink, runtime) in config.sinks.iter().zip(&runtimes) {
            let Some(destination) = sink.destination() else { continue };
            if let SinkTarget::File { dir } = sink.target()
                && let Err(error) = FileStore::sweep(dir, instance)
            {
                let sink = &sink.name;
                tracing::warn!(sink, %error, "cannot remove what a killed process has left of unfinished files");
            }
            let store = stores::store(sink, runtime)?;
            places.push(ObjectPlace { destination, store, runtime: runtime.handle().clone() });
        }
        // What is slow or can fail comes before the first sink joins.
        let services = config.sinks.iter().zip(&runtimes).map(|(sink, runtime)| match sink.target() {
            SinkTarget::Firehose(target) => stores::firehose(sink, &target, runtime, metrics).map(Some),
            SinkTarget::File { .. } | SinkTarget::S3(_) => Ok(None),
        });
        let services = services.collect::<Result<Vec<_>, _>>()?;
        let start = Start { config, instance, metrics, places: &places };
        let mut starting = Vec::with_capacity(config.sinks.len());
        for ((sink, runtime), service) in config.sinks.iter().zip(runtimes).zip(services) {
            let consumer = shelf.consumer(&sink.name, sink.terms(&config.spool));
            let driver = match (sink.target(), service, start.place(sink)) {
                (SinkTarget::Firehose(target), Some(service), _) => {
                    start.line_driver(sink, target.linger, service, consumer)
                }
                (SinkTarget::File { .. } | SinkTarget::S3(_), _, Some(place)) => {
                    start.object_driver(sink, place, consumer)
                }
                (SinkTarget::Firehose(_), None, _) | (SinkTarget::File { .. } | SinkTarget::S3(_), _, None) => continue,
            };
            starting.push((sink.name.clone(), runtime, driver));
        }
        shelf.all_joined();
        let running = starting.into_iter().map(|(sink, runtime, driver)| {
            let driver = runtime.spawn(driver);
            Running { sink, runtime, driver }
        });
        Ok((Self { running: running.collect() }, places))
    }

    /// Waits until the sinks have everything that there will ever be.
    pub(super) async fn finished(&mut self) {
        for sink in &mut self.running {
            sink.finished().await;
        }
    }

    /// Lets the sinks take what they can until `deadline`. What they could not stays in the spool. Blocks.
    pub(super) fn finish(&mut self, runtime: &Runtime, deadline: Instant) {
        runtime.block_on(async {
            let _ = timeout_at(deadline.into(), self.finished()).await;
            for sink in &self.running {
                sink.driver.abort();
            }
            for Running { sink, driver, .. } in &mut self.running {
                // As good as a kill, which loses nothing: what it was doing is done again.
                if !driver.is_finished() && timeout(STOP_GRACE, driver).await.is_err() {
                    tracing::warn!(sink, "the sink does not stop: some call of its hangs");
                }
            }
        });
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
        let settings = Settings {
            destination: place.destination.clone(),
            concurrency: sink.in_flight(),
            attempt_timeout: sink.attempt_timeout.get(),
            backoff: backoff(sink),
        };
        Box::pin(Driver::new(settings, Arc::clone(&place.store), consumer, self.metrics).run())
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

fn runtime(sink: &Sink) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(sink.in_flight() * BLOCKING_THREADS_PER_UPLOAD + OTHER_BLOCKING_THREADS)
        .thread_name(format!("sink-{}", sink.name))
        .enable_all()
        .build()
}
