//! Content encodings: gzip, deflate and zstd, inflated under a cap, with memory that is asked for step by step.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use crate::admission::{Exhausted, Reservation, STEP_BYTES};

/// However small the encoded body, so many decoded bytes are within the ratio.
pub(super) const RATIO_FREE_BYTES: usize = 64 * 1024;
/// The base-two logarithm of the largest zstd window: what zstd uses up to level 19, 8 MiB.
pub(super) const MAX_WINDOW_LOG: u32 = 23;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

impl Encoding {
    /// The encoding that a `Content-Encoding` header names.
    pub(super) fn parse(header: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| header.eq_ignore_ascii_case(name);
        if is(b"gzip") || is(b"x-gzip") {
            Some(Self::Gzip)
        } else if is(b"deflate") {
            Some(Self::Deflate)
        } else if is(b"zstd") {
            Some(Self::Zstd)
        } else if is(b"identity") || is(b"") {
            Some(Self::Identity)
        } else {
            None
        }
    }
}

/// A body that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not what its encoding says, or its checksum is wrong.
    #[error("the body is not what its Content-Encoding says, or is damaged")]
    Corrupt,
    /// It ends too early.
    #[error("the body ends before its encoding does")]
    Cut,
    /// Something follows it.
    #[error("something follows the encoded body")]
    Trailing,
    /// It decodes into more than it may.
    #[error("the body decodes into more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes: that of every body, or what the ratio allows this one.
        limit: usize,
    },
    /// There is no memory for it now.
    #[error("there is no memory for the body now")]
    NoRoom,
}

impl From<Exhausted> for DecodeError {
    fn from(_: Exhausted) -> Self {
        Self::NoRoom
    }
}

/// The decoders of one worker: their state is allocated once.
pub(super) struct Decoders {
    inflate: Decompress,
    zstd: Option<Decoder<'static>>,
}

/// What came of one step of a decoder.
enum Step {
    /// It needs more room.
    Continue,
    /// It stands at the end of a member or frame.
    End,
}

impl std::fmt::Debug for Decoders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoders").finish_non_exhaustive()
    }
}

impl Decoders {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false), zstd: None }
    }

    /// Decodes `body` into at most `most` bytes, and no more than `ratio` times its own length. The memory is taken
    /// from `reservation`.
    pub(super) fn decode(
        &mut self,
        encoding: Encoding,
        body: &[u8],
        (most, ratio): (usize, usize),
        reservation: &mut Reservation,
    ) -> Result<Vec<u8>, DecodeError> {
        let limit = most.min(body.len().saturating_mul(ratio).max(RATIO_FREE_BYTES));
        let mut output = Output { bytes: Vec::new(), limit, reservation };
        output.grow(body.len().saturating_mul(4).clamp(1_024, limit.max(1_024)))?;
        match encoding {
            Encoding::Identity => return Err(DecodeError::Corrupt),
            Encoding::Gzip => self.gzip(body, &mut output)?,
            Encoding::Deflate => self.deflate(body, &mut output)?,
            Encoding::Zstd => self.zstd(body, &mut output)?,
        }
        Ok(output.bytes)
    }

    /// One or more gzip members (RFC 1952).
    fn gzip(&mut self, mut body: &[u8], output: &mut Output<'_>) -> Result<(), DecodeError> {
        loop {
            let start = output.bytes.len();
            body = &body[gzip_header_len(body)?..];
            let used = self.inflate(false, body, output)?;
            let (trailer, rest) = body[used..].split_first_chunk::<8>().ok_or(DecodeError::Cut)?;
            let member = &output.bytes[start..];
            let told = [crc32fast::hash(member).to_le_bytes(), (member.len() as u32).to_le_bytes()].concat();
            if trailer[..] != told {
                return Err(DecodeError::Corrupt);
            }
            body = rest;
            if body.is_empty() {
                return Ok(());
            }
            if !body.starts_with(&[0x1F, 0x8B]) {
                return Err(DecodeError::Trailing);
            }
        }
    }

    /// The zlib format (RFC 1950), as RFC 9110 wants; or a bare deflate stream, as some clients send.
    fn deflate(&mut self, body: &[u8], output: &mut Output<'_>) -> Result<(), DecodeError> {
        let zlib = match body {
            [first, second, ..] => first & 0x0F == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31),
            _ => return Err(DecodeError::Cut),
        };
        let used = self.inflate(zlib, body, output)?;
        if used < body.len() { Err(DecodeError::Trailing) } else { Ok(()) }
    }

    /// Inflates one stream: how much of `body` it took.
    fn inflate(&mut self, zlib: bool, body: &[u8], output: &mut Output<'_>) -> Result<usize, DecodeError> {
        self.inflate.reset(zlib);
        let inflate = &mut self.inflate;
        output.fill(|bytes| {
            let taken = inflate.total_in() as usize;
            let before = bytes.len();
            match inflate.decompress_vec(&body[taken..], bytes, FlushDecompress::Finish) {
                Ok(Status::StreamEnd) => Ok(Step::End),
                Ok(_)
                    if inflate.total_in() as usize == body.len()
                        && bytes.len() == before
                        && bytes.capacity() > before =>
                {
                    Err(DecodeError::Cut)
                }
                Ok(_) => Ok(Step::Continue),
                Err(_) => Err(DecodeError::Corrupt),
            }
        })?;
        Ok(inflate.total_in() as usize)
    }

    /// One or more zstd frames (RFC 8878).
    fn zstd(&mut self, body: &[u8], output: &mut Output<'_>) -> Result<(), DecodeError> {
        let decoder = match &mut self.zstd {
            Some(decoder) => decoder,
            none => {
                let mut decoder = Decoder::new().map_err(|_| DecodeError::NoRoom)?;
                let window = zstd::zstd_safe::DParameter::WindowLogMax(MAX_WINDOW_LOG);
                decoder.set_parameter(window).map_err(|_| DecodeError::NoRoom)?;
                none.insert(decoder)
            }
        };
        decoder.reinit().map_err(|_| DecodeError::Corrupt)?;
        let mut input = InBuffer::around(body);
        if body.is_empty() {
            return Err(DecodeError::Cut);
        }
        loop {
            output.fill(|bytes| {
                let before = bytes.len();
                let capacity = bytes.capacity();
                bytes.resize(capacity, 0);
                let mut room = OutBuffer::around_pos(bytes.as_mut_slice(), before);
                let ran = decoder.run(&mut input, &mut room);
                let len = room.pos();
                bytes.truncate(len);
                match ran {
                    Ok(0) => Ok(Step::End),
                    Ok(_) if input.pos() == body.len() && len < capacity => Err(DecodeError::Cut),
                    Ok(_) => Ok(Step::Continue),
                    Err(_) => Err(DecodeError::Corrupt),
                }
            })?;
            if input.pos() == body.len() {
                return Ok(());
            }
        }
    }
}

