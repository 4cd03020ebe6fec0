//! The sealed segments and what is durable of the open one, and who still needs them.

mod ages;
mod consumer;
mod following;
mod joining;
mod keep_up;
mod opening;
mod retire;
mod sinks;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) use self::keep_up::Skipped;
use self::{
    ages::Ages,
    sinks::{Lacks, SinkState},
};
pub use self::{consumer::Consumer, retire::Held};
use super::{
    cursor::{Place, Position},
    follow::Lag,
    ratio::Ratio,
    readers::Readers,
    recovery::Recovery,
    segment::Name,
    spares::Spares,
};
use crate::{
    batch::{Millis, SegmentId},
    queue::{Published, StoredNews},
};

/// The segments of a spool: the writer adds them, the sinks pass them, the last one's passing removes them.
///
/// What every sink has done, and what its cursor says, stands here, so that the shelf can go on without one that hangs.
/// Whoever moves a cursor holds it for as long as that takes, and asks the shelf then whether it stands further by now.
#[derive(Debug)]
pub struct Shelf {
    recovery: Arc<Recovery>,
    spares: Arc<Spares>,
    published: Arc<Published>,
    news: StoredNews,
    state: Mutex<State>,
    repairing: Mutex<()>,
    readers: Arc<Readers>,
    /// The newest segment that there was at the start.
    newest: Option<SegmentId>,
    /// The sinks that have a cursor.
    cursors: Vec<String>,
    /// Those whose cursor was retired.
    retired: Vec<String>,
    unknown_since: Millis,
    /// How much smaller lines become as objects.
    ratio: Ratio,
}

/// What a shelf starts with.
pub(super) struct ShelfStart {
    pub(super) sealed: Vec<(SegmentId, u64)>,
    /// The number of the first new segment.
    pub(super) next: SegmentId,
    /// The sinks that have a cursor.
    pub(super) cursors: Vec<String>,
    /// Those whose cursor was retired.
    pub(super) retired: Vec<String>,
    /// Nothing that is in the spool was received before this.
    pub(super) unknown_since: Millis,
}

/// What of the segment that is the oldest on its way to the shelf can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readable {
    pub(super) segment: SegmentId,
    /// Where its last durable group ends.
    pub(super) end: u64,
    /// Where that group begins, and when the oldest of it was received.
    pub(super) last: (u64, Millis),
}

#[derive(Debug, Default)]
struct State {
    sealed: BTreeMap<SegmentId, Sealed>,
    /// Their length in bytes.
    sealed_bytes: u64,
    /// Behind every segment that there was.
    next: SegmentId,
    /// Segments that hold something and are not sealed.
    unsealed: usize,
    open_bytes: u64,
    /// The received time of the first event that is not in a sealed segment.
    open_since: Option<Millis>,
    /// The last answer to what the oldest is that a required sink lacks.
    oldest_told: Option<Millis>,
    open: Option<Open>,
    sinks: Vec<SinkState>,
    /// Whether every sink of the configuration is among them: before, nobody can tell what is needed no more.
    all_joined: bool,
    closed: bool,
}

#[derive(Debug)]
struct Sealed {
    bytes: u64,
    /// The received time of its first event, once known.
    since: Option<Millis>,
    /// Where its last group ends, if this process has written it.
    data_end: Option<u64>,
    ages: Ages,
    /// Whether its file is in the quarantine, or gone: the sinks are to pass it.
    is_set_aside: bool,
}

/// The segment that followers read beyond the sealed ones.
#[derive(Debug)]
struct Open {
    segment: SegmentId,
    /// Where its last durable group ends.
    end: u64,
    ages: Ages,
}

/// What there is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// A sealed segment, this one or a later one.
    Sealed(SegmentId),
    /// A segment that is not sealed, durable up to here.
    Open(SegmentId, u64),
    /// Nothing yet.
    Nothing,
    /// Nothing, for ever.
    Ended,
}

