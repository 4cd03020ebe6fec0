//! The writer: the one thread that makes batches durable.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ::metrics::{Counter, Histogram};

use super::{
    BLOCK_BYTES, MAX_GROUP_BYTES, Settings, SharedDisk,
    disk::DiskFile,
    footer::Facts,
    group::{Codec, FrameSum, GroupHeader, padded_len},
    segment::{self, Name},
    shelf::Shelf,
    spares::Spares,
};
use crate::{
    batch::{Book, Frame, FrameHeader, InstanceId, SegmentId, StreamName},
    metrics::{self, Metrics},
    queue::{Intake, Lost, Published, Signal, Submission},
};

/// How long the writer sleeps at the most when there is nothing to do.
const IDLE: Duration = Duration::from_millis(500);
/// A segment is sealed when less than this is left in it, in bytes.
const NEARLY_FULL_BYTES: u64 = 256 * 1024;
/// Segments that could not be sealed are tried again; with more of them than this, nothing is taken any more.
const MAX_UNSEALED: usize = 8;

/// The writer of a spool.
pub(super) struct Writer {
    settings: Settings,
    disk: SharedDisk,
    spares: Arc<Spares>,
    shelf: Arc<Shelf>,
    intake: Intake,
    signal: Arc<Signal>,
    published: Arc<Published>,
    instance: InstanceId,
    /// The number of the next segment.
    next: SegmentId,
    open: Option<OpenSegment>,
    /// Segments that take no more groups and are not sealed yet, the oldest first. Sinks take segments by number, so
    /// none is put on the shelf before an older one.
    unsealed: VecDeque<OpenSegment>,
    group: Vec<Submission>,
    last_seal: Option<Instant>,
    counts: Counts,
}

/// A segment that takes groups.
struct OpenSegment {
    id: SegmentId,
    file: Box<dyn DiskFile>,
    file_len: u64,
    /// Where the last durable group ends; 0 before the first.
    data_end: u64,
    facts: Facts,
    /// When it is sealed at the latest.
    seal_at: Instant,
}

/// Why a segment is sealed.
#[derive(Debug, Clone, Copy)]
enum SealCause {
    Size,
    Age,
    Request,
    Stop,
    Failure,
}

impl SealCause {
    fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Age => "age",
            Self::Request => "request",
            Self::Stop => "stop",
            Self::Failure => "failure",
        }
    }
}

/// The writer's metrics.
struct Counts {
    metrics: Arc<Metrics>,
    sync_seconds: Histogram,
    group_bytes: Histogram,
    group_batches: Histogram,
    sync_errors: Counter,
    /// Each stream's counters: accepted, rejected.
    events: HashMap<StreamName, [Counter; 2]>,
}

impl Counts {
    fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            sync_seconds: metrics.histogram(&metrics::SYNC_SECONDS, &[]),
            group_bytes: metrics.histogram(&metrics::GROUP_BYTES, &[]),
            group_batches: metrics.histogram(&metrics::GROUP_BATCHES, &[]),
            sync_errors: metrics.counter(&metrics::SYNC_ERRORS, &[]),
            events: HashMap::new(),
            metrics,
        }
    }

    fn events(&mut self, frame: &FrameHeader) {
        let counters = if let Some(counters) = self.events.get(&frame.stream) {
            counters
        } else {
            let counter = |book: Book| self.metrics.counter(&metrics::EVENTS, &[frame.stream.as_str(), book.as_str()]);
            let counters = [counter(Book::Accepted), counter(Book::Rejected)];
            self.events.entry(frame.stream.clone()).or_insert(counters)
        };
        let [accepted, rejected] = counters;
        match frame.book {
            Book::Accepted => accepted.increment(u64::from(frame.events)),
            Book::Rejected => rejected.increment(u64::from(frame.events)),
        }
    }

    fn seal(&self, cause: SealCause) {
        self.metrics.counter(&metrics::SEALS, &[cause.as_str()]).increment(1);
    }
}

