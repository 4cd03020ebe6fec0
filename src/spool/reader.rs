//! Reading a sealed segment's lines, as its footer tells them.

use std::sync::Arc;

use crc32fast::Hasher;

use super::{
    disk::DiskFile,
    footer::{Content, Footer},
    readers::BeingRead,
    walk::{Ground, ReadError, Walk, Window},
};

/// How much is read from the file at a time, in bytes.
const WINDOW_BYTES: usize = 256 * 1024;

/// A sealed segment whose footer was read and found valid.
#[derive(Debug)]
pub struct SealedSegment {
    pub(super) file: Box<dyn DiskFile>,
    /// What it holds and becomes.
    pub footer: Footer,
    /// As long as this is held, the file is not written over, also if every sink has passed the segment.
    pub(super) being_read: BeingRead,
}

impl SealedSegment {
    /// What there is to walk over.
    fn ground(&self) -> Ground<'_> {
        let Footer { segment, data_end, gaps, .. } = &self.footer;
        Ground { file: &*self.file, segment: *segment, end: *data_end, gaps }
    }
}

/// The lines of one content, in pieces of at most 256 KiB.
#[derive(Debug)]
pub struct Lines {
    segment: Arc<SealedSegment>,
    content: Content,
    window: Window,
    walk: Walk,
    /// The frame whose payload is being read: its checksum as told and so far.
    frame: Option<(u32, Hasher)>,
}

impl Lines {
    /// The lines that `content` of `segment` counts, in their order.
    pub fn new(segment: Arc<SealedSegment>, content: Content) -> Self {
        Self { segment, content, window: Window::new(WINDOW_BYTES), walk: Walk::new(), frame: None }
    }

    /// The next piece; `None` at the end. Pieces end anywhere within a line.
    ///
    /// A frame's checksum is known to be right only once its last piece was given.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged.
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>, ReadError> {
        loop {
            if let Some((told, sum)) = self.frame.take() {
                if self.walk.payload_left() == 0 {
                    if sum.finalize() != told {
                        return Err(ReadError::Damaged(self.walk.place()));
                    }
                    continue;
                }
                return self.payload(told, sum).map(Some);
            }
            match self.walk.next_frame(&self.segment.ground(), &mut self.window)? {
                Some(frame) if self.content.holds(&frame) => self.frame = Some((frame.payload_crc, Hasher::new())),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn payload(&mut self, told: u32, mut sum: Hasher) -> Result<&[u8], ReadError> {
        let at = self.walk.place();
        let piece = self.window.some(&self.segment.ground(), at, self.walk.payload_left())?;
        if piece.is_empty() {
            return Err(ReadError::Damaged(at));
        }
        sum.update(piece);
        self.walk.pass(piece.len());
        self.frame = Some((told, sum));
        Ok(piece)
    }
}
