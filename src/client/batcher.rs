//! From events to batches: gathered as JSON, closed by count, size or age, and packed.
//!
//! What is gathered here is in memory only: at most [`BatchLimits::age`] is lost when the process is killed, or longer if
//! the server has asked for a longer interval. Closed batches wait here for their way into the buffer, which is short; if
//! it is not, at most [`WAITING_FACTOR`] times the bytes of a batch wait, and the oldest go.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write,
    time::Duration,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use ulid::Ulid;

use super::counts::Tally;
use crate::batch::{Millis, StreamName};

/// How hard gzip tries: JSON becomes an eighth. Level 1 would spare the device some milliseconds a minute and cost the
/// radio, which is dearer, a third more bytes.
const GZIP_LEVEL: Compression = Compression::new(6);
/// Streams for which a batch is open at the same time; if there is another one, the oldest is closed.
const MAX_OPEN: usize = 64;
/// What is gathered in all, in bytes, is at most this many times what a batch may have.
pub const WAITING_FACTOR: usize = 4;
/// The largest event, in bytes of JSON: what the server takes by default.
pub const MAX_EVENT_BYTES: usize = 64 * 1024;

/// When a batch is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Events, at most. Default 500.
    pub events: u32,
    /// Bytes of the events' JSON, at most; from [`MAX_EVENT_BYTES`] to 4 MiB, half of what the server takes by default.
    /// Default 256 KiB.
    pub bytes: usize,
    /// How long after its first event. Default 30 seconds.
    pub age: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { events: 500, bytes: 256 * 1024, age: Duration::from_secs(30) }
    }
}

/// A batch that takes events.
#[derive(Debug)]
struct Open {
    /// Events with commas between them.
    events: Vec<u8>,
    count: u32,
    /// The uptime at its first event.
    since: Duration,
}

/// A batch that takes no more events.
#[derive(Debug)]
pub(super) struct Closed {
    stream: StreamName,
    events: Vec<u8>,
    count: u32,
}

impl Closed {
    pub(super) fn tally(&self) -> Tally {
        Tally::one(self.count)
    }
}

/// Gathers events.
#[derive(Debug)]
pub(super) struct Batcher {
    limits: BatchLimits,
    open: BTreeMap<StreamName, Open>,
    closed: VecDeque<Closed>,
    /// Bytes in both.
    bytes: usize,
}

impl Batcher {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self { limits, open: BTreeMap::new(), closed: VecDeque::new(), bytes: 0 }
    }

    /// Takes an event of at most [`MAX_EVENT_BYTES`], and tells what had to go for it.
    pub(super) fn add(&mut self, stream: &StreamName, event: &[u8], now: Duration) -> Tally {
        let fits = |open: &Open| open.events.len() + 1 + event.len() <= self.limits.bytes;
        if self.open.get(stream).is_some_and(|open| !fits(open)) {
            self.close(&stream.clone());
        }
        if !self.open.contains_key(stream) && self.open.len() >= MAX_OPEN {
            self.close_oldest();
        }
        let open = self.open.entry(stream.clone()).or_insert_with(|| Open { events: Vec::new(), count: 0, since: now });
        if open.count > 0 {
            open.events.push(b',');
            self.bytes += 1;
        }
        open.events.extend_from_slice(event);
        open.count += 1;
        self.bytes += event.len();
        if open.count >= self.limits.events {
            self.close(stream);
        }
        self.make_room()
    }

    /// Drops the oldest until what is gathered is within its limit.
    fn make_room(&mut self) -> Tally {
        let mut dropped = Tally::default();
        while self.bytes > self.limits.bytes * WAITING_FACTOR {
            if self.closed.is_empty() {
                self.close_oldest();
            }
            let Some(oldest) = self.pop() else { break };
            dropped += Tally::one(oldest.count);
        }
        dropped
    }

    fn close(&mut self, stream: &StreamName) {
        if let Some((stream, Open { events, count, .. })) = self.open.remove_entry(stream) {
            self.closed.push_back(Closed { stream, events, count });
        }
    }

    fn close_oldest(&mut self) {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.since).map(|(stream, _)| stream.clone());
        if let Some(stream) = oldest {
            self.close(&stream);
        }
    }

    /// Closes every batch whose first event is `age` old.
    pub(super) fn close_due(&mut self, now: Duration, age: Duration) {
        while self.next_due(age).is_some_and(|due| due <= now) {
            self.close_oldest();
        }
    }

    /// When the next batch will have to be closed, in uptime.
    pub(super) fn next_due(&self, age: Duration) -> Option<Duration> {
        self.open.values().map(|open| open.since.saturating_add(age)).min()
    }

    /// Takes the oldest closed batch.
    pub(super) fn pop(&mut self) -> Option<Closed> {
        let closed = self.closed.pop_front()?;
        self.bytes -= closed.events.len();
        Some(closed)
    }

    /// Whether a closed batch waits to be taken.
    pub(super) fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// What has not been taken.
    pub(super) fn waiting(&self) -> Tally {
        let counts = self.open.values().map(|open| open.count).chain(self.closed.iter().map(|closed| closed.count));
        let mut waiting = Tally::default();
        counts.for_each(|count| waiting += Tally::one(count));
        waiting
    }
}

