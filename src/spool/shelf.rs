//! The sealed segments, and who still needs them.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::{
    DiskFile,
    cursor::{Cursor, Position},
    footer::{Destination, Footer},
    reader::SealedSegment,
    recovery::Recovery,
    segment::Name,
    spares::Spares,
};
use crate::{
    batch::{Millis, SegmentId},
    metrics,
    queue::{Published, StoredNews},
};

/// How far a cursor may stand before the newest segment there is, in segments.
const MAX_BROUGHT_BACK: u64 = 64;

/// The sealed segments of a spool: the writer adds them, the sinks pass them, the last one's passing removes them.
#[derive(Debug)]
pub struct Shelf {
    recovery: Arc<Recovery>,
    spares: Arc<Spares>,
    published: Arc<Published>,
    news: StoredNews,
    state: Mutex<State>,
    repairing: Mutex<()>,
    /// The newest segment that there was at the start.
    newest: Option<SegmentId>,
    /// A segment was sealed, or none will be any more.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sealed: BTreeMap<SegmentId, Sealed>,
    /// Segments that hold something and are not sealed.
    unsealed: usize,
    open_bytes: u64,
    /// The received time of the first event that is not in a sealed segment.
    open_since: Option<Millis>,
    sinks: Vec<SinkState>,
    closed: bool,
}

#[derive(Debug)]
struct Sealed {
    bytes: u64,
    /// The received time of its first event, once known.
    since: Option<Millis>,
}

#[derive(Debug)]
struct SinkState {
    required: bool,
    next: SegmentId,
}

impl Shelf {
    pub(super) fn new(
        recovery: Arc<Recovery>,
        spares: Arc<Spares>,
        (published, news): (Arc<Published>, StoredNews),
        sealed: impl IntoIterator<Item = (SegmentId, u64)>,
    ) -> Self {
        let sealed = sealed.into_iter().map(|(segment, bytes)| (segment, Sealed { bytes, since: None }));
        let sealed: BTreeMap<_, _> = sealed.collect();
        let newest = sealed.last_key_value().map(|(segment, _)| *segment);
        let state = Mutex::new(State { sealed, ..State::default() });
        let (repairing, changed) = (Mutex::default(), Notify::new());
        let shelf = Self { recovery, spares, published, news, state, repairing, newest, changed };
        shelf.publish_usage(&shelf.state());
        shelf
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_usage(&self, state: &State) {
        let sealed: u64 = state.sealed.values().map(|sealed| sealed.bytes).sum();
        let aside = self.recovery.quarantine.bytes();
        self.published.set_spool_bytes(sealed + state.open_bytes + self.spares.bytes() + aside);
    }

    // What the writer tells.

    /// The files of the `unsealed` segments that hold something have `bytes`, and their first event was received at
    /// `since`.
    pub(super) fn set_open(&self, unsealed: usize, bytes: u64, since: Option<Millis>) {
        let mut state = self.state();
        state.unsealed = unsealed;
        state.open_bytes = bytes;
        state.open_since = since;
        self.publish_usage(&state);
    }

    /// A segment was sealed: `bytes` long, with events since `since`.
    pub(super) fn add(&self, segment: SegmentId, bytes: u64, since: Option<Millis>) {
        let mut state = self.state();
        state.sealed.insert(segment, Sealed { bytes, since });
        drop(state);
        self.changed.notify_waiters();
    }

    /// No segment will be added any more.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
    }

    // What the sinks ask and tell.

    /// The sink called `name` begins to take segments where its cursor stands, or at the oldest one.
    pub fn consumer(self: &Arc<Self>, name: &str, required: bool) -> Consumer {
        let cursor = Cursor::open(&self.recovery.disk, name);
        let next = self.begin_at(name, cursor.found().position);
        let mut state = self.state();
        state.sinks.push(SinkState { required, next });
        let place = state.sinks.len() - 1;
        Consumer { shelf: Arc::clone(self), place, cursor }
    }

    /// Where the sink called `name` begins whose cursor stands at `position`.
    fn begin_at(&self, name: &str, position: Option<Position>) -> SegmentId {
        let Some(position) = position else { return SegmentId::default() };
        match self.newest {
            // What a sink has passed is removed, and a crash can bring a few of the last removed back. None is left of those
            // that went long before, so what is there was not passed; if it was, it is found stored.
            Some(newest) if position.segment.0 > newest.0.saturating_add(MAX_BROUGHT_BACK) => {
                self.recovery.metrics.counter(&metrics::QUARANTINED, &["cursor"]).increment(1);
                let (cursor, newest) = (position.segment, newest);
                tracing::error!(sink = name, %cursor, %newest, "a cursor points nowhere; beginning at the oldest segment");
                SegmentId::default()
            }
            _ => position.segment,
        }
    }

    /// Publishes how far the required sinks are, and removes what all have passed. To be called when every sink of
    /// the configuration has its consumer: before, nothing is removed.
    ///
    /// # Errors
    /// The operating system's, if a segment cannot be removed.
    pub fn settle(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Some(stored) = state.sinks.iter().filter(|sink| sink.required).map(|sink| sink.next).min() {
            self.news.publish(stored);
        }
        let Some(passed) = state.sinks.iter().map(|sink| sink.next).min() else { return Ok(()) };
        let kept = state.sealed.split_off(&passed);
        let gone = std::mem::replace(&mut state.sealed, kept);
        let mut result = Ok(());
        for (segment, Sealed { bytes, since }) in gone {
            if let Err(error) = self.spares.give(&Name::Sealed(segment).to_string(), bytes) {
                state.sealed.insert(segment, Sealed { bytes, since });
                result = Err(error);
            }
        }
        self.publish_usage(&state);
        result
    }