impl Writer {
    #[expect(clippy::too_many_arguments, reason = "called once, where the spool is put together")]
    pub(super) fn new(
        settings: Settings,
        disk: SharedDisk,
        spares: Arc<Spares>,
        shelf: Arc<Shelf>,
        intake: Intake,
        instance: InstanceId,
        next: SegmentId,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            settings,
            disk,
            spares,
            shelf,
            signal: intake.signal(),
            published: intake.published(),
            intake,
            instance,
            next,
            open: None,
            unsealed: VecDeque::new(),
            group: Vec::new(),
            last_seal: None,
            counts: Counts::new(metrics),
        }
    }

    /// Runs until the stop is asked for and everything is settled.
    pub(super) fn run(mut self) {
        self.intake.bind();
        while self.run_once() {}
        self.shelf.close();
    }

    /// Makes one group durable, or does what is due, or sleeps. `false` at the end.
    fn run_once(&mut self) -> bool {
        self.seal_if_due();
        let began = Instant::now();
        self.intake.take(MAX_GROUP_BYTES, &mut self.group);
        if !self.group.is_empty() {
            self.commit();
            self.pace(began);
            return true;
        }
        if self.signal.stopping() && self.intake.is_empty() {
            self.seal(SealCause::Stop);
            return false;
        }
        self.finish_unsealed();
        self.look_for_room();
        self.intake.sleep(self.until_due());
        true
    }

    /// Waits until the next sync may begin: a group gathers meanwhile, and one sync serves them all.
    fn pace(&self, began: Instant) {
        let left = self.settings.sync_interval.saturating_sub(began.elapsed());
        if !left.is_zero() && !self.signal.stopping() {
            thread::park_timeout(left);
        }
    }

    // Groups.

    /// Makes the group durable and settles it.
    fn commit(&mut self) {
        let outcome = self.write_group();
        match outcome {
            Ok(segment) => {
                self.published.set_disk_failed(false);
                self.published.set_disk_full(false);
                self.intake.settle(Ok(segment));
            }
            Err(error) => {
                let lost = if is_full(&error) { Lost::DiskFull } else { Lost::DiskFailed };
                self.counts.sync_errors.increment(1);
                tracing::error!(%error, batches = self.group.len(), "a group could not be made durable");
                self.published.set_disk_full(lost == Lost::DiskFull);
                self.published.set_disk_failed(lost == Lost::DiskFailed);
                if lost == Lost::DiskFull {
                    self.spares.remove_all();
                }
                self.intake.settle(Err(lost));
                // Nobody knows what the segment holds behind its last verified byte: it takes no more groups.
                self.seal(SealCause::Failure);
            }
        }
        // The reservations go with the group.
        self.group.clear();
    }

    fn write_group(&mut self) -> io::Result<SegmentId> {
        let frames = || self.group.iter().flat_map(Submission::frames);
        let payload_len: usize = frames().map(|frame| frame.bytes().len()).sum();
        let len = padded_len(payload_len);
        if self.open.as_ref().is_some_and(|open| open.data_end > 0 && open.data_end + len > self.settings.segment_size)
        {
            self.seal(SealCause::Size);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_segment()?,
        };
        let began = Instant::now();
        let written = write_frames(&mut open, self.instance, &self.group, payload_len);
        let busy = began.elapsed();
        let (segment, data_end) = (open.id, open.data_end);
        self.open = Some(open);
        self.publish_open();
        self.counts.sync_seconds.record(written?.as_secs_f64());
        self.counts.group_bytes.record(payload_len as f64);
        self.counts.group_batches.record(self.group.len() as f64);
        self.published.add_work(payload_len as u64, busy);
        for frame in self.group.iter().flat_map(Submission::frames) {
            self.counts.events(frame.header());
        }
        if data_end + NEARLY_FULL_BYTES > self.settings.segment_size {
            self.seal(SealCause::Size);
        }
        Ok(segment)
    }

    fn open_segment(&mut self) -> io::Result<OpenSegment> {
        if self.unsealed.len() > MAX_UNSEALED {
            return Err(io::Error::other("too many segments could not be sealed"));
        }
        let id = self.next;
        let name = Name::Open(id).to_string();
        let file = self.spares.take(&name)?;
        self.next = id.next();
        // The name must survive before anything in the file is acknowledged.
        self.disk.sync_dir()?;
        let jitter = 1.0 + self.settings.seal_jitter * (fraction(self.instance, id) - 0.5);
        let seal_at = Instant::now() + self.settings.seal_after.mul_f64(jitter.max(0.0));
        let file_len = file.len()?;
        Ok(OpenSegment { id, file, file_len, data_end: 0, facts: Facts::default(), seal_at })
    }

    // Seals.

    fn seal_if_due(&mut self) {
        let has_groups = self.open.as_ref().is_some_and(|open| open.data_end > 0);
        if !has_groups {
            // Nothing is waiting to be stored, or what waits is sealed already.
            self.signal.seal_done();
            return;
        }
        let now = Instant::now();
        if self.open.as_ref().is_some_and(|open| now >= open.seal_at) {
            self.seal(SealCause::Age);
        } else if self.signal.seal_requested() && self.early_seal_in(now).is_zero() {
            self.seal(SealCause::Request);
        }
    }

    /// How long until a request may cause a seal.
    fn early_seal_in(&self, now: Instant) -> Duration {
        let next = self.last_seal.map(|last| last + self.settings.early_seal_interval);
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    fn until_due(&self) -> Duration {
        let now = Instant::now();
        let Some(open) = self.open.as_ref().filter(|open| open.data_end > 0) else { return IDLE };
        let mut due = open.seal_at.saturating_duration_since(now);
        if self.signal.seal_requested() {
            due = due.min(self.early_seal_in(now));
        }
        due.min(IDLE)
    }

    /// Closes the open segment for good, if it holds anything; else its file is given back.
    fn seal(&mut self, cause: SealCause) {
        let Some(open) = self.open.take() else { return };
        if open.data_end == 0 {
            self.publish_open();
            if let Err(error) = self.spares.give(&Name::Open(open.id).to_string(), open.file_len) {
                tracing::warn!(segment = %open.id, %error, "cannot remove an empty segment");
            }
            return;
        }
        self.last_seal = Some(Instant::now());
        self.signal.seal_done();
        self.counts.seal(cause);
        self.unsealed.push_back(open);
        self.finish_unsealed();
    }

    /// Writes the footers that are still to be written.
    fn finish_unsealed(&mut self) {
        while let Some(oldest) = self.unsealed.front() {
            if let Err(error) = self.finish(oldest) {
                tracing::error!(segment = %oldest.id, %error, "a segment could not be sealed; it is kept and tried again");
                return;
            }
            self.unsealed.pop_front();
            self.publish_open();
        }
    }

    fn publish_open(&self) {
        let waiting = || self.unsealed.iter().chain(&self.open);
        let since = waiting().filter_map(|open| open.facts.first_received()).min();
        self.shelf.set_open(waiting().map(|open| open.file_len).sum(), since);
    }

    fn finish(&self, open: &OpenSegment) -> io::Result<()> {
        let footer = open.facts.footer(self.instance, open.id, open.data_end, &self.settings.destinations);
        let len = footer.write(&*open.file)?;
        self.disk.rename(&Name::Open(open.id).to_string(), &Name::Sealed(open.id).to_string())?;
        self.disk.sync_dir()?;
        self.spares.expect(len, self.settings.segment_size);
        self.shelf.add(open.id, len, open.facts.first_received());
        Ok(())
    }

    /// After a full disk: is there room again?
    fn look_for_room(&self) {
        if self.published.disk_full() && self.disk.free_bytes().is_ok_and(|free| free > 2 * MAX_GROUP_BYTES as u64) {
            self.published.set_disk_full(false);
        }
    }
}

