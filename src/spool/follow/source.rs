//! The segment that a follower reads, and how far it has come in it.

use crc32fast::{Hasher, hash as crc32};

use super::Piece;
use crate::{
    batch::{FrameHeader, Millis, SegmentId},
    spool::{
        disk::DiskFile,
        footer::Footer,
        reader::SealedSegment,
        readers::BeingRead,
        shelf::Skipped,
        walk::{Ground, ReadError, Walk, Window},
    },
};

/// How much is read from the file at a time when looking for frames, and at the ends of long lines, in bytes. Payload that
/// is in memory for that is copied from there; all else is read straight to where it belongs.
const WINDOW_BYTES: usize = 32 * 1024;

/// A segment that is being read.
#[derive(Debug)]
pub(in crate::spool) struct Source {
    segment: SegmentId,
    file: Box<dyn DiskFile>,
    _being_read: BeingRead,
    /// Where its groups end, or those that are durable by now.
    end: u64,
    gaps: Vec<(u64, u64)>,
    is_sealed: bool,
    window: Window,
    walk: Walk,
    frame: Option<Current>,
}

/// The frame that is being read.
#[derive(Debug)]
struct Current {
    header: FrameHeader,
    /// Where its payload begins.
    begin: u64,
    /// Whether its payload is known to be what its header says.
    verified: bool,
}

/// Lines that were read.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) pieces: Vec<Piece>,
    pub(super) bytes: usize,
    /// The received time of the last line.
    pub(super) received: Option<Millis>,
}

impl Gathered {
    /// The piece that the lines of `frame` belong to.
    fn piece(&mut self, frame: &FrameHeader) -> &mut Piece {
        let belongs = |piece: &Piece| piece.book == frame.book && piece.stream == frame.stream;
        let place = self.pieces.iter().position(belongs).unwrap_or_else(|| {
            let (stream, book) = (frame.stream.clone(), frame.book);
            self.pieces.push(Piece { stream, book, received: frame.received, text: Vec::new() });
            self.pieces.len() - 1
        });
        &mut self.pieces[place]
    }
}

impl Source {
    /// A sealed segment, up to `end`.
    pub(in crate::spool) fn sealed(segment: SealedSegment, end: u64) -> Self {
        let SealedSegment { file, footer: Footer { segment, gaps, .. }, being_read } = segment;
        Self { gaps, is_sealed: true, ..Self::open(segment, file, being_read, end) }
    }

    /// A segment that is not sealed, and durable up to `end`.
    pub(in crate::spool) fn open(segment: SegmentId, file: Box<dyn DiskFile>, reading: BeingRead, end: u64) -> Self {
        let (window, walk) = (Window::new(WINDOW_BYTES), Walk::new());
        Self { segment, file, _being_read: reading, end, gaps: Vec::new(), is_sealed: false, window, walk, frame: None }
    }

    pub(super) fn segment(&self) -> SegmentId {
        self.segment
    }

    pub(in crate::spool) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Where its groups end, or those that are durable by now.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// It is sealed by now, and nothing in it is damaged.
    pub(super) fn now_sealed(self, segment: SealedSegment) -> Self {
        let SealedSegment { file, footer, being_read } = segment;
        Self { file, _being_read: being_read, end: footer.data_end, is_sealed: true, ..self }
    }

    /// It is durable up to `end` by now.
    pub(super) fn extend(&mut self, end: u64) {
        self.end = end;
    }

    /// Where what was not read begins.
    pub(super) fn offset(&self) -> u64 {
        self.walk.place()
    }

    /// Goes forward to `offset`, a place between two lines.
    pub(in crate::spool) fn seek(&mut self, offset: u64) -> Result<(), ReadError> {
        let Self { segment, file, end, gaps, window, walk, .. } = self;
        let ground = Ground { file: &**file, segment: *segment, end: *end, gaps };
        let frame = walk.seek(&ground, window, offset)?;
        self.frame = frame.map(|(header, begin)| Current { header, begin, verified: false });
        Ok(())
    }

    /// Goes on to the next frame that has something left to read; `false` if there is none.
    fn next_frame(&mut self) -> Result<bool, ReadError> {
        let Self { segment, file, end, gaps, window, walk, frame, .. } = self;
        let ground = Ground { file: &**file, segment: *segment, end: *end, gaps };
        while walk.payload_left() == 0 || frame.is_none() {
            *frame = None;
            let Some(header) = walk.next_frame(&ground, window)? else { return Ok(false) };
            *frame = Some(Current { header, begin: walk.position(), verified: false });
        }
        Ok(true)
    }