/// A buffer that grows under a limit, with memory from a reservation.
struct Output<'a> {
    bytes: Vec<u8>,
    limit: usize,
    reservation: &'a mut Reservation,
}

impl Output<'_> {
    /// Lets `step` fill the buffer's capacity until it is at the end, growing it as often as it is full.
    fn fill(&mut self, mut step: impl FnMut(&mut Vec<u8>) -> Result<Step, DecodeError>) -> Result<(), DecodeError> {
        loop {
            if self.bytes.len() == self.bytes.capacity() {
                self.grow(STEP_BYTES.max(self.bytes.len() / 4))?;
            }
            match step(&mut self.bytes)? {
                Step::End if self.bytes.len() > self.limit => return Err(DecodeError::TooLarge { limit: self.limit }),
                Step::End => return Ok(()),
                Step::Continue => {}
            }
        }
    }

    fn grow(&mut self, by: usize) -> Result<(), DecodeError> {
        // One byte beyond the limit is enough to see that it is exceeded.
        let by = by.min((self.limit + 1).saturating_sub(self.bytes.capacity()));
        if by == 0 {
            return Err(DecodeError::TooLarge { limit: self.limit });
        }
        self.reservation.grow(by)?;
        self.bytes.reserve_exact(self.bytes.capacity() + by - self.bytes.len());
        Ok(())
    }
}

