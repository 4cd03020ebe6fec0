//! The quarantine: what of the spool cannot be read is set aside in a directory of its own, counted, and told once.
//!
//! - A damaged *place* of a segment is copied, as long as all copies fit [`MAX_QUARANTINE_BYTES`].
//! - A torn *tail* was, as far as anybody can tell, never acknowledged. It is copied all the same before it is cut, since
//!   an acknowledged group that went bad there looks alike; the oldest copies go when they exceed [`MAX_TAIL_BYTES`].
//! - A *segment* of which nothing can be read, or one of another version, is moved as it is, which takes no more disk
//!   than before. What is in the quarantine counts against the disk quota until somebody looks at it and removes it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    MAX_QUARANTINE_BYTES, MAX_TAIL_BYTES, SharedDisk,
    disk::{DiskFile, QUARANTINE},
    patient::Patient,
};
use crate::{
    batch::SegmentId,
    metrics::{self, Metrics},
};

/// What is counted as set aside: a place of a segment, a whole one, one that is gone, a cursor that points nowhere.
const SET_ASIDE: [&str; 4] = ["place", "segment", "missing", "cursor"];
/// What the names of copied tails begin with.
const TAIL: &str = "quarantine/tail-";
/// How much is copied at a time, in bytes.
const COPY_BYTES: usize = 1024 * 1024;

/// Where damaged places go.
#[derive(Debug)]
pub(super) struct Quarantine {
    disk: SharedDisk,
    metrics: Arc<Metrics>,
    /// Bytes of everything in it.
    bytes: AtomicU64,
}

impl Quarantine {
    /// The quarantine of `disk`, with what is in it.
    pub(super) fn open(disk: SharedDisk, metrics: Arc<Metrics>) -> io::Result<Self> {
        // Shown before the first of them, so that their growth is seen.
        for what in SET_ASIDE {
            let _ = metrics.counter(&metrics::QUARANTINED, &[what]);
        }
        let _ = metrics.counter(&metrics::QUARANTINED_BYTES, &[]);
        let _ = metrics.counter(&metrics::TORN_TAILS, &[]);
        let quarantine = Self { disk, metrics, bytes: AtomicU64::new(0) };
        quarantine.count()?;
        Ok(quarantine)
    }

    /// Bytes of everything in it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn files(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = self.disk.list()?;
        files.retain(|(name, _)| name.starts_with(QUARANTINE));
        Ok(files)
    }

    fn count(&self) -> io::Result<()> {
        self.bytes.store(self.files()?.iter().map(|(_, len)| len).sum(), Ordering::Relaxed);
        Ok(())
    }

    fn tell(&self, what: &str, bytes: u64) {
        self.metrics.counter(&metrics::QUARANTINED, &[what]).increment(1);
        self.metrics.counter(&metrics::QUARANTINED_BYTES, &[]).increment(bytes);
    }

    /// Copies the bytes `from..to` of `segment`'s file, which are damaged, if that has not been done yet.
    pub(super) fn keep(&self, file: &dyn DiskFile, segment: SegmentId, from: u64, to: u64) -> io::Result<()> {
        let (name, len) = (format!("{QUARANTINE}{segment}-{from}"), to - from);
        let files = self.files()?;
        if files.contains(&(name.clone(), len)) {
            return Ok(());
        }
        let used: u64 = files.iter().filter(|(file, _)| is_place(file)).map(|(_, len)| len).sum();
        let kept = used + len <= MAX_QUARANTINE_BYTES;
        if kept {
            self.copy(file, &name, from, to)?;
        }
        self.tell("place", len);
        tracing::error!(%segment, offset = from, bytes = len, kept, "a damaged place of the spool was quarantined");
        Ok(())
    }

    /// Copies the bytes `from..to` of `segment`'s file, which are about to be cut.
    pub(super) fn keep_tail(&self, file: &dyn DiskFile, segment: SegmentId, from: u64, to: u64) -> io::Result<()> {
        if to - from > MAX_TAIL_BYTES {
            return Ok(());
        }
        let mut tails = self.files()?;
        tails.retain(|(name, _)| name.starts_with(TAIL));
        tails.sort();
        let mut used: u64 = tails.iter().map(|(_, len)| len).sum();
        for (name, len) in tails {
            if used + (to - from) <= MAX_TAIL_BYTES {
                break;
            }
            self.disk.remove(&name)?;
            used -= len;
        }
        self.copy(file, &format!("{TAIL}{segment}-{from}"), from, to)
    }

    /// Moves the whole file called `name`, of which nothing can be read.
    pub(super) fn take(&self, name: &str, len: u64, why: &str) -> io::Result<()> {
        let taken = self.files()?;
        let free = |name: &String| taken.iter().all(|(other, _)| other != name);
        let names = (0..=taken.len()).map(|number| match number {
            0 => format!("{QUARANTINE}{name}"),
            number => format!("{QUARANTINE}{name}-{number}"),
        });
        let place = names.into_iter().find(free).unwrap_or_default();
        self.disk.rename(name, &place)?;
        self.disk.sync_quarantine()?;
        self.disk.sync_dir()?;
        self.count()?;
        self.tell("segment", len);
        tracing::error!(file = name, bytes = len, moved_to = place, why, "a file of the spool was quarantined");
        Ok(())
    }

    fn copy(&self, file: &dyn DiskFile, name: &str, from: u64, to: u64) -> io::Result<()> {
        let copy = match self.disk.create(name) {
            // An earlier start was interrupted behind this point.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.disk.open(name)?,
            created => created?,
        };
        let source = Patient::new(file);
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = from;
        while at < to {
            let some = (to - at).min(COPY_BYTES as u64) as usize;
            let read = source.read_at(&mut buffer[..some], at);
            if read == 0 {
                break;
            }
            copy.write_at(&[&buffer[..read]], at - from)?;
            at += read as u64;
        }
        copy.sync()?;
        self.disk.sync_quarantine()?;
        self.count()
    }
}

/// Whether the file called `name` is the copy of a damaged place: `{segment}-{offset}`.
fn is_place(name: &str) -> bool {
    let parts = name.strip_prefix(QUARANTINE).and_then(|name| name.split_once('-'));
    parts.is_some_and(|(segment, offset)| [segment, offset].iter().all(|n| n.bytes().all(|b| b.is_ascii_digit())))
}
