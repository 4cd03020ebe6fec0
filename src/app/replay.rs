//! Replay: what an instance that is no more has left in its spool is stored under its original keys.
//!
//! The instance's volume is attached elsewhere, and this stores what is in it: the open segment is sealed as the instance
//! itself would have done at its next start, and every sink goes on where its cursor stands. The keys carry the dead
//! instance's name, so that doing it twice, or while somebody else has done a part, stores nothing twice. It can be
//! interrupted at any moment and begun again.
//!
//! When nothing is left for the required sinks, nor for those that are not configured here, every sink that has everything
//! is told so by a heartbeat in the instance's name, as if it had ended well itself: from then on it does not hold back what
//! is [complete](crate::warehouse::completeness). A best-effort sink that is dead is told nothing, and holds up nobody.

use std::{future::Future, path::PathBuf, sync::Arc};

use super::{
    StartError, background,
    heartbeat::{Departed, Farewell},
    sinks::{Prepared, Sinks},
};
use crate::{
    config::{Loaded, SpoolKind},
    metrics::Metrics,
    queue,
    spool::{RealDisk, Spool},
};

/// A spool that is being replayed.
pub struct Replay {
    departed: Departed,
    farewell: Farewell,
    runtime: tokio::runtime::Runtime,
    sinks: Sinks,
}

/// What a replay came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Segments that some sink still needs; they stay in the spool.
    pub segments_left: usize,
    /// Their length in bytes.
    pub bytes_left: u64,
    /// Whether the sinks know whether something is left: if nothing is that concerns them, by a heartbeat.
    pub told: bool,
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
        // Whatever this instance keeps, that one kept a spool on disk.
        config.spool.kind = SpoolKind::Disk;
        config.spool.dir = dir;
        let metrics = Arc::new(Metrics::new().map_err(StartError::from)?);
        let (_, intake) = queue::queues(0, 1);
        let prepared = Prepared::new(&config, &metrics)?;
        let spool = Spool::open(config.spool_settings(), intake, &metrics).map_err(StartError::from)?;
        let (instance, segments, clock) = (spool.instance(), spool.shelf(), spool.clock());
        let taken_up = clock.now();
        // Nothing is taken: what is there is all that there will be.
        spool.close();
        let runtime = background().map_err(StartError::from)?;
        let known: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
        let kept: Vec<String> = segments.other_sinks(&known).map(ToOwned::to_owned).collect();
        for sink in &kept {
            tracing::warn!(sink, "what this sink of the instance still needs is kept, since it is not configured here");
            segments.keep_for(sink);
        }
        let (sinks, places) = Sinks::start(&config, prepared, (instance, &segments), &metrics);
        let departed = Departed { instance, taken_up, clock, shelf: segments };
        let farewell = Farewell::new(&config, &departed, (&metrics, places), kept);
        Ok(Self { departed, farewell, runtime, sinks })
    }

    /// Whose spool it is.
    pub fn instance(&self) -> crate::batch::InstanceId {
        self.departed.instance
    }

    /// A runtime for the signals.
    pub fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// How many segments some sink still needs, and their length in bytes.
    pub fn left(&self) -> (usize, u64) {
        self.departed.shelf.kept()
    }

    /// Stores until everything is stored, or until `interrupted` is ready. Blocks.
    pub fn run(mut self, interrupted: impl Future) -> Replayed {
        let Self { farewell, sinks, runtime, .. } = &mut self;
        runtime.block_on(async {
            let storing = async {
                sinks.needed_finished().await;
                // Now and not only at the end, which a best-effort sink that is dead would put off.
                farewell.tell().await;
                sinks.finished().await;
            };
            tokio::select! {
                () = storing => {}
                _ = interrupted => {}
            }
        });
        self.sinks.stop(&self.runtime);
        self.departed.shelf.tidy();
        let (segments_left, bytes_left) = self.departed.shelf.kept();
        // Behind the last object, so that nothing it says is not so.
        let told = self.runtime.block_on(self.farewell.tell());
        self.sinks.end();
        self.runtime.shutdown_background();
        Replayed { segments_left, bytes_left, told }
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("instance", &self.departed.instance).finish_non_exhaustive()
    }
}
