//! One Zstandard frame.
//!
//! Its header tells how long the lines are, since that is known before: readers see it without reading on. It ends in
//! the checksum of the format, which is of XXH64 and not the CRC-32 that the books tell.
//!
//! Level by level the window is the library's own, but never above [`MAX_WINDOW_LOG`]: lines resemble those just before
//! them, so that more brings little, and the tables of a level grow with its window. A decoder needs the window, too.

use crc32fast::Hasher;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use super::BodyError;

/// The base-two logarithm of the largest window: 1 MiB.
pub(super) const MAX_WINDOW_LOG: u32 = 20;
/// The highest level whose own window is smaller than that.
const LAST_SMALL_LEVEL: u32 = 1;
/// By how much a part's buffer grows at the least, in bytes.
const GROWTH_BYTES: usize = 64 * 1024;

/// The compressor of a level.
pub(super) struct Zstd {
    encoder: Encoder<'static>,
    /// What the header says.
    pledged: u64,
    len: u64,
    sum: Hasher,
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zstd").field("pledged", &self.pledged).field("len", &self.len).finish_non_exhaustive()
    }
}

/// What the compressor of `level` is told beside it.
pub(super) fn parameters(level: u32) -> impl Iterator<Item = CParameter> {
    let window = (level > LAST_SMALL_LEVEL).then_some(CParameter::WindowLog(MAX_WINDOW_LOG));
    [CParameter::ChecksumFlag(true), CParameter::ContentSizeFlag(true)].into_iter().chain(window)
}

impl Zstd {
    /// A frame of `pledged` bytes.
    pub(super) fn new(level: u32, pledged: u64) -> Result<Self, BodyError> {
        let wrong = |_| BodyError::Compress;
        let mut encoder = Encoder::new(level as i32).map_err(wrong)?;
        for parameter in parameters(level) {
            encoder.set_parameter(parameter).map_err(wrong)?;
        }
        encoder.set_pledged_src_size(Some(pledged)).map_err(wrong)?;
        Ok(Self { encoder, pledged, len: 0, sum: Hasher::new() })
    }

    pub(super) fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        self.len += input.len() as u64;
        self.sum.update(input);
        if self.len > self.pledged {
            return Err(BodyError::Footer { found: self.len, counted: self.pledged });
        }
        let mut input = InBuffer::around(input);
        while input.pos() < input.src.len() {
            out.reserve(GROWTH_BYTES);
            let at = out.len();
            self.encoder.run(&mut input, &mut OutBuffer::around_pos(out, at)).map_err(|_| BodyError::Compress)?;
        }
        Ok(())
    }

    /// The length and the CRC-32 of what was taken.
    pub(super) fn totals(&self) -> (u64, u32) {
        (self.len, self.sum.clone().finalize())
    }

    /// Ends the frame.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        loop {
            out.reserve(GROWTH_BYTES);
            let at = out.len();
            let left = self.encoder.finish(&mut OutBuffer::around_pos(out, at), true);
            if left.map_err(|_| BodyError::Compress)? == 0 {
                return Ok(());
            }
        }
    }
}
