//! A sink's view of the shelf, segment by segment.

use std::{io, sync::Arc};

use tokio::sync::Notify;

use super::{Place, Shelf};
use crate::{
    batch::{Millis, SegmentId},
    spool::{Destination, Position, SealedSegment},
};

/// A sink's view of the shelf.
#[derive(Debug)]
pub struct Consumer {
    pub(in crate::spool) shelf: Arc<Shelf>,
    /// Which of the shelf's sinks it is.
    pub(in crate::spool) sink: usize,
    pub(in crate::spool) news: Arc<Notify>,
}

impl Consumer {
    pub(super) fn new(shelf: &Arc<Shelf>, sink: usize, news: Arc<Notify>) -> Self {
        Self { shelf: Arc::clone(shelf), sink, news }
    }

    /// The next segment to take; waits until there is one. `None` once there never will be one.
    pub async fn next(&self) -> Option<SegmentId> {
        loop {
            let news = self.news.notified();
            let mut news = std::pin::pin!(news);
            // Registered before looking, so that nothing is missed in between.
            news.as_mut().enable();
            {
                let state = self.shelf.state();
                let next = state.sinks[self.sink].at.segment;
                if let Some((segment, _)) = state.sealed.range(next..).next() {
                    return Some(*segment);
                }
                if state.closed {
                    return None;
                }
            }
            news.await;
        }
    }

    /// Whether there is a segment to take, of which nothing may be left.
    pub fn has_next(&self) -> bool {
        let state = self.shelf.state();
        state.sealed.range(state.sinks[self.sink].at.segment..).next().is_some()
    }

    /// Opens a segment that [`Self::next`] gave; one without a valid footer is repaired first. `None` if nothing in it
    /// is valid, and it was quarantined, or if the shelf has gone on without the sink: it is to be passed. Blocks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(&self, segment: SegmentId, destinations: &[Destination]) -> io::Result<Option<SealedSegment>> {
        self.shelf.open(segment, destinations, false)
    }

    /// Opens a segment that was found damaged when it was read, after a repair. `None` as [`Self::open`]. Blocks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn repair(&self, segment: SegmentId, destinations: &[Destination]) -> io::Result<Option<SealedSegment>> {
        self.shelf.open(segment, destinations, true)
    }

    /// The sink has all of `segment`, whose last event was received at `received`: moves the cursor, and lets go what
    /// nobody needs. Never moves it backwards. Blocks.
    ///
    /// # Errors
    /// The operating system's. The cursor is then where it was, or one further.
    pub fn pass(&mut self, segment: SegmentId, received: Millis) -> io::Result<()> {
        self.shelf.move_cursor(self.sink, Position { segment: segment.next(), offset: 0, received })?;
        // The sink has the segment whether or not its file can be let go.
        self.shelf.tidy();
        Ok(())
    }

    /// Resolves when the shelf has gone on beyond `segment` without the sink, which lagged too far.
    pub fn skipped(&self, segment: SegmentId) -> impl Future<Output = ()> + use<> {
        let (spool, sink, news) = (Arc::clone(&self.shelf), self.sink, Arc::clone(&self.news));
        async move {
            loop {
                let news = news.notified();
                let mut news = std::pin::pin!(news);
                news.as_mut().enable();
                if spool.state().sinks[sink].skipped_to >= Place::at(segment.next()) {
                    return;
                }
                news.await;
            }
        }
    }

    /// `lines` bytes of lines have become an object of `compressed` bytes: the target size of objects is aimed at by it.
    pub fn stored(&self, lines: u64, compressed: u64) {
        self.shelf.ratio.learn(lines, compressed);
    }

    /// How many bytes the sink lacks: of sealed segments, and if it follows, of what is durable of the open one.
    pub fn lag_bytes(&self) -> u64 {
        let state = self.shelf.state();
        state.lag_bytes(&state.sinks[self.sink])
    }
}