    /// Reads lines until there are `most` bytes of them, or none are left; but at least one line.
    ///
    /// No line is given before the checksum of its frame was found right. A frame that is given in parts is read for that
    /// beforehand; once for all of its parts.
    pub(super) fn gather(&mut self, most: usize) -> Result<Gathered, ReadError> {
        let mut gathered = Gathered::default();
        let outcome = loop {
            match self.gather_frame(most, &mut gathered) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        gathered.pieces.retain(|piece| !piece.text.is_empty());
        match outcome {
            // What is damaged is met again where it stands.
            Err(error) if gathered.bytes == 0 => Err(error),
            _ => Ok(gathered),
        }
    }

    /// Reads of the next frame what there is room for; whether there may be more.
    fn gather_frame(&mut self, most: usize, gathered: &mut Gathered) -> Result<bool, ReadError> {
        let room = most.saturating_sub(gathered.bytes);
        if room == 0 && gathered.bytes > 0 || !self.next_frame()? {
            return Ok(false);
        }
        let left = self.walk.payload_left();
        let Some(current) = &self.frame else { return Ok(false) };
        let (verified, untouched) = (current.verified, current.begin == self.walk.position());
        if left > room && !verified && gathered.bytes >= most.div_ceil(2) {
            // It would be read twice, for little.
            return Ok(false);
        }
        let at_once = untouched && left <= room;
        if !verified && !at_once {
            self.verify()?;
        }
        let Self { segment, file, end, gaps, window, walk, frame, .. } = self;
        let Some(current) = frame else { return Ok(false) };
        let ground = Ground { file: &**file, segment: *segment, end: *end, gaps };
        let before = gathered.bytes;
        let piece = gathered.piece(&current.header);
        let had = piece.text.len();
        let taken = take_lines(&ground, window, walk, &mut piece.text, room).and_then(|()| {
            let new = &piece.text[had..];
            let sound = current.verified || crc32(new) == current.header.payload_crc;
            if sound { Ok(new.len()) } else { Err(ReadError::Damaged(current.begin)) }
        });
        if taken.is_err() {
            piece.text.truncate(had);
        }
        let mut taken = taken?;
        if taken > room && before > 0 {
            // A line that is longer than what is wanted comes alone.
            piece.text.truncate(had);
            taken = 0;
        }
        if taken > 0 {
            piece.received = piece.received.min(current.header.received);
            gathered.received = gathered.received.max(Some(current.header.received));
        }
        walk.pass(taken);
        gathered.bytes += taken;
        current.verified = true;
        Ok(taken > 0)
    }

    /// Reads the whole frame, to see whether it is what its header says.
    fn verify(&mut self) -> Result<(), ReadError> {
        let Self { segment, file, end, gaps, window, frame, .. } = self;
        let Some(current) = frame else { return Ok(()) };
        let ground = Ground { file: &**file, segment: *segment, end: *end, gaps };
        let (mut sum, mut at) = (Hasher::new(), current.begin);
        let mut left = current.header.payload_len as usize;
        while left > 0 {
            let some = window.some(&ground, at, left)?;
            if some.is_empty() {
                return Err(ReadError::Damaged(at));
            }
            sum.update(some);
            (at, left) = (at + some.len() as u64, left - some.len());
        }
        if sum.finalize() != current.header.payload_crc {
            return Err(ReadError::Damaged(current.begin));
        }
        current.verified = true;
        Ok(())
    }

    /// Counts the lines that are left, and passes them; also when the last of them was received.
    pub(in crate::spool) fn count(&mut self) -> Result<(Skipped, Option<Millis>), ReadError> {
        let (mut skipped, mut received) = (Skipped::default(), None);
        while self.next_frame()? {
            let Self { segment, file, end, gaps, window, walk, frame, .. } = self;
            let Some(current) = frame else { break };
            let ground = Ground { file: &**file, segment: *segment, end: *end, gaps };
            let left = walk.payload_left();
            skipped.bytes += left as u64;
            received = received.max(Some(current.header.received));
            if walk.position() == current.begin {
                skipped.events += u64::from(current.header.events);
                walk.pass(left);
                continue;
            }
            while walk.payload_left() > 0 {
                let some = window.some(&ground, walk.position(), walk.payload_left())?;
                if some.is_empty() {
                    return Err(ReadError::Damaged(walk.position()));
                }
                skipped.events += some.split(|byte| *byte == b'\n').count() as u64 - 1;
                walk.pass(some.len());
            }
        }
        Ok((skipped, received))
    }
}

/// Adds to `text` the lines of the payload at which `walk` stands that `room` bytes hold; the first of them in any case.
/// Does not pass them.
fn take_lines(
    ground: &Ground<'_>,
    window: &Window,
    walk: &Walk,
    text: &mut Vec<u8>,
    room: usize,
) -> Result<(), ReadError> {
    let end_of_line = |byte: &u8| *byte == b'\n';
    let (left, had) = (walk.payload_left(), text.len());
    let mut wanted = left.min(room);
    loop {
        let (read, need) = (text.len() - had, had + wanted);
        if text.capacity() < need {
            // By doubling, but for no more than what a stretch may hold.
            let capacity = (2 * text.capacity()).clamp(need, need.max(had + room));
            text.reserve_exact(capacity - text.len());
        }
        text.resize(had + wanted, 0);
        window.read(ground, walk.position() + read as u64, &mut text[had + read..])?;
        if wanted == left && wanted <= room {
            return Ok(());
        }
        let new = &text[had + read..];
        // Of the lines that fit, all; of a line that does not, its end.
        let end = if wanted > room { new.iter().position(end_of_line) } else { new.iter().rposition(end_of_line) };
        if let Some(end) = end {
            text.truncate(had + read + end + 1);
            return Ok(());
        }
        if wanted == left {
            return Ok(());
        }
        wanted = left.min(wanted + WINDOW_BYTES);
    }
}
