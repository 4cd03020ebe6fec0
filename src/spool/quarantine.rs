//! Places of the spool that cannot be read: copied aside as long as there is room for it, counted, and told once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{MAX_QUARANTINE_BYTES, SharedDisk, disk::DiskFile};
use crate::{
    batch::SegmentId,
    metrics::{self, Metrics},
};

/// What the names of quarantined places begin with.
pub(super) const PREFIX: &str = "quarantine-";
/// How much is copied at a time, in bytes.
const COPY_BYTES: usize = 1024 * 1024;

/// Where damaged places go.
#[derive(Debug)]
pub(super) struct Quarantine {
    disk: SharedDisk,
    metrics: Arc<Metrics>,
    /// Bytes kept.
    used: AtomicU64,
}

impl Quarantine {
    /// A quarantine that holds `used` bytes already.
    pub(super) fn new(disk: SharedDisk, metrics: Arc<Metrics>, used: u64) -> Self {
        Self { disk, metrics, used: AtomicU64::new(used) }
    }

    /// Sets the bytes `from..to` of `segment`'s file aside.
    pub(super) fn keep(&self, file: &dyn DiskFile, segment: SegmentId, from: u64, to: u64) -> io::Result<()> {
        let len = to - from;
        self.metrics.counter(&metrics::QUARANTINED, &["place"]).increment(1);
        self.metrics.counter(&metrics::QUARANTINED_BYTES, &[]).increment(len);
        let fits = |used: u64| used.checked_add(len).filter(|used| *used <= MAX_QUARANTINE_BYTES);
        let kept = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        tracing::error!(%segment, offset = from, bytes = len, kept, "a damaged place of the spool was quarantined");
        if kept { self.copy(file, &format!("{PREFIX}{segment}-{from}"), from, to) } else { Ok(()) }
    }

    fn copy(&self, file: &dyn DiskFile, name: &str, from: u64, to: u64) -> io::Result<()> {
        let copy = match self.disk.create(name) {
            // An earlier start was interrupted behind this point.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.disk.open(name)?,
            created => created?,
        };
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = from;
        while at < to {
            let some = (to - at).min(COPY_BYTES as u64) as usize;
            let read = file.read_at(&mut buffer[..some], at)?;
            if read == 0 {
                break;
            }
            copy.write_at(&[&buffer[..read]], at - from)?;
            at += read as u64;
        }
        copy.sync()
    }
}
