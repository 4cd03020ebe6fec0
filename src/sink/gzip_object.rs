//! The compressed bytes of an object: exactly one gzip member, made part by part from the segment's lines.
//!
//! One member, because readers that stop behind the first have lost data (FACTS: trinodb/trino#18281), and without a
//! name or a time in its header, so that the same lines give the same bytes. One part is in memory at a time, beside
//! the compressor's window and the reader's.

use std::sync::Arc;

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

use crate::gzip::Encoder;
use crate::spool::{Content, Lines, ReadError, SealedSegment};

/// An object whose compressed bytes fit this is one part, in bytes: an object store takes it in one request.
pub const FIRST_PART_BYTES: usize = 16 * 1024 * 1024;
/// The size of every further part but the last, in bytes; S3 wants 5 MiB at least.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
/// What compressing an object takes beside its part, in bytes: the reader's window, what was read, the compressor's state.
pub const UPLOAD_OVERHEAD_BYTES: usize = 1024 * 1024;
/// By how much a part's buffer grows for zlib at the least, in bytes.
const GROWTH_BYTES: usize = 64 * 1024;
/// The base-two logarithm of zlib's window.
const WINDOW_BITS: u8 = 15;

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
    gzip: Gzip,
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

/// The compressor of a level.
#[derive(Debug)]
enum Gzip {
    /// Level 1: faster than any other encoder's fastest, and with smaller objects.
    Own(Box<Encoder>),
    /// The levels above: zlib's.
    Zlib(Compress, Hasher),
    /// The member has ended.
    Ended,
}

impl ObjectBody {
    /// The object that the lines of `content` in `segment` become at gzip's `level`, 1 to 9.
    pub fn new(segment: Arc<SealedSegment>, content: &Content, level: u32) -> Self {
        Self::of(Source::Segment(Lines::new(segment, content.clone())), (content.bytes, content.crc32), level)
    }

    /// The object that `text` becomes.
    pub fn of_text(text: Vec<u8>, level: u32) -> Self {
        let counted = (text.len() as u64, crc32fast::hash(&text));
        Self::of(Source::Text(Some(text), Vec::new()), counted, level)
    }

    fn of(lines: Source, counted: (u64, u32), level: u32) -> Self {
        Self(Some(Box::new(Maker { lines, counted, gzip: Gzip::new(level), left: Vec::new() })))
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
        while bytes.len() < most && !matches!(self.gzip, Gzip::Ended) {
            if let Some(piece) = self.lines.next_piece()? {
                self.gzip.write(piece, &mut bytes)?;
                continue;
            }
            let (found, sum) = self.gzip.finish(&mut bytes)?;
            let (counted, told) = self.counted;
            if found != counted || sum != told {
                return Err(BodyError::Footer { found, counted });
            }
        }
        if bytes.len() > most {
            self.left = bytes.split_off(most);
        }
        let last = self.left.is_empty() && matches!(self.gzip, Gzip::Ended);
        Ok(Part { bytes, last })
    }
}

impl Gzip {
    fn new(level: u32) -> Self {
        match level {
            1 => Self::Own(Box::default()),
            level => Self::Zlib(Compress::new_gzip(Compression::new(level), WINDOW_BITS), Hasher::new()),
        }
    }

    fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        match self {
            Self::Own(encoder) => encoder.write(input, out),
            Self::Zlib(compress, sum) => {
                sum.update(input);
                deflate(compress, input, FlushCompress::None, out)?;
            }
            Self::Ended => {}
        }
        Ok(())
    }

    /// Ends the member: the length and the CRC-32 of what was compressed.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(u64, u32), BodyError> {
        match std::mem::replace(self, Self::Ended) {
            Self::Own(encoder) => {
                let totals = (encoder.total_in(), encoder.crc32());
                encoder.finish(out);
                Ok(totals)
            }
            Self::Zlib(mut compress, sum) => {
                deflate(&mut compress, &[], FlushCompress::Finish, out)?;
                Ok((compress.total_in(), sum.finalize()))
            }
            Self::Ended => Err(BodyError::Compress),
        }
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