impl State {
    fn there(&self, at: Place) -> There {
        if let Some((segment, _)) = self.sealed.range(at.segment..).next() {
            return There::Sealed(*segment);
        }
        match &self.open {
            Some(open) if at < (Place { segment: open.segment, offset: open.end }) => {
                There::Open(open.segment, open.end)
            }
            _ if self.closed => There::Ended,
            _ => There::Nothing,
        }
    }

    /// Whether the file of `segment` is one of the spool's now.
    fn holds(&self, segment: SegmentId) -> bool {
        self.sealed.contains_key(&segment) || self.open.as_ref().is_some_and(|open| open.segment == segment)
    }

    fn put(&mut self, segment: SegmentId, sealed: Sealed) {
        self.sealed_bytes += sealed.bytes;
        let former = self.sealed.insert(segment, sealed);
        self.sealed_bytes -= former.map_or(0, |former| former.bytes);
    }

    /// The file of `segment` is one of the spool's no more.
    fn set_aside(&mut self, segment: SegmentId) {
        if let Some(sealed) = self.sealed.get_mut(&segment) {
            self.sealed_bytes -= std::mem::take(&mut sealed.bytes);
            sealed.is_set_aside = true;
        }
    }

    /// Before which segment everything can go; nothing as long as somebody may still join who needs it.
    fn passed(&self) -> Option<SegmentId> {
        if !self.all_joined {
            return None;
        }
        self.sinks.iter().map(|sink| sink.durable.segment).min()
    }

    fn set_readable(&mut self, readable: Option<Readable>) {
        let Some(Readable { segment, end, last: (begin, since) }) = readable else {
            self.open = None;
            return;
        };
        let open = match &mut self.open {
            Some(open) if open.segment == segment => open,
            open => open.insert(Open { segment, end, ages: Ages::default() }),
        };
        open.end = end;
        open.ages.add(begin, since);
        let end = Place { segment, offset: end };
        for sink in &mut self.sinks {
            if sink.wakes_at.is_some_and(|at| at <= end) {
                sink.wakes_at = None;
                sink.news.notify_waiters();
            }
        }
    }
}

impl Shelf {
    pub(super) fn new(
        recovery: Arc<Recovery>,
        spares: Arc<Spares>,
        (published, news): (Arc<Published>, StoredNews),
        start: ShelfStart,
    ) -> Self {
        let ShelfStart { sealed, next, cursors, retired, unknown_since } = start;
        let unknown = |bytes| Sealed { bytes, since: None, data_end: None, ages: Ages::default(), is_set_aside: false };
        let sealed: BTreeMap<_, _> = sealed.into_iter().map(|(segment, bytes)| (segment, unknown(bytes))).collect();
        let newest = sealed.last_key_value().map(|(segment, _)| *segment);
        let sealed_bytes = sealed.values().map(|sealed| sealed.bytes).sum();
        let state = Mutex::new(State { sealed, sealed_bytes, next, ..State::default() });
        let (repairing, readers) = (Mutex::default(), Arc::default());
        let shelf = Self {
            recovery,
            spares,
            published,
            news,
            state,
            repairing,
            readers,
            newest,
            cursors,
            retired,
            unknown_since,
            ratio: Ratio::default(),
        };
        shelf.publish_usage(&shelf.state());
        shelf
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the file system has free, or the memory that stands for it. Blocks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.recovery.disk.free_bytes()
    }

    fn publish_usage(&self, state: &State) {
        let aside = self.recovery.quarantine.bytes();
        self.published.set_spool_bytes(state.sealed_bytes + state.open_bytes + self.spares.bytes() + aside);
    }

    // What the writer tells.

    /// The files of the `unsealed` segments that hold something have `bytes`, and their first event was received at
    /// `since`. Of the oldest of them this is `readable`: nothing if only a later process or a retry can seal it, so that
    /// no follower passes over it. Wakes whom it concerns; if nobody waits, it looks for that only.
    pub(super) fn set_open(&self, unsealed: usize, bytes: u64, since: Option<Millis>, readable: Option<Readable>) {
        let mut state = self.state();
        state.unsealed = unsealed;
        state.open_bytes = bytes;
        state.open_since = since;
        state.set_readable(readable);
        self.publish_usage(&state);
    }

