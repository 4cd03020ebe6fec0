//! The compressed bytes of an object: exactly one gzip member or one zstd frame, made part by part from the segment's
//! lines.
//!
//! One, because readers that stop behind the first have lost data (FACTS: trinodb/trino#18281), and nothing but it: no
//! skippable frame either, since not every reader skips it. Neither has a name or a time in its header, so that the same
//! lines give the same bytes within one version of the encoder; nothing relies on that, objects are compared by their
//! lines. One part is in memory at a time, beside the compressor's window and the reader's.

mod gzip;
mod zstd;

use std::sync::Arc;

use self::{gzip::Gzip, zstd::Zstd};
use super::codec::{Codec, Compression};
use crate::spool::{Content, Lines, ReadError, SealedSegment};

/// An object whose compressed bytes fit this is one part, in bytes: an object store takes it in one request.
pub const FIRST_PART_BYTES: usize = 16 * 1024 * 1024;
/// The size of every further part but the last, in bytes; S3 wants 5 MiB at least.
pub const PART_BYTES: usize = 8 * 1024 * 1024;

/// A part of an object.
#[derive(Debug)]
pub struct Part {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether the object ends with it.
    pub last: bool,
}

/// The lines of an object cannot be read as the segment's footer says.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There are other lines than the footer counts.
    #[error("the segment holds {found} bytes where its footer counts {counted}, or others")]
    Footer {
        /// Bytes found.
        found: u64,
        /// Bytes that the footer counts.
        counted: u64,
    },
    /// The compressor failed, or the thread that it ran on.
    #[error("compressing failed")]
    Compress,
}

/// The compressed bytes of an object, part by part.
#[derive(Debug)]
pub struct ObjectBody(Option<Box<Maker>>);

#[derive(Debug)]
struct Maker {
    lines: Source,
    /// The length and the CRC-32 of the lines, as counted when they were frozen.
    counted: (u64, u32),
    compression: Compression,
    /// `None` before the first part.
    compressor: Option<Compressor>,
    /// Compressed bytes that did not fit the last part.
    left: Vec<u8>,
}

/// Where lines come from.
#[derive(Debug)]
enum Source {
    /// A segment on disk, read piece by piece.
    Segment(Lines),
    /// Memory: the books' own lines, which are few. `None` once they were taken.
    Text(Option<Vec<u8>>, Vec<u8>),
}

impl Source {
    fn next_piece(&mut self) -> Result<Option<&[u8]>, ReadError> {
        match self {
            Self::Segment(lines) => lines.next_piece(),
            Self::Text(text, taken) => Ok(text.take().map(|text| {
                *taken = text;
                taken.as_slice()
            })),
        }
    }
}

/// The compressor.
#[derive(Debug)]
enum Compressor {
    Gzip(Gzip),
    Zstd(Box<Zstd>),
    /// Everything is compressed.
    Ended,
}

impl ObjectBody {
    /// The object that the lines of `content` in `segment` become.
    pub fn new(segment: Arc<SealedSegment>, content: &Content, compression: Compression) -> Self {
        Self::of(Source::Segment(Lines::new(segment, content.clone())), (content.bytes, content.crc32), compression)
    }

    /// The object that `text` becomes.
    pub fn of_text(text: Vec<u8>, compression: Compression) -> Self {
        let counted = (text.len() as u64, crc32fast::hash(&text));
        Self::of(Source::Text(Some(text), Vec::new()), counted, compression)
    }

    fn of(lines: Source, counted: (u64, u32), compression: Compression) -> Self {
        Self(Some(Box::new(Maker { lines, counted, compression, compressor: None, left: Vec::new() })))
    }

    /// The next part, of `most` bytes unless it is the last; `None` behind that. Reads and compresses on a thread that
    /// may block.
    ///
    /// # Errors
    /// [`BodyError`]; there are no more parts then.
    pub async fn next_part(&mut self, most: usize) -> Result<Option<Part>, BodyError> {
        let Some(mut maker) = self.0.take() else { return Ok(None) };
        let made = tokio::task::spawn_blocking(move || {
            let part = maker.part(most);
            (maker, part)
        });
        let (maker, part) = made.await.map_err(|_| BodyError::Compress)?;
        let part = part?;
        if !part.last {
            self.0 = Some(maker);
        }
        Ok(Some(part))
    }
}

impl Maker {
    fn part(&mut self, most: usize) -> Result<Part, BodyError> {
        let mut bytes = std::mem::take(&mut self.left);
        // Only now, where it may take its time: a compressor's tables are large.
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(self.compression, self.counted.0)?),
        };
        while bytes.len() < most && !matches!(compressor, Compressor::Ended) {
            match self.lines.next_piece()? {
                Some(piece) => compressor.write(piece, &mut bytes)?,
                None => compressor.finish(self.counted, &mut bytes)?,
            }
        }
        let ended = matches!(compressor, Compressor::Ended);
        if bytes.len() > most {
            self.left = bytes.split_off(most);
        }
        let last = self.left.is_empty() && ended;
        Ok(Part { bytes, last })
    }
}

impl Compressor {
    fn new(compression: Compression, bytes: u64) -> Result<Self, BodyError> {
        let level = compression.level();
        Ok(match compression.codec {
            Codec::Gzip => Self::Gzip(Gzip::new(level)),
            Codec::Zstd => Self::Zstd(Box::new(Zstd::new(level, bytes)?)),
        })
    }

    fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        match self {
            Self::Gzip(gzip) => gzip.write(input, out),
            Self::Zstd(zstd) => zstd.write(input, out),
            Self::Ended => Ok(()),
        }
    }

    /// Ends the object, if the length and the CRC-32 of what was taken are those that were counted.
    fn finish(&mut self, (counted, told): (u64, u32), out: &mut Vec<u8>) -> Result<(), BodyError> {
        let compressor = std::mem::replace(self, Self::Ended);
        let (found, sum) = match &compressor {
            Self::Gzip(gzip) => gzip.totals(),
            Self::Zstd(zstd) => zstd.totals(),
            Self::Ended => return Ok(()),
        };
        if found != counted || sum != told {
            return Err(BodyError::Footer { found, counted });
        }
        match compressor {
            Self::Gzip(gzip) => gzip.finish(out),
            Self::Zstd(zstd) => zstd.finish(out),
            Self::Ended => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
