//! Walking over a segment: from group to group and from frame to frame, around what is known to be damaged.

use super::{BLOCK_BYTES, disk::DiskFile, group::GroupHeader, patient::read_again};
use crate::batch::{FrameHeader, SegmentId};

/// A segment that cannot be read as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The place at this offset is damaged, or cannot be read, however often it is tried.
    #[error("the segment is damaged at byte {0}")]
    Damaged(u64),
}

/// What is walked over: the groups of `segment` that end before `end`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'g> {
    pub(super) file: &'g dyn DiskFile,
    pub(super) segment: SegmentId,
    pub(super) end: u64,
    /// Places that cannot be read, as `[from, to)`, in their order.
    pub(super) gaps: &'g [(u64, u64)],
}

impl Ground<'_> {
    /// Where the gap ends that begins at `at`, if one does.
    fn gap_at(&self, at: u64) -> Option<u64> {
        self.gaps.binary_search_by_key(&at, |(from, _)| *from).ok().map(|place| self.gaps[place].1)
    }
}

/// A place on the way, and what the headers before it say of what follows.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    position: u64,
    group_end: u64,
    frames_left: u32,
    payload_left: usize,
}

impl Walk {
    /// At the first group.
    pub(super) fn new() -> Self {
        Self { position: BLOCK_BYTES as u64, group_end: BLOCK_BYTES as u64, frames_left: 0, payload_left: 0 }
    }

    /// Where what was not passed begins: within a payload, at a frame, or where a group ends.
    pub(super) fn place(&self) -> u64 {
        if self.payload_left == 0 && self.frames_left == 0 { self.group_end } else { self.position }
    }

    /// Where what is left of the payload begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes of the frame's payload are not passed.
    pub(super) fn payload_left(&self) -> usize {
        self.payload_left
    }

    /// Passes `bytes` of the payload.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.position += bytes as u64;
        self.payload_left -= bytes;
    }

    /// Passes what is left of the payload, and the next frame's header; `None` if there is no frame any more.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged. The walk has then come to that place, and tells it again.
    pub(super) fn next_frame(
        &mut self,
        ground: &Ground<'_>,
        window: &mut Window,
    ) -> Result<Option<FrameHeader>, ReadError> {
        self.pass(self.payload_left);
        loop {
            if self.frames_left == 0 {
                if !self.next_group(ground, window)? {
                    return Ok(None);
                }
                continue;
            }
            let at = self.position;
            if let Some(behind) = ground.gap_at(at) {
                self.position = behind;
                // A gap within a group is one frame, or everything up to the group's end.
                self.frames_left = if behind < self.group_end { self.frames_left - 1 } else { 0 };
                continue;
            }
            let bytes = window.at_least(ground, at, FrameHeader::MAX_BYTES)?;
            let header = FrameHeader::decode(bytes).map_err(|_| ReadError::Damaged(at))?;
            if at + header.frame_len() as u64 > self.group_end {
                return Err(ReadError::Damaged(at));
            }
            self.frames_left -= 1;
            self.position += header.len() as u64;
            self.payload_left = header.payload_len as usize;
            return Ok(Some(header));
        }
    }

    fn next_group(&mut self, ground: &Ground<'_>, window: &mut Window) -> Result<bool, ReadError> {
        while let Some(behind) = ground.gap_at(self.group_end) {
            (self.group_end, self.position) = (behind, behind);
        }
        let at = self.group_end;
        if at >= ground.end {
            return Ok(false);
        }
        let bytes = window.at_least(ground, at, GroupHeader::BYTES)?;
        let header = GroupHeader::decode(bytes).filter(|header| header.segment == ground.segment);
        let header = header.filter(|header| at + header.padded_len() <= ground.end).ok_or(ReadError::Damaged(at))?;
        self.frames_left = header.frames;
        self.position = at + GroupHeader::BYTES as u64;
        self.group_end = at + header.padded_len();
        Ok(true)
    }

    /// Goes forward to `offset`, a place between two lines: the header of the frame that it lies in and where the frame's
    /// payload begins; `None` if it lies in none.
    ///
    /// # Errors
    /// [`ReadError`] if something is damaged.
    pub(super) fn seek(
        &mut self,
        ground: &Ground<'_>,
        window: &mut Window,
        offset: u64,
    ) -> Result<Option<(FrameHeader, u64)>, ReadError> {
        while self.place() < offset {
            if self.frames_left == 0 {
                if !self.next_group(ground, window)? {
                    return Ok(None);
                }
                if self.group_end <= offset {
                    (self.position, self.frames_left) = (self.group_end, 0);
                }
                continue;
            }
            let Some(header) = self.next_frame(ground, window)? else { return Ok(None) };
            let begin = self.position;
            if begin + self.payload_left as u64 <= offset {
                self.pass(self.payload_left);
            } else {
                self.pass(offset.saturating_sub(begin) as usize);
                return Ok(Some((header, begin)));
            }
        }
        Ok(None)
    }
}

