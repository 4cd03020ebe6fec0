//! Batches that wait to be sent: in a directory, a file a batch, or in memory.
//!
//! # Invariants
//!
//! - The bodies of what waits have at most `max_bytes` in all, and there are at most [`MAX_BATCHES`]. The oldest go for
//!   new ones, but for the one that is being sent; what goes is counted.
//! - Batches are sent in the order in which they were made, but for streams that the key may not write to, and for files
//!   that cannot be read at present: these are tried again every [`READ_AGAIN`].
//! - What the directory holds at the start is sent before anything new, under the same ids. What is not a batch's file is
//!   left alone; what is one and cannot be read as such is removed and counted.
//! - A batch that cannot be written to the directory waits in memory instead, within the same limit. Its file may be there
//!   all the same, if it was the sync that failed, and goes with the batch.
//! - An age is measured by the uptime, and across runs by the wall clock. A batch whose time lies ahead, or before
//!   [`OLDEST_SENSIBLE`], was named by a clock that was not set: its age begins with this run.

use std::{
    collections::VecDeque,
    io::{
        self,
        ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof},
    },
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use ulid::Ulid;

use super::{
    batcher::{Ids, Label, Packed},
    contract::MAX_AGE,
    counts::{Counts, Tally},
    disk::Directory,
    pauses::{MAX_TEXT_BYTES, Pauses},
};
use crate::batch::{Millis, StreamName};

/// The most batches that wait.
pub const MAX_BATCHES: usize = 10_000;
/// The most that a body is unpacked to when it is checked, in bytes: more than any batch has.
const MAX_UNPACKED_BYTES: u64 = 16 * 1024 * 1024;
/// A batch cannot have been made before 2020.
const OLDEST_SENSIBLE: i64 = 1_577_836_800_000;
/// The file that says until when the server wants to hear nothing.
const PAUSE: &str = "pause";
/// How long to wait when a file cannot be read that need not be broken.
pub(super) const READ_AGAIN: Duration = Duration::from_secs(10);

/// Both clocks, read at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) uptime: Duration,
    pub(super) wall: Millis,
}

/// A batch that waits.
#[derive(Debug)]
struct Waiting {
    label: Label,
    /// Bytes of its body.
    size: u64,
    /// Its body, unless that is in the directory.
    body: Option<Bytes>,
    /// How old it was at `since`, in uptime.
    age: Duration,
    since: Duration,
    attempts: u32,
    /// The uptime before which its file is not read; zero if that has never failed.
    read_again: Duration,
}

impl Waiting {
    fn age(&self, now: Duration) -> Duration {
        self.age + now.saturating_sub(self.since)
    }
}

/// A batch that is to be sent.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) packed: Packed,
    pub(super) age: Duration,
    /// How often it was sent in this run.
    pub(super) attempts: u32,
}

/// The buffer.
#[derive(Debug)]
pub(super) struct Buffer {
    directory: Option<Directory>,
    max_bytes: u64,
    waiting: VecDeque<Waiting>,
    bytes: u64,
    sending: Option<Ulid>,
    /// Of the batches to come.
    pub(super) ids: Ids,
}

impl Buffer {
    /// A buffer in memory of at most `max_bytes`.
    pub(super) fn in_memory(max_bytes: u64) -> Self {
        Self { directory: None, max_bytes, waiting: VecDeque::new(), bytes: 0, sending: None, ids: Ids::default() }
    }

    /// A buffer in the directory `root`, with what is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another client has the directory, else the operating system's.
    pub(super) fn in_directory(root: &Path, max_bytes: u64, now: Now, counts: &mut Counts) -> io::Result<Self> {
        let directory = Directory::open(root)?;
        let files = directory.list()?;
        let mut buffer = Self { directory: Some(directory), ..Self::in_memory(max_bytes) };
        for (name, size) in files {
            let Some(label) = Label::parse(&name) else { continue };
            counts.found += Tally::one(label.events);
            let made = label.made().filter(|made| (OLDEST_SENSIBLE..=now.wall.get()).contains(&made.get()));
            let age = made.map_or(0, |made| now.wall.get() - made.get());
            let age = Duration::from_millis(age.unsigned_abs());
            let (since, read_again) = (now.uptime, Duration::ZERO);
            let waiting = Waiting { label, size, body: None, age, since, attempts: 0, read_again };
            buffer.bytes += size;
            buffer.waiting.push_back(waiting);
        }
        buffer.drop_old(now.uptime, counts);
        buffer.make_room(0, 0, counts);
        Ok(buffer)
    }

    /// Takes a new batch.
    pub(super) fn put(&mut self, packed: Packed, now: Now, counts: &mut Counts) {
        let size = packed.body.len() as u64;
        self.make_room(size, 1, counts);
        if self.bytes + size > self.max_bytes {
            counts.dropped_full += Tally::one(packed.label.events);
            return;
        }
        let written = self.directory.as_ref().map(|to| to.write(&packed.label.file_name(), &packed.body));
        if let Some(Err(error)) = &written {
            tracing::warn!(%error, "a batch cannot be written; it waits in memory");
            counts.unwritten += 1;
        }
        let body = if let Some(Ok(())) = written { None } else { Some(packed.body) };
        self.bytes += size;
        let (label, since, age, read_again) = (packed.label, now.uptime, Duration::ZERO, Duration::ZERO);
        self.waiting.push_back(Waiting { label, size, body, age, since, attempts: 0, read_again });
    }

