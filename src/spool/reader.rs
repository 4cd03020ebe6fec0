//! Reading a sealed segment's lines, as its footer tells them.

use std::sync::Arc;

use crc32fast::Hasher;

use super::{
    BLOCK_BYTES,
    disk::DiskFile,
    footer::{Content, Footer},
    group::GroupHeader,
    patient::read_again,
};
use crate::batch::FrameHeader;

/// How much is read from the file at a time, in bytes.
const WINDOW_BYTES: usize = 256 * 1024;

/// A sealed segment whose footer was read and found valid.
#[derive(Debug)]
pub struct SealedSegment {
    pub(super) file: Box<dyn DiskFile>,
    /// What it holds and becomes.
    pub footer: Footer,
}

/// A sealed segment that cannot be read as its footer says.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The place at this offset is damaged, or cannot be read, however often it is tried.
    #[error("the segment is damaged at byte {0}")]
    Damaged(u64),
}

/// The lines of one content, in pieces of at most 256 KiB.
#[derive(Debug)]
pub struct Lines {
    segment: Arc<SealedSegment>,
    content: Content,
    window: Window,
    position: u64,
    group_end: u64,
    frames_left: u32,
    /// The frame whose payload is being read: its checksum as told and so far, and how much is left.
    frame: Option<(u32, Hasher, usize)>,
}

impl Lines {
    /// The lines that `content` of `segment` counts, in their order.
    pub fn new(segment: Arc<SealedSegment>, content: Content) -> Self {
        Self {
            segment,
            content,
            window: Window::default(),
            position: BLOCK_BYTES as u64,
            group_end: BLOCK_BYTES as u64,
            frames_left: 0,
            frame: None,
        }
    }

    /// The next piece; `None` at the end. Pieces end anywhere within a line.
    ///
    /// A frame's checksum is known to be right only once its last piece was given.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged.
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>, ReadError> {
        loop {
            if let Some((told, sum, left)) = self.frame.take() {
                if left == 0 {
                    if sum.finalize() != told {
                        return Err(ReadError::Damaged(self.position));
                    }
                    continue;
                }
                return self.payload(told, sum, left).map(Some);
            }
            if self.frames_left > 0 {
                self.next_frame()?;
            } else if !self.next_group()? {
                return Ok(None);
            }
        }
    }

    fn payload(&mut self, told: u32, mut sum: Hasher, left: usize) -> Result<&[u8], ReadError> {
        let at = self.position;
        let piece = self.window.some(&*self.segment.file, at, left)?;
        if piece.is_empty() {
            return Err(ReadError::Damaged(at));
        }
        sum.update(piece);
        self.position += piece.len() as u64;
        self.frame = Some((told, sum, left - piece.len()));
        Ok(piece)
    }

    fn next_frame(&mut self) -> Result<(), ReadError> {
        let at = self.position;
        if let Some(behind) = self.gap_at(at) {
            self.position = behind;
            // A gap within a group is one frame, or everything up to the group's end.
            self.frames_left = if behind < self.group_end { self.frames_left - 1 } else { 0 };
            return Ok(());
        }
        let bytes = self.window.at_least(&*self.segment.file, at, FrameHeader::MAX_BYTES)?;
        let header = FrameHeader::decode(bytes).map_err(|_| ReadError::Damaged(at))?;
        self.frames_left -= 1;
        self.position += header.len() as u64;
        if self.content.holds(&header) {
            self.frame = Some((header.payload_crc, Hasher::new(), header.payload_len as usize));
        } else {
            self.position += u64::from(header.payload_len);
        }
        Ok(())
    }

    fn next_group(&mut self) -> Result<bool, ReadError> {
        let mut at = self.group_end;
        while let Some(behind) = self.gap_at(at) {
            at = behind;
        }
        let footer = &self.segment.footer;
        if at >= footer.data_end {
            return Ok(false);
        }
        let bytes = self.window.at_least(&*self.segment.file, at, GroupHeader::BYTES)?;
        let header = GroupHeader::decode(bytes).filter(|header| header.segment == footer.segment);
        let header = header.ok_or(ReadError::Damaged(at))?;
        self.frames_left = header.frames;
        self.position = at + GroupHeader::BYTES as u64;
        self.group_end = at + header.padded_len();
        Ok(true)
    }

    /// Where the gap ends that begins at `at`, if one does.
    fn gap_at(&self, at: u64) -> Option<u64> {
        let gaps = &self.segment.footer.gaps;
        gaps.binary_search_by_key(&at, |(from, _)| *from).ok().map(|place| gaps[place].1)
    }
}

/// A part of a file in memory.
#[derive(Debug, Default)]
struct Window {
    bytes: Vec<u8>,
    /// How many of them were read.
    filled: usize,
    start: u64,
}

impl Window {
    /// `len` bytes at `at`, or as many as can be read; `len` is small.
    fn at_least(&mut self, file: &dyn DiskFile, at: u64, len: usize) -> Result<&[u8], ReadError> {
        if self.from(at).len() < len {
            self.fill(file, at, len)?;
        }
        let found = self.from(at);
        Ok(&found[..found.len().min(len)])
    }

    /// Some of the `most` bytes at `at`.
    fn some(&mut self, file: &dyn DiskFile, at: u64, most: usize) -> Result<&[u8], ReadError> {
        if self.from(at).is_empty() {
            self.fill(file, at, 1)?;
        }
        let found = self.from(at);
        Ok(&found[..found.len().min(most)])
    }

    fn from(&self, at: u64) -> &[u8] {
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.bytes[..self.filled].get(skip..)).unwrap_or_default()
    }

    /// Reads from `at` on: at least `len` bytes, if they can be read.
    fn fill(&mut self, file: &dyn DiskFile, at: u64, len: usize) -> Result<(), ReadError> {
        if self.bytes.is_empty() {
            self.bytes = vec![0; WINDOW_BYTES];
        }
        (self.filled, self.start) = (0, at);
        if let Ok(read) = file.read_at(&mut self.bytes, at) {
            self.filled = read;
            return Ok(());
        }
        // Some block of the window cannot be read; it need not be one that is wanted.
        while self.filled < len {
            let here = at + self.filled as u64;
            let block = BLOCK_BYTES - (here % BLOCK_BYTES as u64) as usize;
            match read_again(file, &mut self.bytes[self.filled..self.filled + block], here) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) => {
                    tracing::warn!(offset = here, %error, "a place of a segment cannot be read");
                    return if self.filled == 0 { Err(ReadError::Damaged(at)) } else { Ok(()) };
                }
            }
        }
        Ok(())
    }
}
