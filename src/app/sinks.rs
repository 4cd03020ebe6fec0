//! The sinks that run.
//!
//! Each has a runtime of its own, with its own threads: one that hangs in a file call, or burns what it gets in
//! compressing, holds up neither another sink nor the timers and the pulse.

use std::{
    io,
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
    config::{Config, Sink, SinkTarget},
    metrics::Metrics,
    sink::{Backoff, Driver, FileStore, ObjectStore, Settings},
    spool::{Destination, Shelf, Terms},
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
        let mut starting = Vec::with_capacity(config.sinks.len());
        let mut places = Vec::with_capacity(config.sinks.len());
        for sink in &config.sinks {
            if let SinkTarget::File { dir } = sink.target()
                && let Err(error) = FileStore::sweep(dir, instance)
            {
                let sink = &sink.name;
                tracing::warn!(sink, %error, "cannot remove what a killed process has left of unfinished files");
            }
            let runtime = runtime(sink)?;
            let store = stores::store(sink, &runtime)?;
            places.push(ObjectPlace {
                destination: sink.destination(),
                store: Arc::clone(&store),
                runtime: runtime.handle().clone(),
            });
            let settings = Settings {
                destination: sink.destination(),
                concurrency: sink.concurrency,
                attempt_timeout: sink.attempt_timeout.get(),
                backoff: Backoff::new(sink.backoff_min.get(), sink.backoff_max.get()),
            };
            let terms = if sink.required { Terms::REQUIRED } else { Terms::KEPT };
            let driver = Driver::new(settings, store, shelf.consumer(&sink.name, terms), metrics);
            starting.push((sink.name.clone(), runtime, driver));
        }
        // Every sink has its consumer: from here on segments may go.
        shelf.tidy();
        let running = starting.into_iter().map(|(sink, runtime, driver)| {
            let driver = runtime.spawn(driver.run());
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
        .max_blocking_threads(sink.concurrency * BLOCKING_THREADS_PER_UPLOAD + OTHER_BLOCKING_THREADS)
        .thread_name(format!("sink-{}", sink.name))
        .enable_all()
        .build()
}
