//! A group's header: what one sync made durable.
//!
//! ```text
//!   0  8  magic "LWGROUP\0"
//!   8  1  version
//!   9  1  codec                       0 plain
//!  16  8  segment
//!  24  8  sequence                    from 0 in each segment
//!  32  4  length of the frames in bytes
//!  36  4  number of frames
//!  40  4  checksum that binds the frames, see [`FrameSum`]
//!  44  8  life of the file
//!  60  4  CRC-32 of the bytes before
//! ```

use crc32fast::{Hasher, hash as crc32};

use super::{BLOCK_BYTES, segment::Life};
use crate::batch::SegmentId;

const MAGIC: [u8; 8] = *b"LWGROUP\0";
const VERSION: u8 = 1;

/// How the frames of a group are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// As they are.
    Plain,
}

/// What stands before the frames of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) codec: Codec,
    /// The segment that the group belongs to: a recycled file holds groups of its former life.
    pub(super) segment: SegmentId,
    /// The file's life in which it was written.
    pub(super) life: Life,
    /// The group's number in its segment, from 0.
    pub(super) sequence: u64,
    /// How many frames follow.
    pub(super) frames: u32,
    /// Their length in bytes.
    pub(super) payload_len: u32,
    /// [`FrameSum`] over them.
    pub(super) frames_sum: u32,
}

impl GroupHeader {
    pub(super) const BYTES: usize = 64;

    /// The length of header, frames and padding, in bytes.
    pub(super) fn padded_len(&self) -> u64 {
        padded_len(self.payload_len as usize)
    }

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = VERSION;
        bytes[9] = match self.codec {
            Codec::Plain => 0,
        };
        bytes[16..24].copy_from_slice(&self.segment.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.frames.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.frames_sum.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.life.0.to_le_bytes());
        let sum = crc32(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// What `bytes` begin with.
    pub(super) fn read(bytes: &[u8]) -> HeaderRead {
        let Some(bytes) = bytes.first_chunk::<{ Self::BYTES }>() else { return HeaderRead::None };
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        // Magic and checksum have their places in every version.
        if bytes[..8] != MAGIC || crc32(&bytes[..60]) != u32_at(60) {
            return HeaderRead::None;
        }
        let codec = match (bytes[8], bytes[9]) {
            (VERSION, 0) => Codec::Plain,
            _ => return HeaderRead::OtherVersion,
        };
        HeaderRead::Header(Self {
            codec,
            segment: SegmentId(u64_at(16)),
            sequence: u64_at(24),
            payload_len: u32_at(32),
            frames: u32_at(36),
            frames_sum: u32_at(40),
            life: Life(u64_at(44)),
        })
    }

    /// Whether `bytes` look like a header that was begun, or has gone bad.
    pub(super) fn is_begun(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Which segment a header belongs to, of whatever version.
    pub(super) fn segment_of(bytes: &[u8; Self::BYTES]) -> SegmentId {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[16..24]);
        SegmentId(u64::from_le_bytes(number))
    }

    /// The header that `bytes` begin with, if this version can read it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match Self::read(bytes) {
            HeaderRead::Header(header) => Some(header),
            HeaderRead::OtherVersion | HeaderRead::None => None,
        }
    }
}

/// What stands where a group may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderRead {
    /// A header.
    Header(GroupHeader),
    /// A whole header, of a version or with a codec that this version does not know.
    OtherVersion,
    /// No header.
    None,
}

/// The length on disk of a group with `payload` bytes of frames.
pub(super) fn padded_len(payload: usize) -> u64 {
    (GroupHeader::BYTES + payload).next_multiple_of(BLOCK_BYTES) as u64
}

/// The checksum that binds a group's frames to their group and their order: CRC-32 over the first eight bytes of each,
/// which are the checksums of its header and its payload.
///
/// Without it, a crash could join a new group's header with whole, valid frames of the recycled file's former life.
#[derive(Default)]
pub(super) struct FrameSum(Hasher);

impl FrameSum {
    pub(super) fn add(&mut self, frame: &[u8]) {
        self.0.update(&frame[..frame.len().min(8)]);
    }

    pub(super) fn finish(self) -> u32 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: GroupHeader = GroupHeader {
        codec: Codec::Plain,
        segment: SegmentId(42),
        sequence: 7,
        frames: 3,
        payload_len: 4_033,
        frames_sum: 0xDEAD_BEEF,
        life: Life(0x0123_4567_89AB_CDEF),
    };

    #[test]
    fn a_header_is_read_back_as_it_was_written() {
        assert_eq!(GroupHeader::decode(&HEADER.encode()), Some(HEADER));
        assert_eq!((HEADER.padded_len(), padded_len(4_032), padded_len(0)), (8_192, 4_096, 4_096));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = HEADER.encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(GroupHeader::decode(&damaged), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(GroupHeader::decode(&bytes[..len]), None, "{len}");
        }
    }

    #[test]
    fn a_header_of_another_version_is_recognised_as_one() {
        for (place, value) in [(8, VERSION + 1), (9, 1)] {
            let mut bytes = HEADER.encode();
            bytes[place] = value;
            assert_eq!(GroupHeader::read(&bytes), HeaderRead::None, "its checksum is wrong");
            let sum = crc32(&bytes[..60]);
            bytes[60..].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(GroupHeader::read(&bytes), HeaderRead::OtherVersion);
        }
    }
}
