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
    ratio::Ratio,
    reader::SealedSegment,
    recovery::Recovery,
    segment::Name,
    spares::Spares,
    terms::Terms,
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
    /// The sinks that have a cursor.
    cursors: Vec<String>,
    unknown_since: Millis,
    /// How much smaller lines become as objects.
    ratio: Ratio,
    /// A segment was sealed, or none will be any more.
    changed: Notify,
}

/// What a shelf starts with.
pub(super) struct ShelfStart {
    pub(super) sealed: Vec<(SegmentId, u64)>,
    /// The number of the first new segment.
    pub(super) next: SegmentId,
    /// The sinks that have a cursor.
    pub(super) cursors: Vec<String>,
    /// Nothing that is in the spool was received before this.
    pub(super) unknown_since: Millis,
}

#[derive(Debug, Default)]
struct State {
    sealed: BTreeMap<SegmentId, Sealed>,
    /// Behind every segment that there was.
    next: SegmentId,
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
        start: ShelfStart,
    ) -> Self {
        let ShelfStart { sealed, next, cursors, unknown_since } = start;
        let sealed = sealed.into_iter().map(|(segment, bytes)| (segment, Sealed { bytes, since: None }));
        let sealed: BTreeMap<_, _> = sealed.collect();
        let newest = sealed.last_key_value().map(|(segment, _)| *segment);
        let state = Mutex::new(State { sealed, next, ..State::default() });
        let (repairing, changed) = (Mutex::default(), Notify::new());
        let shelf = Self {
            recovery,
            spares,
            published,
            news,
            state,
            repairing,
            newest,
            cursors,
            unknown_since,
            ratio: Ratio::default(),
            changed,
        };
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
        state.next = state.next.max(segment.next());
        state.sealed.insert(segment, Sealed { bytes, since });
        drop(state);
        self.changed.notify_waiters();
    }

    /// How many compressed bytes `lines` bytes of lines are believed to become.
    pub(super) fn compressed(&self, lines: u64) -> u64 {
        self.ratio.compressed(lines)
    }

    /// No segment will be added any more.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
    }

    // What the sinks ask and tell.

    /// The sink called `name` begins to take segments where its cursor stands, or at the oldest one.
    pub fn consumer(self: &Arc<Self>, name: &str, terms: Terms) -> Consumer {
        let cursor = Cursor::open(&self.recovery.disk, name);
        let next = self.begin_at(name, cursor.found().position);
        let mut state = self.state();
        state.sinks.push(SinkState { required: terms.is_required(), next });
        let place = state.sinks.len() - 1;
        Consumer { shelf: Arc::clone(self), place, cursor }
    }

    /// Where the sink called `name` begins whose cursor stands at `position`.
    ///
    /// A cursor that points nowhere begins at the oldest segment: what is there was not passed, and if it was, it is found
    /// stored. It points nowhere if it stands before segments that are still to come, whose numbers begin anew then; or
    /// far before every segment there is: what a sink has passed is removed, and a crash brings only a few of the last
    /// removed back.
    fn begin_at(&self, name: &str, position: Option<Position>) -> SegmentId {
        let Some(Position { segment, .. }) = position else { return SegmentId::default() };
        let far = self.newest.is_some_and(|newest| segment.0 > newest.0.saturating_add(MAX_BROUGHT_BACK));
        if segment <= self.state().next && !far {
            return segment;
        }
        self.recovery.metrics.counter(&metrics::QUARANTINED, &["cursor"]).increment(1);
        tracing::error!(sink = name, cursor = %segment, "a cursor points nowhere; beginning at the oldest segment");
        SegmentId::default()
    }

    /// The sinks that have a cursor and are none of `known`.
    pub fn other_sinks<'a>(&'a self, known: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.cursors.iter().map(String::as_str).filter(|sink| !known.contains(sink))
    }

    /// Keeps what the sink called `name` still needs, which nobody drives now.
    pub fn keep_for(&self, name: &str) {
        let next = self.begin_at(name, Cursor::open(&self.recovery.disk, name).found().position);
        self.state().sinks.push(SinkState { required: false, next });
    }

    /// Nothing that is in the spool was received before this, as far as is known.
    pub(super) fn unknown_since(&self) -> Millis {
        self.unknown_since
    }

    /// Publishes how far the required sinks are, and removes what all have passed. To be called when every sink of
    /// the configuration has its consumer: before, nothing is removed.
    ///
    /// # Errors
    /// The operating system's, if a segment cannot be removed.
    pub fn settle(&self) -> io::Result<()> {
        let gone = {
            let mut state = self.state();
            if let Some(stored) = state.sinks.iter().filter(|sink| sink.required).map(|sink| sink.next).min() {
                self.news.publish(stored);
            }
            let Some(passed) = state.sinks.iter().map(|sink| sink.next).min() else { return Ok(()) };
            let kept = state.sealed.split_off(&passed);
            std::mem::replace(&mut state.sealed, kept)
        };
        // Without the lock, which the writer takes before it settles a group: removing a large file takes its time.
        let mut kept = Vec::new();
        let mut result = Ok(());
        for (segment, sealed) in gone {
            if let Err(error) = self.spares.give(&Name::Sealed(segment).to_string(), sealed.bytes) {
                kept.push((segment, sealed));
                result = Err(error);
            }
        }
        let mut state = self.state();
        state.sealed.extend(kept);
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
        let oldest = {
            let state = self.state();
            let next = state.sinks.iter().filter(|sink| sink.required).map(|sink| sink.next).min()?;
            match state.sealed.range(next..).next() {
                None => return state.open_since,
                Some((_, Sealed { since: Some(since), .. })) => return Some(*since),
                Some((segment, _)) => *segment,
            }
        };
        // Without the lock, and once: reading takes its time.
        let footer = self.footer(oldest).ok().flatten();
        let since = footer.and_then(|(_, footer)| footer.first_received()).unwrap_or(self.unknown_since);
        if let Some(sealed) = self.state().sealed.get_mut(&oldest) {
            sealed.since = Some(since);
        }
        Some(since)
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

    /// `lines` bytes of lines have become an object of `compressed` bytes: the target size of objects is aimed at by it.
    pub fn stored(&self, lines: u64, compressed: u64) {
        self.shelf.ratio.learn(lines, compressed);
    }

    /// How many bytes of sealed segments the sink has not passed.
    pub fn lag_bytes(&self) -> u64 {
        let state = self.shelf.state();
        state.sealed.range(state.sinks[self.place].next..).map(|(_, sealed)| sealed.bytes).sum()
    }
}
