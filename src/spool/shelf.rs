//! The sealed segments, and who still needs them.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::{
    DiskFile, SharedDisk,
    cursor::{Cursor, Position},
    footer::{Destination, Footer},
    quarantine::Quarantine,
    reader::SealedSegment,
    scan::scan,
    segment::Name,
    spares::Spares,
};
use crate::{
    batch::{InstanceId, Millis, SegmentId},
    queue::{Published, StoredNews},
};

/// The sealed segments of a spool: the writer adds them, the sinks pass them, the last one's passing removes them.
#[derive(Debug)]
pub struct Shelf {
    disk: SharedDisk,
    instance: InstanceId,
    quarantine: Quarantine,
    spares: Arc<Spares>,
    published: Arc<Published>,
    news: StoredNews,
    state: Mutex<State>,
    /// A segment was sealed, or none will be any more.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sealed: BTreeMap<SegmentId, Sealed>,
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
        disk: SharedDisk,
        instance: InstanceId,
        quarantine: Quarantine,
        spares: Arc<Spares>,
        (published, news): (Arc<Published>, StoredNews),
        sealed: impl IntoIterator<Item = (SegmentId, u64)>,
    ) -> Self {
        let sealed = sealed.into_iter().map(|(segment, bytes)| (segment, Sealed { bytes, since: None })).collect();
        let state = Mutex::new(State { sealed, ..State::default() });
        let shelf = Self { disk, instance, quarantine, spares, published, news, state, changed: Notify::new() };
        shelf.publish_usage(&shelf.state());
        shelf
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_usage(&self, state: &State) {
        let sealed: u64 = state.sealed.values().map(|sealed| sealed.bytes).sum();
        self.published.set_spool_bytes(sealed + state.open_bytes + self.spares.bytes());
    }

    // What the writer tells.

    /// The files of the segments that are not sealed have `bytes`, and their first event was received at `since`.
    pub(super) fn set_open(&self, bytes: u64, since: Option<Millis>) {
        let mut state = self.state();
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
    ///
    /// # Errors
    /// The operating system's, if its cursor can be neither read nor made.
    pub fn consumer(self: &Arc<Self>, name: &str, required: bool) -> io::Result<Consumer> {
        let cursor = Cursor::open(&*self.disk, name)?;
        let mut state = self.state();
        let next = cursor.position().map_or(SegmentId::default(), |position| position.segment);
        state.sinks.push(SinkState { required, next });
        let place = state.sinks.len() - 1;
        Ok(Consumer { shelf: Arc::clone(self), place, cursor })
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

    /// How many sealed segments are kept, and their length in bytes.
    pub fn sealed(&self) -> (usize, u64) {
        let state = self.state();
        (state.sealed.len(), state.sealed.values().map(|sealed| sealed.bytes).sum())
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
        let file = self.disk.open(&Name::Sealed(segment).to_string())?;
        Ok(Footer::read(&*file, segment)?.map(|footer| (file, footer)))
    }

    /// Makes a damaged segment readable again: what is valid in it gets a new footer, what is not is quarantined. `None`
    /// if nothing is valid.
    fn repair(&self, segment: SegmentId, destinations: &[Destination]) -> io::Result<Option<SealedSegment>> {
        // One at a time: two sinks may come upon the same place.
        let _state = self.state();
        let name = Name::Sealed(segment).to_string();
        let file = self.disk.open(&name)?;
        let former = Footer::read(&*file, segment)?;
        let end = former.as_ref().map_or(file.len()?, |footer| footer.data_end);
        let found = scan(&*file, segment)?;
        let known = |gap: &&(u64, u64)| former.as_ref().is_none_or(|footer| !footer.gaps.contains(gap));
        for (from, to) in found.facts.gaps.iter().filter(known) {
            self.quarantine.keep(&*file, segment, *from, *to)?;
        }
        if found.data_end < end {
            self.quarantine.keep(&*file, segment, found.data_end, end)?;
        }
        if found.facts.groups == 0 {
            return Ok(None);
        }
        let destinations = former.as_ref().map_or(destinations, |footer| &footer.destinations);
        let footer = found.facts.footer(self.instance, segment, found.data_end, destinations);
        footer.write(&*file)?;
        tracing::warn!(%segment, groups = footer.groups, "a damaged segment was repaired from its valid groups");
        Ok(Some(SealedSegment { file, footer }))
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
        match self.shelf.footer(segment)? {
            Some((file, footer)) => Ok(Some(SealedSegment { file, footer })),
            None => self.shelf.repair(segment, destinations),
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
        self.shelf.settle()
    }

    /// How many bytes of sealed segments the sink has not passed.
    pub fn lag_bytes(&self) -> u64 {
        let state = self.shelf.state();
        state.sealed.range(state.sinks[self.place].next..).map(|(_, sealed)| sealed.bytes).sum()
    }
}
