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

use std::io;

use crc32fast::hash as crc32;

use super::{
    BLOCK_BYTES,
    disk::{Disk, DiskFile},
    patient::read_again,
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

/// A sink's durable position.
#[derive(Debug)]
pub(super) struct Cursor {
    file: Box<dyn DiskFile>,
    step: u64,
    position: Option<Position>,
    /// Whether one of its records is damaged: it may have come further than it says.
    damaged: bool,
}

/// The name of the cursor file of the sink called `sink`.
pub(super) fn file_name(sink: &str) -> String {
    format!("cursor-{sink}")
}

impl Cursor {
    /// Opens the cursor of the sink called `sink`, or makes one.
    pub(super) fn open(disk: &dyn Disk, sink: &str) -> io::Result<Self> {
        let name = file_name(sink);
        let file = match disk.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(&name)?;
                // Its blocks are taken now: on a full disk a cursor must move, or nothing is ever let go.
                file.write_at(&[&[0; 2 * BLOCK_BYTES]], 0)?;
                file.sync()?;
                disk.sync_dir()?;
                file
            }
            opened => opened?,
        };
        let mut newest: Option<(u64, Position)> = None;
        let mut damaged = false;
        for place in 0..2 {
            let mut record = [0; RECORD_BYTES];
            // A place that cannot be read is as good as a damaged one: whoever lost a step does it again.
            let read = read_again(&*file, &mut record, place * BLOCK_BYTES as u64);
            let found = read.as_ref().ok().and_then(|read| decode(&record[..*read]));
            damaged |= found.is_none() && (read.is_err() || record.iter().any(|byte| *byte != 0));
            newest = newest.into_iter().chain(found).max_by_key(|(step, _)| *step);
        }
        let (step, position) = newest.unzip();
        Ok(Self { file, step: step.unwrap_or(0), position, damaged })
    }

    /// Whether the sink may have come further than [`Self::position`].
    pub(super) fn damaged(&self) -> bool {
        self.damaged
    }

    /// Where the sink stands; `None` if it never stood anywhere.
    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Moves to `position`, durably.
    pub(super) fn advance(&mut self, position: Position) -> io::Result<()> {
        let step = self.step + 1;
        self.file.write_at(&[&encode(step, position)], (step % 2) * BLOCK_BYTES as u64)?;
        self.file.sync()?;
        self.step = step;
        self.position = Some(position);
        Ok(())
    }
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
        let disk = RealDisk::open(root.path()).unwrap();
        let mut cursor = Cursor::open(&disk, "s3").unwrap();
        assert_eq!(cursor.position(), None);
        for segment in 1..=4 {
            cursor.advance(at(segment)).unwrap();
            assert_eq!(Cursor::open(&disk, "s3").unwrap().position(), Some(at(segment)));
        }
        assert!(!Cursor::open(&disk, "s3").unwrap().damaged());
        disk.open("cursor-s3").unwrap().write_at(&[b"torn"], 16).unwrap();
        let mut cursor = Cursor::open(&disk, "s3").unwrap();
        assert_eq!((cursor.position(), cursor.damaged()), (Some(at(3)), true));
        cursor.advance(at(9)).unwrap();
        assert_eq!(Cursor::open(&disk, "s3").unwrap().position(), Some(at(9)));
        assert_eq!(Cursor::open(&disk, "other").unwrap().position(), None);
    }
}
