//! The compressed bytes of an object: exactly one gzip member, made part by part from the segment's lines.
//!
//! One member, because readers that stop behind the first have lost data (FACTS: trinodb/trino#18281), and without a
//! name or a time in its header, so that the same lines give the same bytes. One part is in memory at a time, beside
//! the compressor's window and the reader's.

use std::sync::Arc;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::spool::{Content, Lines, ReadError, SealedSegment};

/// An object whose compressed bytes fit this is one part, in bytes: an object store takes it in one request.
pub const FIRST_PART_BYTES: usize = 16 * 1024 * 1024;
/// The size of every further part but the last, in bytes; S3 wants 5 MiB at least.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
/// What compressing an object takes beside its part, in bytes: the reader's window, what was read, the compressor's state.
pub const UPLOAD_OVERHEAD_BYTES: usize = 1024 * 1024;
/// What a part's buffer begins with, in bytes; it doubles up to the part's size.
const BUFFER_BYTES: usize = 256 * 1024;
/// The base-two logarithm of the compressor's window.
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
    lines: Lines,
    content: Content,
    gzip: Compress,
    /// Of the uncompressed bytes so far.
    sum: crc32fast::Hasher,
    /// Lines that were read and are not compressed yet.
    pending: Vec<u8>,
    taken: usize,
    ended: bool,
    first: bool,
}

impl ObjectBody {
    /// The object that the lines of `content` in `segment` become at gzip's `level`, 1 to 9.
    pub fn new(segment: Arc<SealedSegment>, content: &Content, level: u32) -> Self {
        Self(Some(Box::new(Maker {
            lines: Lines::new(segment, content.clone()),
            content: content.clone(),
            gzip: Compress::new_gzip(Compression::new(level), WINDOW_BITS),
            sum: crc32fast::Hasher::new(),
            pending: Vec::new(),
            taken: 0,
            ended: false,
            first: true,
        })))
    }

    /// The next part; `None` behind the last. Reads and compresses on a thread that may block.
    ///
    /// # Errors
    /// [`BodyError`]; there are no more parts then.
    pub async fn next_part(&mut self) -> Result<Option<Part>, BodyError> {
        let Some(mut maker) = self.0.take() else { return Ok(None) };
        let made = tokio::task::spawn_blocking(move || {
            let part = maker.part();
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
    fn part(&mut self) -> Result<Part, BodyError> {
        let most = if std::mem::replace(&mut self.first, false) { FIRST_PART_BYTES } else { PART_BYTES };
        let mut bytes = Vec::with_capacity(BUFFER_BYTES);
        loop {
            if self.taken == self.pending.len() && !self.ended {
                self.read()?;
            }
            if bytes.len() == bytes.capacity() {
                if bytes.len() >= most {
                    return Ok(Part { bytes, last: false });
                }
                bytes.reserve_exact(bytes.capacity().min(most - bytes.capacity()));
            }
            let flush = if self.ended { FlushCompress::Finish } else { FlushCompress::None };
            let before = self.gzip.total_in();
            let status = self.gzip.compress_vec(&self.pending[self.taken..], &mut bytes, flush);
            self.taken += (self.gzip.total_in() - before) as usize;
            match status.map_err(|_| BodyError::Compress)? {
                Status::StreamEnd => return Ok(Part { bytes, last: true }),
                Status::Ok | Status::BufError => {}
            }
        }
    }

    fn read(&mut self) -> Result<(), BodyError> {
        self.taken = 0;
        self.pending.clear();
        match self.lines.next_piece()? {
            Some(piece) => {
                self.sum.update(piece);
                self.pending.extend_from_slice(piece);
            }
            None => {
                self.ended = true;
                let (found, counted) = (self.gzip.total_in(), self.content.bytes);
                if found != counted || self.sum.clone().finalize() != self.content.crc32 {
                    return Err(BodyError::Footer { found, counted });
                }
            }
        }
        Ok(())
    }
}