    /// Drops the oldest, but for the one that is being sent, until `bytes` more in `batches` more fit.
    fn make_room(&mut self, bytes: u64, batches: usize, counts: &mut Counts) {
        while self.bytes + bytes > self.max_bytes || self.waiting.len() + batches > MAX_BATCHES {
            let Some(oldest) = self.waiting.iter().position(|waiting| Some(waiting.label.id) != self.sending) else {
                return;
            };
            counts.dropped_full += self.take(oldest);
        }
    }

    /// Drops what is too old to be sent.
    pub(super) fn drop_old(&mut self, now: Duration, counts: &mut Counts) {
        let sending = self.sending;
        let is_old = |waiting: &Waiting| waiting.age(now) > MAX_AGE && Some(waiting.label.id) != sending;
        while let Some(old) = self.waiting.iter().position(is_old) {
            counts.dropped_too_old += self.take(old);
        }
    }

    /// The oldest batch of a stream that `may` be sent, if any; it is being sent until it is [settled](Self::settled) or
    /// [removed](Self::remove). Broken ones are removed on the way, and those are passed over that cannot be read at present.
    pub(super) fn next(
        &mut self,
        may: impl Fn(&StreamName) -> bool,
        now: Duration,
        counts: &mut Counts,
    ) -> Option<Next> {
        loop {
            let is_next = |waiting: &Waiting| waiting.read_again <= now && may(&waiting.label.stream);
            let place = self.waiting.iter().position(is_next)?;
            let waiting = &mut self.waiting[place];
            let body = match (&waiting.body, &self.directory) {
                (Some(body), _) => Ok(Some(body.clone())),
                (None, Some(directory)) => read(directory, waiting),
                (None, None) => Ok(None),
            };
            match body {
                Ok(Some(body)) => {
                    let (attempts, age) = (waiting.attempts, waiting.age(now));
                    waiting.attempts = waiting.attempts.saturating_add(1);
                    self.sending = Some(waiting.label.id);
                    return Some(Next { packed: Packed { label: waiting.label.clone(), body }, age, attempts });
                }
                Ok(None) => counts.dropped_broken += self.take(place),
                Err(error) => {
                    if waiting.read_again.is_zero() {
                        tracing::warn!(%error, batch = %waiting.label.id, "a batch cannot be read; trying again later");
                    }
                    waiting.read_again = now.saturating_add(READ_AGAIN);
                }
            }
        }
    }

    /// The uptime at which a file is to be read again that could not be read, if there is one.
    pub(super) fn read_again(&self, now: Duration) -> Option<Duration> {
        self.waiting.iter().map(|waiting| waiting.read_again).filter(|again| *again > now).min()
    }

    /// Nothing is being sent any more.
    pub(super) fn settled(&mut self) {
        self.sending = None;
    }

    /// Removes a batch, and tells what it was.
    pub(super) fn remove(&mut self, id: Ulid) -> Tally {
        let place = self.waiting.iter().position(|waiting| waiting.label.id == id);
        place.map(|place| self.take(place)).unwrap_or_default()
    }

    fn take(&mut self, place: usize) -> Tally {
        let Some(taken) = self.waiting.remove(place) else { return Tally::default() };
        self.bytes -= taken.size;
        if self.sending == Some(taken.label.id) {
            self.sending = None;
        }
        if let Some(directory) = &self.directory
            && let Err(error) = directory.remove(&taken.label.file_name())
            && !(error.kind() == NotFound && taken.body.is_some())
        {
            // It comes back with the next start, and the warehouse recognises its events.
            tracing::warn!(%error, "the file of a batch cannot be removed");
        }
        Tally::one(taken.label.events)
    }

    /// What waits.
    pub(super) fn waiting(&self) -> Tally {
        let mut all = Tally::default();
        self.waiting.iter().for_each(|waiting| all += Tally::one(waiting.label.events));
        all
    }

    /// Remembers, if there is a directory, for how long nothing is to be sent.
    pub(super) fn keep_pauses(&self, pauses: &Pauses, now: Millis) {
        let Some(directory) = &self.directory else { return };
        if let Err(error) = directory.write(PAUSE, pauses.to_text(now).as_bytes()) {
            tracing::warn!(%error, "a pause cannot be written");
        }
    }

    /// What is left of the pauses that were kept; never more than it was, whatever became of the wall clock.
    pub(super) fn kept_pauses(&self, now: Millis) -> Pauses {
        let Some((pauses, ahead)) = self.read_pauses(now) else { return Pauses::default() };
        if ahead {
            // By this clock, or the pause would begin anew with each start until the clock has caught up.
            self.keep_pauses(&pauses, now);
        }
        pauses
    }

    fn read_pauses(&self, now: Millis) -> Option<(Pauses, bool)> {
        let directory = self.directory.as_ref()?;
        let (_, len) = directory.list().ok()?.into_iter().find(|(name, _)| name == PAUSE)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_TEXT_BYTES);
        Pauses::parse(std::str::from_utf8(&directory.read(PAUSE, len).ok()?).ok()?, now)
    }
}

/// The body of a batch; `None` if its file is not what was written.
fn read(directory: &Directory, waiting: &Waiting) -> io::Result<Option<Bytes>> {
    let name = waiting.label.file_name();
    let checked = directory.read(&name, usize::try_from(waiting.size).unwrap_or(usize::MAX)).and_then(|bytes| {
        // gzip's own checksum tells what a failing flash has made of it.
        let mut unpacked = io::Read::take(GzDecoder::new(&bytes[..]), MAX_UNPACKED_BYTES);
        io::copy(&mut unpacked, &mut io::sink())?;
        Ok(bytes)
    });
    match checked {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if matches!(error.kind(), InvalidData | InvalidInput | NotFound | UnexpectedEof) => {
            tracing::warn!(%error, batch = %waiting.label.id, "the file of a batch is broken");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