    /// Lets go what every sink has passed. What cannot be removed is tried again the next time.
    pub fn tidy(&self) {
        if let Err(error) = self.settle() {
            tracing::warn!(%error, "a segment that every sink has could not be removed; trying again later");
        }
    }

    /// Whether something is kept that every sink has passed.
    pub(super) fn is_untidy(&self) -> bool {
        let state = self.state();
        let passed = state.sinks.iter().map(|sink| sink.next).min();
        passed.is_some_and(|passed| state.sealed.first_key_value().is_some_and(|(oldest, _)| *oldest < passed))
    }

    /// How many sealed segments are kept, and their length in bytes.
    pub fn sealed(&self) -> (usize, u64) {
        let state = self.state();
        (state.sealed.len(), state.sealed.values().map(|sealed| sealed.bytes).sum())
    }

    /// How many segments hold something that not every sink has, the open one included, and their length in bytes.
    pub fn kept(&self) -> (usize, u64) {
        let (sealed, bytes) = self.sealed();
        let state = self.state();
        (sealed + state.unsealed, bytes + if state.unsealed > 0 { state.open_bytes } else { 0 })
    }

    /// The received time of the oldest event that some required sink has not stored; `None` if they have all.
    pub fn oldest_unstored(&self) -> Option<Millis> {
        let mut state = self.state();
        let next = state.sinks.iter().filter(|sink| sink.required).map(|sink| sink.next).min()?;
        let open_since = state.open_since;
        let Some((segment, sealed)) = state.sealed.range_mut(next..).next() else { return open_since };
        if sealed.since.is_none() {
            sealed.since = self.footer(*segment).ok().flatten().and_then(|(_, footer)| footer.first_received());
        }
        sealed.since.or(open_since)
    }

    fn footer(&self, segment: SegmentId) -> io::Result<Option<(Box<dyn DiskFile>, Footer)>> {
        let file = self.recovery.disk.open(&Name::Sealed(segment).to_string())?;
        Ok(Footer::read(&*file, segment)?.map(|footer| (file, footer)))
    }

    /// Makes a damaged segment readable again: what is sound in it gets a new footer, what is not is quarantined. `None`
    /// if nothing is sound.
    fn repair(&self, segment: SegmentId, destinations: &[Destination]) -> io::Result<Option<SealedSegment>> {
        // One at a time: two sinks may come upon the same place. The writer does not wait for it.
        let _one = self.repairing.lock().unwrap_or_else(PoisonError::into_inner);
        self.recovery.repair(segment, destinations)
    }
}

/// A sink's view of the shelf.
#[derive(Debug)]
pub struct Consumer {
    shelf: Arc<Shelf>,
    place: usize,
    cursor: Cursor,
}

impl Consumer {
    /// The next segment to take; waits until there is one. `None` once there never will be one.
    pub async fn next(&self) -> Option<SegmentId> {
        loop {
            let changed = self.shelf.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before looking, so that nothing is missed in between.
            changed.as_mut().enable();
            {
                let state = self.shelf.state();
                let next = state.sinks[self.place].next;
                if let Some((segment, _)) = state.sealed.range(next..).next() {
                    return Some(*segment);
                }
                if state.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Opens a segment that [`Self::next`] gave; one without a valid footer is repaired first. `None` if nothing in it
    /// is valid: it was quarantined, and is to be passed. Blocks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(&self, segment: SegmentId, destinations: &[Destination]) -> io::Result<Option<SealedSegment>> {
        match self.shelf.footer(segment) {
            Ok(Some((file, footer))) => Ok(Some(SealedSegment { file, footer })),
            // No sound footer: what can be read is found out by reading all of it.
            Ok(None) => self.shelf.repair(segment, destinations),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.shelf.repair(segment, destinations),
            Err(error) => Err(error),
        }
    }

    /// Opens a segment that was found damaged when it was read, after a repair. `None` if nothing in it is valid. Blocks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn repair(&self, segment: SegmentId, destinations: &[Destination]) -> io::Result<Option<SealedSegment>> {
        self.shelf.repair(segment, destinations)
    }

    /// The sink has all of `segment`, whose last event was received at `received`: moves the cursor, and lets go what
    /// nobody needs. Blocks.
    ///
    /// # Errors
    /// The operating system's. The cursor is then where it was, or one further.
    pub fn pass(&mut self, segment: SegmentId, received: Millis) -> io::Result<()> {
        let next = segment.next();
        self.cursor.advance(Position { segment: next, offset: 0, received })?;
        self.shelf.state().sinks[self.place].next = next;
        // The sink has the segment whether or not its file can be let go.
        self.shelf.tidy();
        Ok(())
    }

    /// How many bytes of sealed segments the sink has not passed.
    pub fn lag_bytes(&self) -> u64 {
        let state = self.shelf.state();
        state.sealed.range(state.sinks[self.place].next..).map(|(_, sealed)| sealed.bytes).sum()
    }
}