/// What a batch is called, and what its file is called: `{id}-{stream}-{events}.json.gz`.
///
/// The id carries the time at which the batch was made, so that names stand in the order in which batches were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The batch id. It never changes: by it the server gives events the same ids again when the batch comes again.
    pub id: Ulid,
    /// The stream.
    pub stream: StreamName,
    /// How many events there are.
    pub events: u32,
}

impl Label {
    /// How the name of a batch's file ends.
    const SUFFIX: &str = ".json.gz";

    /// The name of the batch's file.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}{}", self.id, self.stream, self.events, Self::SUFFIX)
    }

    /// Reads what [`Self::file_name`] gives.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(Self::SUFFIX)?.split('-');
        let label = Self {
            id: Ulid::from_string(parts.next()?).ok()?,
            stream: StreamName::new(parts.next()?).ok()?,
            events: parts.next()?.parse().ok()?,
        };
        // Another spelling of the same label would be another file of the same batch.
        (label.file_name() == name).then_some(label)
    }

    /// When the batch was made, by the wall clock of then.
    pub fn made(&self) -> Option<Millis> {
        i64::try_from(self.id.timestamp_ms()).ok().and_then(Millis::new)
    }
}

/// A batch as it is sent, however often.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// Its name.
    pub(super) label: Label,
    /// The gzip'd envelope.
    pub(super) body: Bytes,
}

impl Packed {
    /// Packs `closed` under `id`; `context` is a JSON object.
    pub(super) fn new(closed: &Closed, context: &[u8], id: Ulid) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), GZIP_LEVEL);
        let head = format!("{{\"batch_id\":\"{id}\",\"context\":");
        let parts = [head.as_bytes(), context, b",\"events\":[", &closed.events, b"]}"];
        // Writing to memory does not fail; what would be cut here would be answered with 400, and counted.
        let _ = parts.iter().try_for_each(|part| gzip.write_all(part));
        let body = gzip.finish().unwrap_or_default().into();
        Self { label: Label { id, stream: closed.stream.clone(), events: closed.count }, body }
    }
}

/// Makes the ids of batches. No other batch has them, of this device or another; and they rise, also within a
/// millisecond, as long as the wall clock does, so that files stand in the order in which batches were made.
#[derive(Debug, Default)]
pub(super) struct Ids(Ulid);

