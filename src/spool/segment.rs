//! A segment's file: its name, its first block, and its life from open to recycled.

use std::io;

use crc32fast::hash as crc32;

use super::{BLOCK_BYTES, disk::DiskFile, patient::read_again};
use crate::batch::{InstanceId, SegmentId};

const MAGIC: [u8; 8] = *b"LWSEGMT\0";
const VERSION: u8 = 1;
/// How much of the first block says something, in bytes.
const HEAD_BYTES: usize = 64;

/// What a file of the spool's directory is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// The segment that is being written.
    Open(SegmentId),
    /// A segment with a footer, closed for good.
    Sealed(SegmentId),
    /// A file without content, kept to be a segment again.
    Spare(u64),
}

impl Name {
    /// What is called exactly so.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::parse_loosely(name).filter(|parsed| parsed.to_string() == name)
    }

    fn parse_loosely(name: &str) -> Option<Self> {
        if let Some(number) = name.strip_prefix("spare-") {
            return number.parse().ok().map(Self::Spare);
        }
        let (number, state) = name.split_once('.')?;
        let segment = SegmentId(number.parse().ok()?);
        match state {
            "open" => Some(Self::Open(segment)),
            "sealed" => Some(Self::Sealed(segment)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(segment) => write!(f, "{segment}.open"),
            Self::Sealed(segment) => write!(f, "{segment}.sealed"),
            Self::Spare(number) => write!(f, "spare-{number}"),
        }
    }
}

/// One use of a file as a segment. Files are recycled, and should a number ever come twice, because a cursor was
/// damaged, the groups and the footer of the one are not taken for the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

impl Life {
    /// One that never was before.
    pub(super) fn begin() -> io::Result<Self> {
        getrandom::u64().map(Self).map_err(io::Error::other)
    }
}

/// What the first block of a file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstBlock {
    /// The segment that was asked for, and who writes it.
    This(Life, InstanceId),
    /// The segment that was asked for, in a format that this version does not read.
    OtherVersion(u8),
    /// Nothing, another segment, or damage.
    None,
}

/// The first block of a segment's file. It goes to the disk with the first group.
pub(super) fn first_block(instance: InstanceId, segment: SegmentId, life: Life) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..8].copy_from_slice(&MAGIC);
    block[8] = VERSION;
    block[16..24].copy_from_slice(&segment.0.to_le_bytes());
    block[24..40].copy_from_slice(&instance.to_bytes());
    block[40..48].copy_from_slice(&life.0.to_le_bytes());
    let sum = crc32(&block[..60]);
    block[60..64].copy_from_slice(&sum.to_le_bytes());
    block
}

impl FirstBlock {
    /// What `block`, the first bytes of the file of `segment`, tells. Magic, version, number and checksum have their places
    /// in every version.
    pub(super) fn read(block: &[u8], segment: SegmentId) -> Self {
        let Some(head) = block.first_chunk::<HEAD_BYTES>() else { return Self::None };
        let sound = head[..8] == MAGIC && head[60..] == crc32(&head[..60]).to_le_bytes();
        if !sound || head[16..24] != segment.0.to_le_bytes() {
            return Self::None;
        }
        if head[8] != VERSION {
            return Self::OtherVersion(head[8]);
        }
        let (mut instance, mut life) = ([0; 16], [0; 8]);
        instance.copy_from_slice(&head[24..40]);
        life.copy_from_slice(&head[40..48]);
        Self::This(Life(u64::from_le_bytes(life)), InstanceId::from_bytes(instance))
    }

    /// Reads the first block of `file`.
    pub(super) fn of(file: &dyn DiskFile, segment: SegmentId) -> io::Result<Self> {
        let mut head = [0; HEAD_BYTES];
        let read = read_again(file, &mut head, 0)?;
        Ok(Self::read(&head[..read], segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for name in [Name::Open(SegmentId(7)), Name::Sealed(SegmentId(u64::MAX)), Name::Spare(3)] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        assert_eq!(Name::Open(SegmentId(7)).to_string(), "0000000007.open");
        for other in [
            "lock",
            "instance",
            "cursor-s3",
            "7.gone",
            "x.open",
            "spare-x",
            "",
            "7.open",
            "+0000000007.open",
            "spare-07",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_first_block_names_its_segment_and_its_life() {
        let instance = InstanceId::from_bytes([7; 16]);
        let block = first_block(instance, SegmentId(9), Life(5));
        assert_eq!(FirstBlock::read(&block, SegmentId(9)), FirstBlock::This(Life(5), instance));
        assert_eq!(FirstBlock::read(&block, SegmentId(8)), FirstBlock::None);
        for place in [0, 8, 16, 30, 40, 60] {
            let mut damaged = block;
            damaged[place] ^= 1;
            assert_eq!(FirstBlock::read(&damaged, SegmentId(9)), FirstBlock::None, "{place}");
        }
        let mut newer = block;
        newer[8] = 2;
        let sum = crc32(&newer[..60]);
        newer[60..64].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(FirstBlock::read(&newer, SegmentId(9)), FirstBlock::OtherVersion(2));
        assert_eq!(FirstBlock::read(&[], SegmentId(9)), FirstBlock::None);
        assert_ne!(Life::begin().unwrap(), Life::begin().unwrap());
    }
}
