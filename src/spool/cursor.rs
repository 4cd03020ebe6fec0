//! How far a sink has come, durably.
//!
//! A cursor is a file of two blocks, written in turn: the newer valid one counts, so that a torn write loses the last
//! step at the most, which is then done again and found done.
//!
//! ```text
//!   0  8  magic "LWCURSR\0"
//!   8  8  step: the larger one counts
//!  16  8  segment: every one before it is done
//!  24  8  offset within the segment, for sinks that follow the open one; 0 for object sinks
//!  32  8  received time of the last event that is done, milliseconds since the epoch
//!  60  4  CRC-32 of the bytes before
//! ```

use std::{io, sync::Arc};

use crc32fast::hash as crc32;

use super::{
    BLOCK_BYTES, SharedDisk,
    disk::{Disk, DiskFile},
    patient::{open_again, read_again},
};
use crate::batch::{Millis, SegmentId};

const MAGIC: [u8; 8] = *b"LWCURSR\0";
const RECORD_BYTES: usize = 64;

/// Where a sink stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Every segment before this one is done.
    pub segment: SegmentId,
    /// How far this one is done, in bytes; 0 for object sinks.
    pub offset: u64,
    /// The received time of the last event that is done.
    pub received: Millis,
}

/// A place in the spool: at a group, at a frame, or between two lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: SegmentId,
    /// In bytes of the file; 0 for its beginning.
    pub(super) offset: u64,
}

impl Place {
    /// Where `segment` begins.
    pub(super) fn at(segment: SegmentId) -> Self {
        Self { segment, offset: 0 }
    }
}

impl Position {
    pub(super) fn place(self) -> Place {
        Place { segment: self.segment, offset: self.offset }
    }
}

/// A sink's durable position.
#[derive(Debug)]
pub(super) struct Cursor {
    disk: SharedDisk,
    name: String,
    /// Its file; none as long as there was no room for it, or the disk failed.
    file: Option<Box<dyn DiskFile>>,
    step: u64,
    found: Found,
}

/// What a cursor's file tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the sink stands; `None` if it never stood anywhere, or if nothing can be told.
    pub(super) position: Option<Position>,
    /// Whether one of the records is damaged, or the file cannot be opened: the sink may have come further.
    pub(super) damaged: bool,
}

impl Found {
    /// Whether the sink has never stood anywhere: there is no file, or one that was made and never written.
    pub(super) fn is_new(self) -> bool {
        self.position.is_none() && !self.damaged
    }
}

/// The name of the cursor file of the sink called `sink`.
pub(super) fn file_name(sink: &str) -> String {
    format!("cursor-{sink}")
}

/// The name of the cursor file of a sink that is not configured any more.
pub(super) fn retired_name(sink: &str) -> String {
    format!("retired-{sink}")
}

/// Where the sink called `sink` stands.
///
/// # Errors
/// The operating system's, if the file is there and cannot be opened.
pub(super) fn read(disk: &dyn Disk, sink: &str) -> io::Result<Found> {
    read_file(disk, &file_name(sink))
}

/// What the cursor's file called `name` tells.
///
/// # Errors
/// The operating system's, if the file is there and cannot be opened.
pub(super) fn read_file(disk: &dyn Disk, name: &str) -> io::Result<Found> {
    Ok(found(&*open_again(disk, name)?))
}

/// What a cursor's file tells.
pub(super) fn found(file: &dyn DiskFile) -> Found {
    records(file).1
}

impl Cursor {
    /// The cursor of the sink called `sink`; a new one if there is none. If it cannot be read, the sink does again what it
    /// may have done, and finds it done.
    pub(super) fn open(disk: &SharedDisk, sink: &str) -> Self {
        let (disk, name) = (Arc::clone(disk), file_name(sink));
        let mut cursor = Self { disk, name, file: None, step: 0, found: Found::default() };
        if let Err(error) = cursor.open_or_make() {
            tracing::warn!(sink, %error, "the sink's cursor can be neither read nor made yet");
        }
        cursor
    }

    fn open_or_make(&mut self) -> io::Result<()> {
        let file = match open_again(&*self.disk, &self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make()?,
            Err(error) => {
                self.found.damaged = true;
                return Err(error);
            }
            Ok(file) => file,
        };
        (self.step, self.found) = records(&*file);
        self.file = Some(file);
        Ok(())
    }

