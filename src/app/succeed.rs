//! How a server takes up an instance: from the process that has it, or from the directory that the last one left.

use std::{io, net::TcpListener, sync::Arc};

use super::{StartError, Stranded, listen::Sockets, stranded};
use crate::{
    config::Config,
    metrics::{self, Metrics},
    queue::Intake,
    spool::{DiskId, Spool, StartError as SpoolError},
    succession::{Leaving, Predecessor, SpoolDir},
};

/// A predecessor, and the sockets that it hands over.
pub(super) fn handed_over((predecessor, [public, admin]): (Predecessor, [TcpListener; 2])) -> (Predecessor, Sockets) {
    let supervised = predecessor.estate.supervised;
    (predecessor, Sockets { public, admin, supervised })
}

/// Waits until the process that is succeeded gives way, if there is one: that process, whose spool is to be taken.
pub(super) fn take_over(
    config: &Config,
    predecessor: Option<Predecessor>,
    metrics: &Metrics,
) -> Result<Option<Leaving>, StartError> {
    let [_failed, taken_over] =
        ["failed", "taken_over"].map(|outcome| metrics.counter(&metrics::HANDOVERS, &[outcome]));
    let Some(predecessor) = predecessor else { return Ok(None) };
    let spool = if config.spool.keeps() {
        Some(DiskId::at(&config.spool.dir)?.ok_or_else(|| predecessor.other_spool())?)
    } else {
        None
    };
    let leaving = predecessor.take_over(spool)?;
    taken_over.increment(1);
    Ok(Some(leaving))
}

/// The spool on disk, for whose lock the process that is `leaving` is waited; or the one in memory that nothing outlives.
pub(super) fn open_spool(
    config: &Config,
    intake: Intake,
    metrics: &Arc<Metrics>,
    mut leaving: Option<Leaving>,
) -> Result<Spool, SpoolError> {
    let settings = config.spool_settings();
    if config.spool.keeps() {
        Spool::open_while(settings, intake, metrics, &mut || leaving.as_mut().is_some_and(Leaving::may_release))
    } else {
        match stranded(config) {
            Ok(None) => {}
            Ok(Some(stranded)) => {
                let Stranded { segments, bytes, .. } = stranded;
                tracing::warn!(segments, bytes, "{stranded}");
            }
            Err(error) => tracing::warn!(%error, "what the spool holds that was used before cannot be told"),
        }
        Spool::in_memory(settings, intake, metrics)
    }
}

/// The directory that `spool` has; `None` without a disk.
pub(super) fn spool_dir(config: &Config, spool: &Spool) -> io::Result<Option<SpoolDir>> {
    let Some(id) = spool.disk_id()? else { return Ok(None) };
    Ok(Some(SpoolDir { path: std::path::absolute(&config.spool.dir)?, id }))
}