    /// A segment was sealed: `bytes` long, with events since `since`. Its last group ends at `data_end`, if that is known.
    pub(super) fn add(&self, segment: SegmentId, bytes: u64, since: Option<Millis>, data_end: Option<u64>) {
        let mut state = self.state();
        state.next = state.next.max(segment.next());
        let ages = state.open.take_if(|open| open.segment == segment).map(|open| open.ages.seal());
        let ages = ages.unwrap_or_default();
        state.put(segment, Sealed { bytes, since, data_end, ages, is_set_aside: false });
        state.sinks.iter().for_each(|sink| sink.news.notify_waiters());
    }

    /// How many compressed bytes `lines` bytes of lines are believed to become.
    pub(super) fn compressed(&self, lines: u64) -> u64 {
        self.ratio.compressed(lines)
    }

    /// No segment will be added any more.
    pub(super) fn close(&self) {
        let sinks = {
            let mut state = self.state();
            state.closed = true;
            state.sinks.iter().for_each(|sink| sink.news.notify_waiters());
            state.sinks.len()
        };
        // There may be no later occasion.
        (0..sinks).for_each(|sink| self.say_skipped(sink, Millis::MIN));
    }

    /// Nothing that is in the spool was received before this, as far as is known.
    pub(super) fn unknown_since(&self) -> Millis {
        self.unknown_since
    }

    /// Makes durable that `sink` has done everything before `to`, unless its cursor stands further by now.
    fn move_cursor(&self, sink: usize, to: Position) -> io::Result<()> {
        let cursor = Arc::clone(&self.state().sinks[sink].cursor);
        let mut cursor = cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let (durable, received) = {
            let sink = &self.state().sinks[sink];
            (sink.durable, sink.received)
        };
        if to.place() <= durable {
            return Ok(());
        }
        // Where nothing was received, nothing less is done than before.
        let to = Position { received: to.received.max(received), ..to };
        cursor.advance(to)?;
        let mut state = self.state();
        let sink = &mut state.sinks[sink];
        sink.durable = to.place();
        sink.begins = None;
        sink.done(to.place(), to.received);
        Ok(())
    }

    /// Every sink of the configuration has joined, by [`Self::consumer`] or [`Self::keep_for`]: from here on what all of
    /// them have passed is let go, and what the required ones have counts as stored. Until this is called neither happens,
    /// whoever asks for it: those who joined first may have what one needs that is still to join. Blocks.
    pub fn all_joined(&self) {
        let sinks = {
            let mut state = self.state();
            state.all_joined = true;
            state.sinks.len()
        };
        // What the oldest is that they lack is read now, so that nobody claims more.
        for sink in 0..sinks {
            self.lag(sink);
        }
        self.oldest_unstored();
        self.tidy();
    }