    /// Makes the file, durably, with its blocks: on a full disk a cursor must move, or nothing is ever let go.
    fn make(&self) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.create(&self.name)?;
        file.write_at(&[&[0; 2 * BLOCK_BYTES]], 0)?;
        file.sync()?;
        self.disk.sync_dir()?;
        Ok(file)
    }

    /// What its file told.
    pub(super) fn found(&self) -> Found {
        self.found
    }

    /// Moves to `position`, durably.
    pub(super) fn advance(&mut self, position: Position) -> io::Result<()> {
        if self.file.is_none() {
            self.open_or_make()?;
            // Its name may stem from an attempt that did not come to sync it.
            self.disk.sync_dir()?;
        }
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let step = self.step + 1;
        file.write_at(&[&encode(step, position)], (step % 2) * BLOCK_BYTES as u64)?;
        file.sync()?;
        self.step = step;
        self.found.position = Some(position);
        Ok(())
    }
}

/// The step of the newer valid record, and what the file tells.
fn records(file: &dyn DiskFile) -> (u64, Found) {
    let mut newest: Option<(u64, Position)> = None;
    let mut damaged = false;
    for place in 0..2 {
        let mut record = [0; RECORD_BYTES];
        // A place that cannot be read is as good as a damaged one: whoever lost a step does it again.
        let read = read_again(file, &mut record, place * BLOCK_BYTES as u64);
        let found = read.as_ref().ok().and_then(|read| decode(&record[..*read]));
        damaged |= found.is_none() && (read.is_err() || record.iter().any(|byte| *byte != 0));
        newest = newest.into_iter().chain(found).max_by_key(|(step, _)| *step);
    }
    let (step, position) = newest.unzip();
    (step.unwrap_or(0), Found { position, damaged })
}

fn encode(step: u64, position: Position) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&MAGIC);
    record[8..16].copy_from_slice(&step.to_le_bytes());
    record[16..24].copy_from_slice(&position.segment.0.to_le_bytes());
    record[24..32].copy_from_slice(&position.offset.to_le_bytes());
    record[32..40].copy_from_slice(&position.received.get().to_le_bytes());
    let sum = crc32(&record[..60]);
    record[60..].copy_from_slice(&sum.to_le_bytes());
    record
}

fn decode(record: &[u8]) -> Option<(u64, Position)> {
    let record: &[u8; RECORD_BYTES] = record.try_into().ok()?;
    let word = |at: usize| record[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    let sound = record[..8] == MAGIC && record[60..] == crc32(&record[..60]).to_le_bytes();
    let received = Millis::new(word(32) as i64)?;
    sound.then(|| (word(8), Position { segment: SegmentId(word(16)), offset: word(24), received }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::RealDisk;

    fn at(segment: u64) -> Position {
        Position { segment: SegmentId(segment), offset: 0, received: Millis::new(5).unwrap() }
    }

    #[test]
    fn a_cursor_survives_and_a_torn_write_loses_one_step() {
        let root = tempfile::tempdir().unwrap();
        let disk: SharedDisk = Arc::new(RealDisk::open(root.path()).unwrap());
        let told = |segment, damaged| Found { position: Some(at(segment)), damaged };
        let mut cursor = Cursor::open(&disk, "s3");
        assert_eq!(cursor.found(), Found::default());
        for segment in 1..=4 {
            cursor.advance(at(segment)).unwrap();
            assert_eq!(Cursor::open(&disk, "s3").found(), told(segment, false));
        }
        disk.open("cursor-s3").unwrap().write_at(&[b"torn"], 16).unwrap();
        let mut cursor = Cursor::open(&disk, "s3");
        assert_eq!(cursor.found(), told(3, true));
        cursor.advance(at(9)).unwrap();
        assert_eq!(read(&*disk, "s3").unwrap(), told(9, false));
        assert_eq!(read(&*disk, "other").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// A disk that is full when the sink comes, and has room later.
    #[test]
    fn a_cursor_that_cannot_be_made_is_made_when_it_moves() {
        let root = tempfile::tempdir().unwrap();
        let disk: SharedDisk = Arc::new(RealDisk::open(root.path()).unwrap());
        std::fs::create_dir(root.path().join("cursor-s3")).unwrap();
        let mut cursor = Cursor::open(&disk, "s3");
        assert!(cursor.advance(at(1)).is_err());
        std::fs::remove_dir(root.path().join("cursor-s3")).unwrap();
        cursor.advance(at(1)).unwrap();
        assert_eq!(read(&*disk, "s3").unwrap().position, Some(at(1)));
    }
}
