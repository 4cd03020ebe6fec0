//! Files without content, kept to be segments again.
//!
//! Writing into blocks that the file system has already given out makes fdatasync cheaper: it has no metadata to
//! commit. A segment that every sink has passed becomes a spare; where there is none, one is filled with zeros in the
//! background, as long as the last segment was. A disk in memory has none: used memory is no cheaper than other memory.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{MAX_SPARES, SharedDisk, disk::DiskFile, segment::Name};
use crate::queue::Published;

/// The shortest spare that is made, and the step in which its length follows the segments', in bytes.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// How much is written at a time when a spare is made, in bytes.
const FILL_BYTES: usize = 1024 * 1024;

/// The spare files of a spool.
#[derive(Debug)]
pub(super) struct Spares {
    disk: SharedDisk,
    /// Never held over a file call: the writer takes it.
    pool: Mutex<Pool>,
    /// The length of those in the pool, in bytes.
    bytes: AtomicU64,
    /// The length that a new spare gets, in bytes.
    wanted: AtomicU64,
    /// Whether the disk is full: nothing is kept that can be removed.
    scarce: AtomicBool,
    /// What tells how much the spool uses, and how much it may.
    room: (Arc<Published>, u64),
}

#[derive(Debug, Default)]
struct Pool {
    files: Vec<(u64, u64)>,
    /// How many are about to be.
    coming: usize,
    next: u64,
}

impl Spares {
    /// The spares that the directory has: their numbers and lengths. None is made that is longer than `most`, or for which
    /// there is no room in the quota.
    pub(super) fn new(disk: SharedDisk, files: Vec<(u64, u64)>, most: u64, room: (Arc<Published>, u64)) -> Self {
        let next = files.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        Self {
            disk,
            bytes: AtomicU64::new(files.iter().map(|(_, len)| len).sum()),
            pool: Mutex::new(Pool { files, coming: 0, next }),
            wanted: AtomicU64::new(STEP_BYTES.min(most)),
            scarce: AtomicBool::new(false),
            room,
        }
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Their length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Makes a spare the file called `name`, or makes a new file. The directory is still to be synced.
    pub(super) fn take(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let spare = self.pool().files.pop();
        if let Some((number, len)) = spare {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            let spare = Name::Spare(number).to_string();
            match self.disk.rename(&spare, name) {
                Ok(()) => return self.disk.open(name),
                Err(error) => tracing::warn!(spare, %error, "cannot use a spare file"),
            }
        }
        self.disk.create(name)
    }

    /// Takes a file of `len` bytes that nobody needs: as a spare if there is room and nobody reads it, else it is removed.
    /// It is gone already if an attempt that seemed to fail has done so.
    pub(super) fn give(&self, name: &str, len: u64, being_read: bool) -> io::Result<()> {
        match self.keep_or_remove(name, len, being_read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            given => given,
        }
    }

    fn keep_or_remove(&self, name: &str, len: u64, being_read: bool) -> io::Result<()> {
        let mut pool = self.pool();
        let full = pool.files.len() + pool.coming >= MAX_SPARES || self.disk.is_memory();
        if being_read || full || len == 0 || self.scarce.load(Ordering::Relaxed) {
            drop(pool);
            return self.disk.remove(name);
        }
        let number = pool.next;
        pool.next += 1;
        pool.coming += 1;
        drop(pool);
        let spare = Name::Spare(number).to_string();
        let renamed = self.disk.rename(name, &spare);
        let mut pool = self.pool();
        pool.coming -= 1;
        renamed?;
        if !self.scarce.load(Ordering::Relaxed) {
            self.bytes.fetch_add(len, Ordering::Relaxed);
            pool.files.push((number, len));
            return Ok(());
        }
        // The disk has become full meanwhile, and whoever removed the spares did not find this one.
        drop(pool);
        self.remove_spare(number);
        Ok(())
    }

    fn remove_spare(&self, number: u64) {
        let name = Name::Spare(number).to_string();
        if let Err(error) = self.disk.remove(&name) {
            tracing::warn!(spare = name, %error, "cannot remove a spare file");
        }
    }

    /// Tells whether the disk is full. As long as it is, nothing is a spare.
    pub(super) fn set_scarce(&self, scarce: bool) {
        if self.scarce.swap(scarce, Ordering::Relaxed) != scarce && scarce {
            self.remove_all();
        }
    }

    /// Removes all spares, because the disk is needed.
    fn remove_all(&self) {
        let files = std::mem::take(&mut self.pool().files);
        for (number, len) in files {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            self.remove_spare(number);
        }
    }

    /// Tells how long the last segment was, of at most `most` bytes.
    pub(super) fn expect(&self, len: u64, most: u64) {
        self.wanted.store(len.next_multiple_of(STEP_BYTES).min(most), Ordering::Relaxed);
    }

    /// Makes a spare if there is none; whether it did.
    pub(super) fn prepare(&self) -> io::Result<bool> {
        if self.disk.is_memory() {
            return Ok(false);
        }
        let (number, len) = {
            let mut pool = self.pool();
            let (published, quota) = &self.room;
            let wanted = self.wanted.load(Ordering::Relaxed);
            let fits = published.spool_bytes() + 2 * wanted <= *quota;
            if !pool.files.is_empty() || self.scarce.load(Ordering::Relaxed) || !fits {
                return Ok(false);
            }
            pool.next += 1;
            (pool.next - 1, wanted)
        };
        let name = Name::Spare(number).to_string();
        match self.fill(&name, len) {
            Ok(()) => {
                let mut pool = self.pool();
                self.bytes.fetch_add(len, Ordering::Relaxed);
                pool.files.push((number, len));
                Ok(true)
            }
            Err(error) => {
                // Half a spare would count as disk in use.
                let _ = self.disk.remove(&name);
                Err(error)
            }
        }
    }

    fn fill(&self, name: &str, len: u64) -> io::Result<()> {
        let file = self.disk.create(name)?;
        let zeros = vec![0; FILL_BYTES];
        let mut at = 0;
        while at < len {
            let some = (len - at).min(FILL_BYTES as u64);
            file.write_at(&[&zeros[..some as usize]], at)?;
            at += some;
        }
        file.sync()
    }
}