/// The length of the gzip header that `bytes` begin with (RFC 1952 §2.3).
fn gzip_header_len(bytes: &[u8]) -> Result<usize, DecodeError> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const HEADER_CRC: u8 = 2;
    const RESERVED: u8 = 0xE0;
    let fixed: &[u8; 10] = bytes.first_chunk().ok_or(DecodeError::Cut)?;
    let flags = fixed[3];
    if fixed[..3] != [0x1F, 0x8B, 8] || flags & RESERVED != 0 {
        return Err(DecodeError::Corrupt);
    }
    let mut at = fixed.len();
    if flags & EXTRA != 0 {
        let len: &[u8; 2] = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(DecodeError::Cut)?;
        at += 2 + usize::from(u16::from_le_bytes(*len));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let rest = bytes.get(at..).ok_or(DecodeError::Cut)?;
            at += 1 + rest.iter().position(|byte| *byte == 0).ok_or(DecodeError::Cut)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        at += 2;
    }
    if at > bytes.len() { Err(DecodeError::Cut) } else { Ok(at) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder, write};
    use proptest::prelude::*;

    use super::*;
    use crate::admission::ByteBudget;

    const MOST: usize = 1_000_000;

    fn decode_with(
        encoding: Encoding,
        body: &[u8],
        limits: (usize, usize),
        budget: usize,
    ) -> Result<Vec<u8>, DecodeError> {
        let budget = ByteBudget::new(budget);
        let mut reservation = budget.reserve(0).unwrap();
        let decoded = Decoders::new().decode(encoding, body, limits, &mut reservation);
        if let Ok(decoded) = &decoded {
            assert!(decoded.capacity() <= reservation.bytes());
        }
        decoded
    }

    fn decode(encoding: Encoding, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
        decode_with(encoding, body, (MOST, 1_000), usize::MAX)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn encoded(encoding: Encoding, text: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Gzip => gzip(text),
            Encoding::Deflate => {
                let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(text, 3).unwrap(),
            Encoding::Identity => text.to_vec(),
        }
    }

    const ALL: [Encoding; 3] = [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd];

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * n / 7 % 251) as u8).collect()
    }

    #[test]
    fn every_encoding_is_decoded_and_the_decoders_are_used_again() {
        let budget = ByteBudget::new(usize::MAX);
        let mut decoders = Decoders::new();
        for round in 0..3 {
            for encoding in ALL {
                for len in [0, 1, 1_000, 65_536, 300_000 + round] {
                    let mut reservation = budget.reserve(0).unwrap();
                    let body = encoded(encoding, &text(len));
                    let decoded = decoders.decode(encoding, &body, (MOST, 1_000), &mut reservation);
                    assert_eq!(decoded.as_deref(), Ok(&text(len)[..]), "{encoding:?} {len}");
                }
            }
        }
    }

    #[test]
    fn members_and_frames_follow_each_other_and_nothing_else_does() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let two = [encoded(encoding, b"one "), encoded(encoding, b"two")].concat();
            assert_eq!(decode(encoding, &two).as_deref(), Ok(&b"one two"[..]));
        }
        for encoding in ALL {
            let trailing = [encoded(encoding, b"one"), b"rest".to_vec()].concat();
            assert!(decode(encoding, &trailing).is_err(), "{encoding:?}");
        }
    }

    #[test]
    fn a_gzip_header_may_carry_anything_it_may() {
        let mut encoder = GzBuilder::new()
            .filename("a.json")
            .comment("a comment")
            .extra(vec![1, 2, 3])
            .mtime(5)
            .write(Vec::new(), Compression::fast());
        encoder.write_all(b"[]").unwrap();
        let body = encoder.finish().unwrap();
        assert_eq!(decode(Encoding::Gzip, &body).as_deref(), Ok(&b"[]"[..]));
    }

    #[test]
    fn a_bare_deflate_stream_is_taken_for_deflate() {
        let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&text(5_000)).unwrap();
        assert_eq!(decode(Encoding::Deflate, &encoder.finish().unwrap()).as_deref(), Ok(&text(5_000)[..]));
    }

    #[test]
    fn what_is_cut_or_damaged_is_an_error() {
        for encoding in ALL {
            let body = encoded(encoding, &text(3_000));
            for len in 0..body.len() {
                assert!(decode(encoding, &body[..len]).is_err(), "{encoding:?} {len}");
            }
            assert!(decode(encoding, b"[{\"a\":1}]").is_err(), "{encoding:?}");
        }
        let mut body = gzip(&text(3_000));
        let crc = body.len() - 8;
        body[crc] ^= 1;
        assert_eq!(decode(Encoding::Gzip, &body), Err(DecodeError::Corrupt));
    }

    #[test]
    fn a_body_that_inflates_without_end_is_stopped() {
        for encoding in ALL {
            let bomb = encoded(encoding, &vec![0; 10_000_000]);
            let limit = (MOST).min(bomb.len() * 1_000);
            assert_eq!(decode(encoding, &bomb), Err(DecodeError::TooLarge { limit }), "{encoding:?}");
            let by_ratio = (bomb.len() * 10).max(RATIO_FREE_BYTES);
            let limits = (MOST, 10);
            assert_eq!(
                decode_with(encoding, &bomb, limits, usize::MAX),
                Err(DecodeError::TooLarge { limit: by_ratio })
            );
            assert_eq!(
                decode_with(encoding, &bomb, (MOST, 100_000), 200_000),
                Err(DecodeError::NoRoom),
                "{encoding:?}"
            );
            let exact = encoded(encoding, &text(5_000));
            assert!(decode_with(encoding, &exact, (5_000, 1_000), usize::MAX).is_ok());
            assert_eq!(
                decode_with(encoding, &exact, (4_999, 1_000), usize::MAX),
                Err(DecodeError::TooLarge { limit: 4_999 })
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..300), kind in 0_usize..3, head in any::<bool>()) {
            let body = if head { [&gzip(b"x")[..10], &body].concat() } else { body };
            let _ = decode(ALL[kind], &body);
        }
    }
}