/// A part of a file in memory.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Vec<u8>,
    /// How many bytes are read at a time.
    size: usize,
    /// How many of them were read.
    filled: usize,
    start: u64,
}

impl Window {
    pub(super) fn new(size: usize) -> Self {
        Self { bytes: Vec::new(), size, filled: 0, start: 0 }
    }

    /// `len` bytes at `at`, or as many as can be read; `len` is small.
    pub(super) fn at_least(&mut self, ground: &Ground<'_>, at: u64, len: usize) -> Result<&[u8], ReadError> {
        if self.from(at).len() < len {
            self.fill(ground, at, len)?;
        }
        let found = self.from(at);
        Ok(&found[..found.len().min(len)])
    }

    /// Some of the `most` bytes at `at`.
    pub(super) fn some(&mut self, ground: &Ground<'_>, at: u64, most: usize) -> Result<&[u8], ReadError> {
        if self.from(at).is_empty() {
            self.fill(ground, at, 1)?;
        }
        let found = self.from(at);
        Ok(&found[..found.len().min(most)])
    }

    /// Fills `buffer` with what stands at `at`: what is in memory is taken from there, the rest is read straight into it.
    pub(super) fn read(&self, ground: &Ground<'_>, at: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let known = self.from(at);
        let known = &known[..known.len().min(buffer.len())];
        let (first, rest) = buffer.split_at_mut(known.len());
        first.copy_from_slice(known);
        let from = at + known.len() as u64;
        match read_again(ground.file, rest, from) {
            Ok(read) if read == rest.len() => Ok(()),
            Ok(_) => Err(ReadError::Damaged(from)),
            Err(error) => {
                tracing::warn!(offset = from, %error, "a place of a segment cannot be read");
                Err(ReadError::Damaged(from))
            }
        }
    }

    fn from(&self, at: u64) -> &[u8] {
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.bytes[..self.filled].get(skip..)).unwrap_or_default()
    }

    /// Reads from `at` on: at least `len` bytes, if they can be read. Never beyond the ground: what stands there may be
    /// another thing later.
    fn fill(&mut self, ground: &Ground<'_>, at: u64, len: usize) -> Result<(), ReadError> {
        if self.bytes.is_empty() {
            self.bytes = vec![0; self.size];
        }
        (self.filled, self.start) = (0, at);
        let most = usize::try_from(ground.end.saturating_sub(at)).unwrap_or(usize::MAX).min(self.size);
        if let Ok(read) = ground.file.read_at(&mut self.bytes[..most], at) {
            self.filled = read;
            return Ok(());
        }
        // Some block of the window cannot be read; it need not be one that is wanted.
        while self.filled < len.min(most) {
            let here = at + self.filled as u64;
            let block = (BLOCK_BYTES - (here % BLOCK_BYTES as u64) as usize).min(most - self.filled);
            match read_again(ground.file, &mut self.bytes[self.filled..self.filled + block], here) {
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
