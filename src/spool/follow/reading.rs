//! A follower's reading, on a thread that may block.

use std::{io, sync::Arc};

use super::{Mark, Source, Stretch};
use crate::{
    batch::{Millis, SegmentId},
    spool::{
        cursor::Place,
        shelf::{Shelf, There},
        walk::ReadError,
    },
};

/// How far a follower has read, and what it reads.
#[derive(Debug)]
pub(super) struct Reading {
    shelf: Arc<Shelf>,
    sink: usize,
    /// Everything before was read.
    at: Place,
    source: Option<Source>,
    /// A segment that was repaired: if that did not help, it is not done again at once.
    repaired: Option<SegmentId>,
    /// The received time of the last line that was read.
    received: Millis,
}

/// What reading on came to.
#[derive(Debug)]
pub(super) enum Turn {
    Lines(Stretch),
    /// Nothing is there yet.
    Nothing,
    /// The open segment is damaged where reading stands: it can be repaired once it is sealed.
    Damaged(SegmentId),
    /// Nothing will be there.
    Ended,
}

impl Reading {
    pub(super) fn new(shelf: &Arc<Shelf>, sink: usize, at: Place) -> Self {
        Self { shelf: Arc::clone(shelf), sink, at, source: None, repaired: None, received: Millis::MIN }
    }

    /// Everything before was read.
    pub(super) fn at(&self) -> Place {
        self.at
    }

    /// Reads up to `most` bytes of lines, but at least one line, if there are any. The shelf is told of places that were
    /// passed without a line.
    pub(super) fn turn(&mut self, most: usize) -> io::Result<Turn> {
        let from = self.at;
        let mut lines_at = None;
        let turn = self.read(most.max(1), &mut lines_at);
        let to = lines_at.unwrap_or(self.at);
        if to > from {
            self.shelf.hop(self.sink, from, to);
        }
        turn
    }

    fn read(&mut self, most: usize, lines_at: &mut Option<Place>) -> io::Result<Turn> {
        loop {
            let (segment, opened) = match self.shelf.there(self.at) {
                There::Nothing => return Ok(Turn::Nothing),
                There::Ended => return Ok(Turn::Ended),
                There::Sealed(segment) => (segment, self.open_sealed(segment, false)?),
                There::Open(segment, end) => (segment, self.open_unsealed(segment, end)?),
            };
            let gathered = match (opened, &mut self.source) {
                (Opened::Source, Some(source)) => source.gather(most).map(|gathered| (gathered, source)),
                (Opened::Damaged(error), _) => Err(error),
                // Nothing is in it, or it was let go, and there is another one now.
                _ => continue,
            };
            match gathered {
                Ok((gathered, source)) if gathered.bytes > 0 => {
                    *lines_at = Some(self.at);
                    self.at.offset = source.offset();
                    self.repaired = None;
                    if source.is_sealed() && source.offset() >= source.end() {
                        self.go_to(segment.next());
                    }
                    self.received = self.received.max(gathered.received.unwrap_or(Millis::MIN));
                    let end = Mark { segment: self.at.segment, offset: self.at.offset, received: self.received };
                    return Ok(Turn::Lines(Stretch { pieces: gathered.pieces, end }));
                }
                Ok((_, source)) if source.is_sealed() => self.go_to(segment.next()),
                // Groups without a line.
                Ok((_, source)) => self.at.offset = self.at.offset.max(source.end()),
                Err(error) => {
                    self.source = None;
                    if !matches!(self.shelf.there(self.at), There::Sealed(sealed) if sealed == segment) {
                        tracing::warn!(%segment, %error, "an open segment is damaged; it is read on when it is sealed");
                        return Ok(Turn::Damaged(segment));
                    }
                    if self.repaired.take() == Some(segment) {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                    }
                    self.open_sealed(segment, true)?;
                    // Only now: a repair that the disk did not take is tried again with the next turn.
                    self.repaired = Some(segment);
                }
            }
        }
    }

    /// Goes forward to the beginning of `segment`, unless it stands there or further.
    fn go_to(&mut self, segment: SegmentId) {
        if self.at.segment < segment {
            self.at = Place::at(segment);
            // It may be let go now, and its file be a spare.
            self.source = None;
        }
    }

    /// Makes the sealed `segment` the source, after a repair if there is to be one; passes it if there is nothing in it.
    fn open_sealed(&mut self, segment: SegmentId, repair: bool) -> io::Result<Opened> {
        self.go_to(segment);
        let known = self.source.take_if(|source| source.segment() == segment);
        if let Some(source) = known.filter(|_| !repair) {
            if source.is_sealed() {
                self.source = Some(source);
                return Ok(Opened::Source);
            }
            // It was read while it was open: the place in it is known.
            let sealed = self.shelf.open(segment, &[], false)?;
            if let Some(sealed) = sealed.filter(|sealed| sealed.footer.gaps.is_empty()) {
                self.source = Some(source.now_sealed(sealed));
                return Ok(Opened::Source);
            }
        }
        let Some(sealed) = self.shelf.open(segment, &[], repair)? else {
            self.go_to(segment.next());
            return Ok(Opened::Nothing);
        };
        let end = sealed.footer.data_end;
        Ok(self.begin(Source::sealed(sealed, end)))
    }

    /// Makes `segment`, which is durable up to `end`, the source.
    fn open_unsealed(&mut self, segment: SegmentId, end: u64) -> io::Result<Opened> {
        self.go_to(segment);
        if let Some(source) = self.source.as_mut().filter(|source| source.segment() == segment) {
            source.extend(end);
            return Ok(Opened::Source);
        }
        let Some((file, being_read)) = self.shelf.open_unsealed(segment)? else { return Ok(Opened::Nothing) };
        Ok(self.begin(Source::open(segment, file, being_read, end)))
    }

    /// Reads from `source` on, from where it stands in it.
    fn begin(&mut self, mut source: Source) -> Opened {
        match source.seek(self.at.offset) {
            Ok(()) => {
                self.source = Some(source);
                Opened::Source
            }
            Err(error) => Opened::Damaged(error),
        }
    }
}

/// What opening a segment came to.
enum Opened {
    /// It is the source.
    Source,
    /// There is nothing in it, or it is not there any more.
    Nothing,
    /// The way to where reading stands is damaged.
    Damaged(ReadError),
}
