//! A frame: the stored lines of one batch in one book, as they travel from the worker to the sinks.
//!
//! ```text
//!   0  4  CRC-32 of the header's other bytes
//!   4  4  CRC-32 of the payload
//!   8  4  payload length in bytes
//!  12  4  events (lines)
//!  16  8  received time              ┐
//!  24  8  earliest event time        │ milliseconds since the epoch
//!  32  8  latest event time          ┘
//!  40  4  received hour              hours since the epoch
//!  44  1  book                       0 accepted, 1 rejected
//!  45  1  length of the stream name
//!  46  2  magic "lf"
//!  48  …  stream name, zero-padded to a multiple of 8
//!      …  payload: NDJSON lines, each ending in a line feed
//! ```
//!
//! All numbers are little-endian. The worker reserves the header's place before it validates, writes the lines
//! behind it and fills the header in: framing copies nothing. The checksum is computed on the worker, where the
//! bytes are still in its cache; whoever reads the frame later verifies it.

use crc32fast::hash as crc32;

use super::{Hour, Millis, StreamName};

/// The header's bytes before the stream name.
const FIXED_BYTES: usize = 48;
const MAGIC: [u8; 2] = *b"lf";

/// Which of the two books of a stream a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Book {
    /// Events that follow their stream's schema.
    Accepted,
    /// Events that do not, with the reason; stored under `_rejected`.
    Rejected,
}

impl Book {
    /// The name in footers, metadata and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

/// What a frame says of its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameHeader {
    /// The stream of every line.
    pub stream: StreamName,
    /// The book of every line.
    pub book: Book,
    /// The partition of every line.
    pub hour: Hour,
    /// When the batch was received.
    pub received: Millis,
    /// The earliest event time among the lines.
    pub first_event: Millis,
    /// The latest event time among the lines.
    pub last_event: Millis,
    /// The number of lines.
    pub events: u32,
    /// The payload's length in bytes.
    pub payload_len: u32,
    /// CRC-32 of the payload.
    pub payload_crc: u32,
}

/// Bytes that are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the header says.
    #[error("the frame is cut off")]
    Cut,
    /// The header's checksum, magic or a field is wrong.
    #[error("the frame's header is damaged")]
    Header,
    /// The payload's checksum is wrong.
    #[error("the frame's payload is damaged")]
    Payload,
}

impl FrameHeader {
    /// The length of the longest header, in bytes.
    pub const MAX_BYTES: usize = Self::bytes_for(StreamName::MAX_BYTES);

    const fn bytes_for(name_len: usize) -> usize {
        FIXED_BYTES + name_len.next_multiple_of(8)
    }

    /// The header's own length, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no header is empty")]
    pub fn len(&self) -> usize {
        Self::bytes_for(self.stream.as_str().len())
    }

    /// The length of header and payload, in bytes.
    pub fn frame_len(&self) -> usize {
        self.len() + self.payload_len as usize
    }

