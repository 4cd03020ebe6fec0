//! One gzip member, without a name or a time in its header.

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::BodyError;
use crate::gzip::Encoder;

/// By how much a part's buffer grows for zlib at the least, in bytes.
const GROWTH_BYTES: usize = 64 * 1024;
/// The base-two logarithm of zlib's window.
const WINDOW_BITS: u8 = 15;

/// The compressor of a level.
#[derive(Debug)]
pub(super) enum Gzip {
    /// Level 1: faster than any other encoder's fastest, and with smaller objects.
    Own(Box<Encoder>),
    /// The levels above: zlib's.
    Zlib(Box<Compress>, Hasher),
}

impl Gzip {
    pub(super) fn new(level: u32) -> Self {
        match level {
            1 => Self::Own(Box::default()),
            level => Self::Zlib(Box::new(Compress::new_gzip(Compression::new(level), WINDOW_BITS)), Hasher::new()),
        }
    }

    pub(super) fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        match self {
            Self::Own(encoder) => encoder.write(input, out),
            Self::Zlib(compress, sum) => {
                sum.update(input);
                deflate(compress, input, FlushCompress::None, out)?;
            }
        }
        Ok(())
    }

    /// The length and the CRC-32 of what was taken.
    pub(super) fn totals(&self) -> (u64, u32) {
        match self {
            Self::Own(encoder) => (encoder.total_in(), encoder.crc32()),
            Self::Zlib(compress, sum) => (compress.total_in(), sum.clone().finalize()),
        }
    }

    /// Ends the member.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        match self {
            Self::Own(encoder) => encoder.finish(out),
            Self::Zlib(mut compress, _) => deflate(&mut compress, &[], FlushCompress::Finish, out)?,
        }
        Ok(())
    }
}

/// Lets `compress` take all of `input`, and end if it is to.
fn deflate(
    compress: &mut Compress,
    mut input: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> Result<(), BodyError> {
    loop {
        out.reserve(GROWTH_BYTES);
        let before = compress.total_in();
        let status = compress.compress_vec(input, out, flush).map_err(|_| BodyError::Compress)?;
        input = &input[(compress.total_in() - before) as usize..];
        match (status, flush) {
            (Status::StreamEnd, _) => return Ok(()),
            (_, FlushCompress::None) if input.is_empty() => return Ok(()),
            _ => {}
        }
    }
}
