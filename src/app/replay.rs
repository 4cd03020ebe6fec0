//! Replay: what an instance that is no more has left in its spool is stored under its original keys.
//!
//! The instance's volume is attached elsewhere, and this stores what is in it: the open segment is sealed as the instance
//! itself would have done at its next start, and every sink goes on where its cursor stands. The keys carry the dead
//! instance's name, so that doing it twice, or while somebody else has done a part, stores nothing twice. It can be
//! interrupted at any moment and begun again.

use std::{future::Future, path::PathBuf, sync::Arc};

use super::{StartError, background, start_sinks};
use crate::{
    batch::InstanceId,
    config::Loaded,
    metrics::Metrics,
    queue,
    spool::{RealDisk, Shelf, Spool},
};

/// A spool that is being replayed.
pub struct Replay {
    instance: InstanceId,
    segments: Arc<Shelf>,
    runtime: tokio::runtime::Runtime,
    sinks: tokio::task::JoinSet<()>,
}

/// There is nothing to replay, or it cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The directory holds no spool.
    #[error("there is no spool at {0}: no file `instance`, no segment")]
    NoSpool(PathBuf),
    /// The spool or a sink cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Replay {
    /// Opens the spool at `dir`, and begins to store it in the sinks of `loaded`.
    ///
    /// # Errors
    /// [`ReplayError`]; the process is to end then, since what was started before may still run.
    pub fn start(loaded: Loaded, dir: PathBuf) -> Result<Self, ReplayError> {
        if !RealDisk::holds_spool(&dir) {
            return Err(ReplayError::NoSpool(dir));
        }
        let mut config = loaded.config;
        config.spool.dir = dir;
        let metrics = Arc::new(Metrics::new().map_err(StartError::from)?);
        let (_, intake) = queue::queues(0, 1);
        let spool =
            Spool::open(config.spool.settings(config.destinations()), intake, &metrics).map_err(StartError::from)?;
        let (instance, segments) = (spool.instance(), spool.shelf());
        // Nothing is taken: what is there is all that there will be.
        spool.close();
        let runtime = background(&config).map_err(StartError::from)?;
        let known: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
        for sink in segments.other_sinks(&known) {
            tracing::warn!(sink, "what this sink of the instance still needs is kept, since it is not configured here");
            segments.keep_for(sink);
        }
        let (sinks, _) = start_sinks(&config, (instance, &segments), &runtime, &metrics)?;
        Ok(Self { instance, segments, runtime, sinks })
    }

    /// Whose spool it is.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The runtime of the sinks.
    pub fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// How many segments some sink still needs, and their length in bytes.
    pub fn left(&self) -> (usize, u64) {
        self.segments.kept()
    }

    /// Stores until everything is stored, or until `interrupted` is ready: how many segments are left then, and their
    /// length in bytes. Blocks.
    pub fn run(mut self, interrupted: impl Future) -> (usize, u64) {
        self.runtime.block_on(async {
            tokio::select! {
                () = async { while self.sinks.join_next().await.is_some() {} } => {}
                _ = interrupted => {}
            }
            self.sinks.shutdown().await;
        });
        self.runtime.shutdown_background();
        self.segments.tidy();
        self.segments.kept()
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("instance", &self.instance).finish_non_exhaustive()
    }
}