impl Ids {
    /// The next id, at `now` of the wall clock.
    pub(super) fn next(&mut self, now: Millis) -> Ulid {
        let millis = now.get().max(0) as u64;
        let successor =
            self.0.increment().ok().filter(|next| self.0.timestamp_ms() == millis && next.timestamp_ms() == millis);
        self.0 = successor.unwrap_or_else(|| {
            let mut random = [0; 16];
            if getrandom::fill(&mut random).is_err() {
                random = fastrand::u128(..).to_le_bytes();
            }
            Ulid::from_parts(millis, u128::from_le_bytes(random))
        });
        self.0
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;
    use serde_json::{Value, json};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: BatchLimits = BatchLimits { events: 3, bytes: 100, age: SECOND };

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).unwrap()
    }

    fn counts(batcher: &mut Batcher) -> Vec<u32> {
        std::iter::from_fn(|| batcher.pop()).map(|closed| closed.count).collect()
    }

    #[test]
    fn a_batch_is_closed_by_count_by_size_and_by_age() {
        let mut batcher = Batcher::new(LIMITS);
        for _ in 0..4 {
            assert_eq!(batcher.add(&stream("a"), b"{}", SECOND), Tally::default());
        }
        assert_eq!(counts(&mut batcher), [3], "by count");
        let large = [b'x'; 60];
        batcher.add(&stream("a"), &large, SECOND);
        assert_eq!(counts(&mut batcher), [0; 0]);
        batcher.add(&stream("a"), &large, SECOND * 2);
        assert_eq!(counts(&mut batcher), [2], "by size");
        assert_eq!(batcher.next_due(LIMITS.age), Some(SECOND * 3));
        batcher.close_due(Duration::from_millis(2_999), LIMITS.age);
        assert_eq!(counts(&mut batcher), [0; 0]);
        batcher.close_due(SECOND * 3, LIMITS.age);
        assert_eq!(counts(&mut batcher), [1], "by age");
        assert_eq!((batcher.next_due(LIMITS.age), batcher.bytes), (None, 0));
    }

    #[test]
    fn each_stream_has_a_batch_of_its_own_and_few_are_open() {
        let mut batcher = Batcher::new(LIMITS);
        for n in 0..=MAX_OPEN as u64 {
            batcher.add(&stream(&format!("s{n}")), b"{}", Duration::from_secs(n));
        }
        assert_eq!(batcher.open.len(), MAX_OPEN);
        assert_eq!(batcher.pop().unwrap().stream, stream("s0"));
    }

    #[test]
    fn what_nobody_takes_is_bounded_and_the_oldest_go() {
        let mut batcher = Batcher::new(LIMITS);
        let mut dropped = Tally::default();
        for n in 0..1_000_u64 {
            dropped += batcher.add(&stream("a"), format!("{{\"n\":{n:40}}}").as_bytes(), Duration::from_secs(n));
            assert!(batcher.bytes <= LIMITS.bytes * WAITING_FACTOR);
        }
        let waiting = batcher.waiting();
        assert_eq!(waiting.events + dropped.events, 1_000);
        assert!(waiting.events >= 6 && dropped.batches > 0, "{waiting:?} {dropped:?}");
        batcher.close_due(Duration::MAX, Duration::ZERO);
        let last = std::iter::from_fn(|| batcher.pop()).last().unwrap();
        assert!(String::from_utf8(last.events).unwrap().ends_with("999}"));
    }

    #[test]
    fn a_packed_batch_is_the_envelope_of_the_interface() {
        let closed = Closed { stream: stream("heard"), events: br#"{"a":1},{"b":2}"#.to_vec(), count: 2 };
        let now = Millis::new(1_795_338_000_123).unwrap();
        let packed = Packed::new(&closed, br#"{"os":"x"}"#, Ids::default().next(now));
        let envelope: Value = serde_json::from_reader(GzDecoder::new(&packed.body[..])).unwrap();
        let id = packed.label.id.to_string();
        assert_eq!(envelope, json!({"batch_id": id, "context": {"os": "x"}, "events": [{"a": 1}, {"b": 2}]}));
        assert_eq!(packed.label.made(), Some(now));
    }

    #[test]
    fn ids_rise_within_a_millisecond_and_differ_between_devices() {
        let (mut ids, now) = (Ids::default(), Millis::new(1_795_338_000_123).unwrap());
        let made: Vec<_> = (0..1_000).map(|_| ids.next(now)).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        assert!(made.iter().all(|id| id.timestamp_ms() == 1_795_338_000_123));
        assert!(ids.next(now.saturating_add(1)) > made[999]);
        assert_ne!(Ids::default().next(now), made[0]);
        // The last id of a millisecond has no successor in it.
        let mut ids = Ids(Ulid::from_parts(1_795_338_000_123, u128::MAX));
        assert_eq!(ids.next(now).timestamp_ms(), 1_795_338_000_123);
    }

    #[test]
    fn a_label_is_read_from_the_name_of_its_file() {
        let label = Label { id: Ulid::from_parts(1_795_338_000_123, 7), stream: stream("heard"), events: 12 };
        assert_eq!(label.file_name(), "01M817QNQV0000000000000007-heard-12.json.gz");
        assert_eq!(Label::parse(&label.file_name()), Some(label));
        for bad in ["", "lock", "x-heard-1.json.gz", "01m817qnqv0000000000000007-heard-12.json.gz"] {
            assert_eq!(Label::parse(bad), None, "{bad}");
        }
        let id = "01M817QNQV0000000000000007";
        for bad in ["Heard-1.json.gz", "heard-x.json.gz", "heard-1.json", "heard-01.json.gz", "heard-1-2.json.gz"] {
            assert_eq!(Label::parse(&format!("{id}-{bad}")), None, "{bad}");
        }
    }
}