/// Appends a group to `open` and syncs it: how long the sync took. Only then the segment's facts count it.
fn write_frames(
    open: &mut OpenSegment,
    instance: InstanceId,
    group: &[Submission],
    payload_len: usize,
) -> io::Result<Duration> {
    let frames = || group.iter().flat_map(Submission::frames);
    let mut sum = FrameSum::default();
    frames().for_each(|frame| sum.add(frame.bytes()));
    let header = GroupHeader {
        codec: Codec::Plain,
        segment: open.id,
        sequence: open.facts.groups,
        frames: frames().count() as u32,
        payload_len: u32::try_from(payload_len).map_err(io::Error::other)?,
        frames_sum: sum.finish(),
    };
    let encoded = header.encode();
    let padding = [0; BLOCK_BYTES];
    let padding = &padding[..(header.padded_len() as usize) - GroupHeader::BYTES - payload_len];
    let first_block = segment::first_block(instance, open.id);
    let (at, start): (u64, &[u8]) = if open.data_end == 0 { (0, &first_block) } else { (open.data_end, &[]) };
    let mut parts: Vec<&[u8]> = Vec::with_capacity(3 + header.frames as usize);
    parts.push(start);
    parts.push(&encoded);
    parts.extend(frames().map(Frame::bytes));
    parts.push(padding);
    open.file.write_at(&parts, at)?;
    let began = Instant::now();
    open.file.sync()?;
    let took = began.elapsed();
    for frame in frames() {
        open.facts.add(frame.header(), frame.payload());
    }
    open.facts.groups += 1;
    open.data_end = at + start.len() as u64 + header.padded_len();
    open.file_len = open.file_len.max(open.data_end);
    Ok(took)
}

/// A number from 0 to 1 that differs between instances and segments.
fn fraction(instance: InstanceId, segment: SegmentId) -> f64 {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&instance.to_bytes());
    bytes[16..].copy_from_slice(&segment.0.to_le_bytes());
    f64::from(crc32fast::hash(&bytes)) / f64::from(u32::MAX)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