    /// Publishes how far the required sinks are, and removes what all have passed. Does nothing before
    /// [`Self::all_joined`].
    ///
    /// # Errors
    /// The operating system's, if a segment cannot be removed.
    pub fn settle(&self) -> io::Result<()> {
        let gone = {
            let mut state = self.state();
            if !state.all_joined {
                return Ok(());
            }
            if let Some(stored) = state.sinks.iter().filter(|sink| sink.is_required()).map(|sink| sink.at.segment).min()
            {
                self.news.publish(stored);
            }
            let Some(passed) = state.passed() else { return Ok(()) };
            let kept = state.sealed.split_off(&passed);
            let gone = std::mem::replace(&mut state.sealed, kept);
            state.sealed_bytes -= gone.values().map(|sealed| sealed.bytes).sum::<u64>();
            gone
        };
        // Without the lock, which the writer takes before it settles a group: removing a large file takes its time.
        let mut kept = Vec::new();
        let mut result = Ok(());
        for (segment, sealed) in gone {
            // Who begins to read it from here on finds that the shelf does not hold it.
            let being_read = self.readers.any(segment);
            if let Err(error) = self.spares.give(&Name::Sealed(segment).to_string(), sealed.bytes, being_read) {
                kept.push((segment, sealed));
                result = Err(error);
            }
        }
        let mut state = self.state();
        for (segment, sealed) in kept {
            state.put(segment, sealed);
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
        let passed = state.passed();
        passed.is_some_and(|passed| state.sealed.first_key_value().is_some_and(|(oldest, _)| *oldest < passed))
    }

    /// How many sealed segments are kept, and their length in bytes.
    pub fn sealed(&self) -> (usize, u64) {
        let state = self.state();
        (state.sealed.len(), state.sealed_bytes)
    }

    /// How many sealed segments some required sink does not have.
    pub(super) fn awaited(&self) -> usize {
        let state = self.state();
        let next = state.sinks.iter().filter(|sink| sink.is_required()).map(|sink| sink.at.segment).min();
        next.map_or(0, |next| state.sealed.range(next..).count())
    }

    /// How many segments hold something that not every sink has, the open one included, and their length in bytes.
    pub fn kept(&self) -> (usize, u64) {
        let (sealed, bytes) = self.sealed();
        let state = self.state();
        (sealed + state.unsealed, bytes + if state.unsealed > 0 { state.open_bytes } else { 0 })
    }

    /// Whether something is not stored that some required sink lacks, or one of those called `others`; if no sink is required,
    /// that any lacks. What is not sealed yet is nobody's.
    pub fn owes(&self, others: &[&str]) -> bool {
        let state = self.state();
        let none_required = !state.sinks.iter().any(SinkState::is_required);
        let mut looked_at =
            state.sinks.iter().filter(|sink| none_required || sink.is_required() || others.contains(&&*sink.name));
        state.unsealed > 0 || looked_at.any(|sink| state.lacks(sink, true) != Lacks::Nothing)
    }

    /// How many bytes the sink called `sink` lacks.
    pub fn lag_bytes(&self, sink: &str) -> u64 {
        let state = self.state();
        state.sinks.iter().filter(|other| other.name == sink).map(|sink| state.lag_bytes(sink)).sum()
    }

    /// The received time of the oldest event that some required sink has not stored; `None` if they have all. Reads no
    /// file: of a segment that an earlier process has sealed it is not known before [`Self::keep_up`] has looked, and until
    /// then it is what it was before.
    pub fn oldest_unstored(&self) -> Option<Millis> {
        let mut state = self.state();
        let (mut oldest, mut before) = (None, None);
        for sink in state.sinks.iter().filter(|sink| sink.is_required()) {
            let since = match state.lacks(sink, true) {
                Lacks::Nothing => continue,
                Lacks::Since(since) => since,
                Lacks::First(_) => *before.insert(state.oldest_told.unwrap_or(self.unknown_since)),
            };
            oldest = Some(oldest.map_or(since, |oldest: Millis| oldest.min(since)));
        }
        if before.is_none() {
            state.oldest_told = oldest;
        }
        oldest
    }

    fn since(&self, lacks: Lacks) -> Option<Millis> {
        match lacks {
            Lacks::Nothing => None,
            Lacks::Since(since) => Some(since),
            Lacks::First(segment) => Some(self.first_received(segment)),
        }
    }

    /// The received time of the first event of a sealed segment, as its footer tells. Reads it without the lock, and once:
    /// reading takes its time.
    fn first_received(&self, segment: SegmentId) -> Millis {
        let footer = self.footer(segment).ok().flatten();
        let since = footer.and_then(|(_, footer)| footer.first_received()).unwrap_or(self.unknown_since);
        if let Some(sealed) = self.state().sealed.get_mut(&segment) {
            sealed.since = Some(since);
        }
        since
    }
}
