//! A disk in memory, for an instance that keeps nothing: the same spool over it, and nothing of it survives the process.
//!
//! Nothing here is durable, and nothing is acknowledged for being here: with such a spool an answer waits until the
//! required sinks have the batch. A sync costs nothing.
//!
//! # Layout
//!
//! A file is a map from an offset to an *extent*: what one write brought, in one piece of exactly that length, which is
//! never changed. A write copies its bytes once, before it takes the file's lock; the lock is held to put a pointer into
//! the map. A reader holds it to take pointers out, and copies behind it. So neither waits for the other's copying, and a
//! reader that has opened a file reads on after the file was removed.
//!
//! # Limits
//!
//! Groups take what [`MemoryDisk::new`] was told, and what lets the spool drain again (footers, cursors) may take
//! [`RESERVE_BYTES`] beyond. Without the reserve a disk full of groups could seal no segment, so that no sink could take
//! any. A write beyond is [`io::ErrorKind::StorageFull`], and changes nothing. A removed file counts until its last
//! reader has closed it. Gaps, which nothing here makes, take no room.
//!
//! # Invariants
//!
//! - Extents do not overlap and end before the file does.
//! - What is in use is the sum of all extents of all files that anybody can still read.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::disk::{Disk, DiskFile};

/// What only footers and cursors may take, in bytes. A footer has about 300 bytes for each stream, hour and book of its
/// segment, and a few segments at most wait for theirs.
pub const RESERVE_BYTES: u64 = 2 * 1024 * 1024;

/// A directory of files in memory.
#[derive(Debug)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<String, Arc<Content>>>,
    room: Arc<Room>,
}

impl MemoryDisk {
    /// An empty one, of which groups may take `most` bytes.
    pub fn new(most: u64) -> Self {
        let room = Room { limit: most.saturating_add(RESERVE_BYTES), used: AtomicU64::new(0) };
        Self { files: Mutex::default(), room: Arc::new(room) }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Content>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.files().iter().map(|(name, content)| (name.clone(), content.extents().len)).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::new(Content { extents: Mutex::default(), room: Arc::clone(&self.room) });
        files.insert(name.to_owned(), Arc::clone(&content));
        Ok(Box::new(MemoryFile(content)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let content = self.files().get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile(content)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = files.insert(to.to_owned(), content);
        drop(files);
        // Without the lock: much may be given back.
        drop(replaced);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files().remove(name);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_quarantine(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.room.free().saturating_sub(RESERVE_BYTES))
    }

    fn has_room(&self, bytes: u64) -> bool {
        bytes.saturating_add(RESERVE_BYTES) <= self.room.free()
    }

    fn is_memory(&self) -> bool {
        true
    }
}

/// How much there is, and how much of it is used.
#[derive(Debug)]
struct Room {
    limit: u64,
    used: AtomicU64,
}

impl Room {
    fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    fn take(&self, bytes: u64) -> io::Result<()> {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(drop).map_err(|_| io::ErrorKind::StorageFull.into())
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a file holds: given back when nobody can read it any more.
#[derive(Debug)]
struct Content {
    extents: Mutex<Extents>,
    room: Arc<Room>,
}

impl Content {
    fn extents(&self) -> MutexGuard<'_, Extents> {
        self.extents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let extents = self.extents.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.room.give_back(extents.by_start.values().map(|extent| extent.len() as u64).sum());
    }
}

#[derive(Debug, Default)]
struct Extents {
    /// The file's length.
    len: u64,
    by_start: BTreeMap<u64, Bytes>,
}

impl Extents {
    /// Makes a gap from `start` to `end`: how many bytes were there.
    fn cut(&mut self, start: u64, end: u64) -> u64 {
        // The one that begins before may reach into the gap; it ends where the next one begins, at the latest.
        let before = self.by_start.range(..start).next_back().map(|(at, _)| *at);
        let within = self.by_start.range(start..end).map(|(at, _)| *at);
        let touched: Vec<u64> = before.into_iter().chain(within).collect();
        let mut freed = 0;
        for at in touched {
            let Some(extent) = self.by_start.get(&at).cloned() else { continue };
            let extent_end = at + extent.len() as u64;
            let (from, to) = (start.max(at), end.min(extent_end));
            if from >= to {
                continue;
            }
            freed += to - from;
            self.by_start.remove(&at);
            // Copies, so that what is left of an extent does not hold all of it.
            if at < from {
                self.by_start.insert(at, Bytes::copy_from_slice(&extent[..(from - at) as usize]));
            }
            if to < extent_end {
                self.by_start.insert(to, Bytes::copy_from_slice(&extent[(to - at) as usize..]));
            }
        }
        freed
    }

    /// Puts `bytes` at `offset`: how many bytes were there before.
    fn put(&mut self, offset: u64, bytes: Bytes) -> u64 {
        let end = offset + bytes.len() as u64;
        let freed = self.cut(offset, end);
        self.by_start.insert(offset, bytes);
        self.len = self.len.max(end);
        freed
    }

    /// The extents that have something from `start` to `end`, and where they begin.
    fn find(&self, start: u64, end: u64) -> Vec<(u64, Bytes)> {
        let before = self.by_start.range(..start).next_back();
        before.into_iter().chain(self.by_start.range(start..end)).map(|(at, extent)| (*at, extent.clone())).collect()
    }
}

/// An open file.
#[derive(Debug)]
struct MemoryFile(Arc<Content>);

impl DiskFile for MemoryFile {
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len == 0 {
            return Ok(());
        }
        if offset.checked_add(len as u64).is_none() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let room = &self.0.room;
        room.take(len as u64)?;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(len).is_err() {
            room.give_back(len as u64);
            return Err(io::ErrorKind::StorageFull.into());
        }
        for part in parts {
            bytes.extend_from_slice(part);
        }
        let freed = self.0.extents().put(offset, bytes.into());
        room.give_back(freed);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (end, found) = {
            let extents = self.0.extents();
            let end = extents.len.min(offset.saturating_add(buffer.len() as u64));
            if end <= offset {
                return Ok(0);
            }
            (end, extents.find(offset, end))
        };
        let buffer = &mut buffer[..(end - offset) as usize];
        let mut filled = 0;
        for (at, extent) in found {
            let (from, to) = (at.max(offset), (at + extent.len() as u64).min(end));
            if from >= to {
                continue;
            }
            let into = (from - offset) as usize..(to - offset) as usize;
            // A gap is read as zeros.
            buffer[filled..into.start].fill(0);
            filled = into.end;
            buffer[into].copy_from_slice(&extent[(from - at) as usize..(to - at) as usize]);
        }
        buffer[filled..].fill(0);
        Ok(buffer.len())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let freed = {
            let mut extents = self.0.extents();
            let freed = if len < extents.len { extents.cut(len, u64::MAX) } else { 0 };
            extents.len = len;
            freed
        };
        self.0.room.give_back(freed);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.extents().len)
    }
}

#[cfg(test)]
mod tests;