    /// Reads a header from the start of `bytes`, which may be longer.
    ///
    /// # Errors
    /// [`FrameError::Cut`] if `bytes` is shorter than the header, [`FrameError::Header`] if it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk().ok_or(FrameError::Cut)?;
        let name_len = usize::from(fixed[45]);
        if fixed[46..48] != MAGIC || name_len > StreamName::MAX_BYTES {
            return Err(FrameError::Header);
        }
        let header = bytes.get(..Self::bytes_for(name_len)).ok_or(FrameError::Cut)?;
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let millis_at = |at: usize| {
            let number = i64::from(u32_at(at)) | (i64::from(u32_at(at + 4)) << 32);
            Millis::new(number).ok_or(FrameError::Header)
        };
        if crc32(&header[4..]) != u32_at(0) {
            return Err(FrameError::Header);
        }
        let name = std::str::from_utf8(&header[FIXED_BYTES..FIXED_BYTES + name_len]).map_err(|_| FrameError::Header)?;
        Ok(Self {
            stream: StreamName::new(name).map_err(|_| FrameError::Header)?,
            book: match header[44] {
                0 => Book::Accepted,
                1 => Book::Rejected,
                _ => return Err(FrameError::Header),
            },
            hour: Hour(u32_at(40)),
            received: millis_at(16)?,
            first_event: millis_at(24)?,
            last_event: millis_at(32)?,
            events: u32_at(12),
            payload_len: u32_at(8),
            payload_crc: u32_at(4),
        })
    }

    /// Writes the header over the start of `bytes`, which must be at least [`Self::len`] long.
    fn encode(&self, bytes: &mut [u8]) {
        let name = self.stream.as_str().as_bytes();
        let header = &mut bytes[..self.len()];
        header.fill(0);
        header[4..8].copy_from_slice(&self.payload_crc.to_le_bytes());
        header[8..12].copy_from_slice(&self.payload_len.to_le_bytes());
        header[12..16].copy_from_slice(&self.events.to_le_bytes());
        header[16..24].copy_from_slice(&self.received.get().to_le_bytes());
        header[24..32].copy_from_slice(&self.first_event.get().to_le_bytes());
        header[32..40].copy_from_slice(&self.last_event.get().to_le_bytes());
        header[40..44].copy_from_slice(&self.hour.0.to_le_bytes());
        header[44] = match self.book {
            Book::Accepted => 0,
            Book::Rejected => 1,
        };
        header[45] = name.len() as u8;
        header[46..48].copy_from_slice(&MAGIC);
        header[FIXED_BYTES..FIXED_BYTES + name.len()].copy_from_slice(name);
        let checksum = crc32(&header[4..]);
        header[..4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Checks `payload` against the length and checksum that this header tells.
    ///
    /// # Errors
    /// [`FrameError::Cut`] or [`FrameError::Payload`].
    pub fn verify(&self, payload: &[u8]) -> Result<(), FrameError> {
        if payload.len() != self.payload_len as usize {
            Err(FrameError::Cut)
        } else if crc32(payload) != self.payload_crc {
            Err(FrameError::Payload)
        } else {
            Ok(())
        }
    }
}

/// What a frame may occupy beyond its bytes: less is not worth moving it for.
const MOST_SPARE_BYTES: usize = 16 * 1_024;

/// A complete frame in memory.
#[derive(Debug)]
pub struct Frame {
    header: FrameHeader,
    bytes: Vec<u8>,
}

impl Frame {
    /// What the frame says of its payload.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Header and payload.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lines.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.header.len()..]
    }

    /// What the frame occupies in memory, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A frame whose lines are still being written.
#[derive(Debug)]
pub struct FrameBuilder {
    stream: StreamName,
    book: Book,
    /// The length of the header's place before the lines; 0 while nothing is kept free for it.
    kept_free: usize,
    bytes: Vec<u8>,
}

impl FrameBuilder {
    /// Begins a frame with room for `capacity` bytes of lines; nothing is allocated if that is 0, for a frame that most
    /// batches do not need.
    pub fn new(stream: StreamName, book: Book, capacity: usize) -> Self {
        if capacity == 0 {
            return Self { stream, book, kept_free: 0, bytes: Vec::new() };
        }
        let kept_free = FrameHeader::bytes_for(stream.as_str().len());
        let mut bytes = Vec::with_capacity(kept_free + capacity);
        bytes.resize(kept_free, 0);
        Self { stream, book, kept_free, bytes }
    }

    /// Where the lines are appended. What stands before them is the header's place and must stay.
    pub fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What the frame occupies in memory, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Completes the frame of `events` lines, received at `received`, whose event times lie between `first_event` and
    /// `last_event`. `None` if no line was written.
    pub fn finish(mut self, events: u32, received: Millis, first_event: Millis, last_event: Millis) -> Option<Frame> {
        if self.bytes.len() <= self.kept_free {
            return None;
        }
        if self.kept_free == 0 {
            self.kept_free = FrameHeader::bytes_for(self.stream.as_str().len());
            self.bytes.reserve_exact(self.kept_free);
            self.bytes.splice(..0, std::iter::repeat_n(0, self.kept_free));
        }
        let payload = self.bytes.get(self.kept_free..)?;
        let header = FrameHeader {
            book: self.book,
            hour: received.hour(),
            received,
            first_event,
            last_event,
            events,
            payload_len: u32::try_from(payload.len()).ok()?,
            payload_crc: crc32(payload),
            stream: self.stream,
        };
        header.encode(&mut self.bytes);
        // Until it is durable, the frame holds of the byte budget what it occupies.
        let spare = self.bytes.capacity() - self.bytes.len();
        if spare > MOST_SPARE_BYTES && spare > self.bytes.len() / 8 {
            self.bytes.shrink_to_fit();
        }
        Some(Frame { header, bytes: self.bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, lines: &[u8]) -> Frame {
        let mut builder = FrameBuilder::new(StreamName::new(name).unwrap(), Book::Rejected, 0);
        builder.lines().extend_from_slice(lines);
        let at = |millis| Millis::new(millis).unwrap();
        builder.finish(2, at(1_795_338_000_123), at(-5), at(7)).unwrap()
    }

    #[test]
    fn a_frame_is_read_back_as_it_was_written() {
        for name in ["a", "heard_it", &"x".repeat(63)] {
            let frame = frame(name, b"{}\n{}\n");
            let header = FrameHeader::decode(frame.bytes()).unwrap();
            assert_eq!(&header, frame.header());
            assert_eq!(header.frame_len(), frame.bytes().len());
            assert_eq!((header.events, header.hour), (2, Millis::new(1_795_338_000_123).unwrap().hour()));
            assert_eq!(&frame.bytes()[header.len()..], b"{}\n{}\n");
            assert_eq!(frame.payload(), b"{}\n{}\n");
            header.verify(frame.payload()).unwrap();
            assert!(header.len() <= FrameHeader::MAX_BYTES && header.len().is_multiple_of(8));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let frame = frame("heard", b"{}\n");
        for place in 0..frame.bytes().len() * 8 {
            let mut bytes = frame.bytes().to_vec();
            bytes[place / 8] ^= 1 << (place % 8);
            let found = FrameHeader::decode(&bytes).and_then(|header| header.verify(&bytes[header.len()..]));
            assert!(found.is_err(), "bit {place}");
        }
    }

    #[test]
    fn a_cut_frame_is_an_error_at_every_length() {
        let frame = frame("heard", b"{}\n");
        for len in 0..frame.bytes().len() {
            let bytes = &frame.bytes()[..len];
            let found = FrameHeader::decode(bytes).and_then(|header| header.verify(&bytes[header.len()..]));
            assert_eq!(found, Err(FrameError::Cut), "{len}");
        }
    }

    #[test]
    fn a_frame_is_the_same_with_and_without_a_place_kept_free_and_holds_little_more_than_it_is() {
        let at = Millis::new(0).unwrap();
        let frame = |capacity| {
            let mut builder = FrameBuilder::new(StreamName::new("heard").unwrap(), Book::Accepted, capacity);
            builder.lines().extend_from_slice(b"{}\n");
            builder.finish(1, at, at, at).unwrap()
        };
        assert_eq!(frame(0).bytes(), frame(100).bytes());
        assert_eq!(frame(0).bytes(), frame(1_000_000).bytes());
        assert!(frame(1_000_000).capacity() < MOST_SPARE_BYTES);
    }

    #[test]
    fn a_frame_without_lines_is_none() {
        let at = Millis::new(0).unwrap();
        let name = StreamName::new("heard").unwrap();
        assert!(FrameBuilder::new(name.clone(), Book::Accepted, 0).finish(0, at, at, at).is_none());
        assert!(FrameBuilder::new(name, Book::Accepted, 10).finish(0, at, at, at).is_none());
    }
}
