//! A segment's file: its name, its first block, and its life from open to recycled.

use crc32fast::hash as crc32;

use super::BLOCK_BYTES;
use crate::batch::{InstanceId, SegmentId};

const MAGIC: [u8; 8] = *b"LWSEGMT\0";
const VERSION: u8 = 1;

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
    pub(super) fn parse(name: &str) -> Option<Self> {
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

/// The first block of a segment's file. It goes to the disk with the first group.
pub(super) fn first_block(instance: InstanceId, segment: SegmentId) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..8].copy_from_slice(&MAGIC);
    block[8] = VERSION;
    block[16..24].copy_from_slice(&segment.0.to_le_bytes());
    block[24..40].copy_from_slice(&instance.to_bytes());
    let sum = crc32(&block[..60]);
    block[60..64].copy_from_slice(&sum.to_le_bytes());
    block
}

/// Whether `block` begins a file of `segment` in the format that this version reads.
pub(super) fn is_first_block(block: &[u8], segment: SegmentId) -> bool {
    block.len() >= 64
        && block[..8] == MAGIC
        && block[8] == VERSION
        && block[16..24] == segment.0.to_le_bytes()
        && block[60..64] == crc32(&block[..60]).to_le_bytes()
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
        for other in ["lock", "instance", "cursor-s3", "7.gone", "x.open", "spare-x", ""] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_first_block_names_its_segment() {
        let block = first_block(InstanceId::from_bytes([7; 16]), SegmentId(9));
        assert!(is_first_block(&block, SegmentId(9)) && !is_first_block(&block, SegmentId(8)));
        let mut damaged = block;
        damaged[30] ^= 1;
        assert!(!is_first_block(&damaged, SegmentId(9)) && !is_first_block(&[], SegmentId(9)));
    }
}
