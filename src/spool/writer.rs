//! The writer: the one thread that makes batches durable.

mod counts;
mod sealing;

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

pub(super) use self::sealing::Unsealed;
use self::{
    counts::Counts,
    sealing::{SealCause, Sealing},
};
use super::{
    BLOCK_BYTES, MAX_GROUP_BYTES, Settings, SharedDisk,
    disk::{self, DiskFile},
    footer::Facts,
    group::{Codec, FrameSum, GroupHeader, padded_len},
    recovery::Recovery,
    scan,
    segment::{self, Life, Name},
    shelf::Shelf,
    spares::Spares,
};
use crate::{
    batch::{Frame, InstanceId, Millis, SegmentId},
    queue::{Intake, Lost, Published, Signal, Submission},
};

/// How long the writer sleeps at the most when there is nothing to do.
const IDLE: Duration = Duration::from_millis(500);
/// How long after the disk failed something is tried again: the first time, and at the most, by doubling.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How often sealing is tried when the process ends.
const LAST_ATTEMPTS: usize = 3;
/// A segment is sealed when less than this is left in it, in bytes.
const NEARLY_FULL_BYTES: u64 = 256 * 1024;
/// A disk that is slowed down takes groups of what it takes in this time.
const SLOWED_GROUP: Duration = Duration::from_millis(50);
/// Segments that could not be sealed are tried again; with more of them than this, nothing is taken any more.
const MAX_UNSEALED: usize = 8;

// One submission always fits a group that recovery reads.
const _: () = assert!((MAX_GROUP_BYTES as u64) < scan::MAX_GROUP_BYTES);

/// The writer of a spool.
pub(super) struct Writer {
    settings: Settings,
    disk: SharedDisk,
    spares: Arc<Spares>,
    shelf: Arc<Shelf>,
    recovery: Arc<Recovery>,
    intake: Intake,
    signal: Arc<Signal>,
    published: Arc<Published>,
    /// The number of the next segment.
    next: SegmentId,
    open: Option<OpenSegment>,
    /// Segments that take no more groups and are not on the shelf yet, the oldest first. Sinks take segments by number,
    /// so none is put there before an older one.
    unsealed: VecDeque<Unsealed>,
    group: Vec<Submission>,
    last_seal: Option<Instant>,
    /// After the disk failed: when it is tried again, and how long after that.
    probe: Option<(Instant, Duration)>,
    /// After a segment could not be sealed: when that is tried again, and how long was waited.
    seal_again: Option<(Instant, Duration)>,
    counts: Counts,
}

/// What the writer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It settled a group that was taken at this time.
    Settled(Instant),
    /// It found nothing to do, and will within this time.
    Idle(Duration),
    /// It has settled and sealed everything, and nothing will come any more.
    Ended,
}

/// A segment that takes groups.
pub(in crate::spool) struct OpenSegment {
    id: SegmentId,
    life: Life,
    file: Box<dyn DiskFile>,
    file_len: u64,
    /// Where the last durable group ends; 0 before the first.
    data_end: u64,
    /// Where the last durable group begins, and when the oldest of it was received.
    last_group: (u64, Millis),
    facts: Facts,
    /// When it is sealed at the latest.
    seal_at: Instant,
    sealing: Sealing,
}

/// What a writer starts with.
pub(super) struct WriterStart {
    pub(super) spares: Arc<Spares>,
    pub(super) recovery: Arc<Recovery>,
    /// The number of the next segment.
    pub(super) next: SegmentId,
    /// What could not be sealed at the start, the oldest first.
    pub(super) unsealed: VecDeque<Unsealed>,
}

impl Writer {
    pub(super) fn new(settings: Settings, intake: Intake, shelf: Arc<Shelf>, found: WriterStart) -> Self {
        let WriterStart { spares, recovery, next, unsealed } = found;
        Self {
            settings,
            disk: Arc::clone(&recovery.disk),
            spares,
            shelf,
            signal: intake.signal(),
            published: intake.published(),
            intake,
            next,
            open: None,
            unsealed,
            group: Vec::new(),
            last_seal: None,
            probe: None,
            seal_again: None,
            counts: Counts::new(Arc::clone(&recovery.metrics)),
            recovery,
        }
    }

    /// Runs until the stop is asked for and everything is settled.
    pub(super) fn run(mut self) {
        self.intake.bind();
        disk::tell_calls(&self.published);
        loop {
            self.published.turn();
            match self.step() {
                Step::Settled(began) => self.pace(began),
                Step::Idle(due) => self.intake.sleep(due),
                Step::Ended => return,
            }
        }
    }

    /// Makes one group durable, or does what is due.
    pub(super) fn step(&mut self) -> Step {
        self.seal_if_due();
        let began = Instant::now();
        self.intake.take(self.most_at_once(), &mut self.group);
        if !self.group.is_empty() {
            self.commit();
            return Step::Settled(began);
        }
        if self.signal.stopping() && self.intake.is_empty() {
            self.end();
            return Step::Ended;
        }
        self.finish_unsealed();
        if self.shelf.is_untidy() {
            self.shelf.tidy();
        }
        self.look_for_room();
        self.probe_if_due();
        Step::Idle(self.until_due())
    }

    fn end(&mut self) {
        self.seal(SealCause::Stop);
        for _ in 0..LAST_ATTEMPTS {
            self.seal_again = None;
            self.finish_unsealed();
        }
        self.shelf.close();
    }

    /// Waits until the next sync may begin: a group gathers meanwhile, and one sync serves them all.
    fn pace(&self, began: Instant) {
        let left = self.settings.sync_interval.saturating_sub(began.elapsed());
        if !left.is_zero() && !self.signal.stopping() {
            thread::park_timeout(left);
        }
    }

    // Groups.

    /// Bytes of a group, but for one of a single batch.
    fn most_at_once(&self) -> usize {
        let slowed = |rate: u64| (rate as f64 * SLOWED_GROUP.as_secs_f64()) as usize;
        self.settings.max_rate.map_or(MAX_GROUP_BYTES, |rate| slowed(rate).clamp(1, MAX_GROUP_BYTES))
    }

    /// Waits for as long as `bytes` take at the most that may be appended, since `began`: as a disk would that is not
    /// faster, so that everything which looks at the disk sees such a one.
    fn slow_down(&self, bytes: u64, began: Instant) {
        let Some(rate) = self.settings.max_rate else { return };
        let whole = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        while let Some(left) = whole.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            if self.signal.stopping() {
                return;
            }
            self.published.turn();
            thread::park_timeout(left.min(IDLE));
        }
    }

    /// Makes the group durable and settles it.
    fn commit(&mut self) {
        let outcome = self.write_group();
        match outcome {
            Ok(segment) => {
                self.published.set_disk_failed(false);
                self.probe = None;
                self.intake.settle(Ok(segment));
                self.group.clear();
                // Only now: neither who waits for this group nor its memory waits for its segment to be sealed.
                if self.open.as_ref().is_some_and(|open| self.is_large_enough(open)) {
                    self.seal(SealCause::Size);
                }
            }
            Err(error) => self.lose_group(&error),
        }
        // The reservations go with the group.
        self.group.clear();
    }

    /// The group could not be made durable: its waiters are told, and the next one goes to another file.
    fn lose_group(&mut self, error: &io::Error) {
        let lost = if is_full(error) { Lost::DiskFull } else { Lost::DiskFailed };
        self.counts.sync_errors.increment(1);
        tracing::error!(%error, batches = self.group.len(), "a group could not be made durable");
        self.intake.settle(Err(lost));
        // Nobody knows what the segment holds behind its last verified byte: it takes no more groups.
        self.seal(SealCause::Failure);
        match lost {
            Lost::DiskFull => {
                self.published.set_disk_full(true);
                self.spares.set_scarce(true);
            }
            // One failure is no broken disk. What is, fails again at once.
            _ => self.probe(AGAIN_AFTER.0),
        }
    }

    /// Tries whether a new segment can be begun: only if it cannot, the disk counts as failed. If it still does, the next
    /// attempt is `wait` from now.
    fn probe(&mut self, wait: Duration) {
        self.probe = None;
        let begun = match self.open.take() {
            Some(open) => Ok(open),
            None => self.begin_segment(),
        };
        match begun {
            Ok(open) => {
                if self.published.disk_failed() {
                    tracing::info!("the spool's disk works again");
                }
                self.published.set_disk_failed(false);
                self.open = Some(open);
            }
            Err(error) => {
                tracing::error!(%error, again_in = ?wait, "the spool's disk failed: nothing can be made durable");
                self.published.set_disk_failed(true);
                self.probe = Some((Instant::now() + wait, (wait * 2).min(AGAIN_AFTER.1)));
            }
        }
    }

    fn probe_if_due(&mut self) {
        if let Some((at, wait)) = self.probe
            && Instant::now() >= at
        {
            self.probe(wait);
        }
    }

    /// Whether `open` is nearly full, or its largest object is believed to be as large as is aimed at.
    fn is_large_enough(&self, open: &OpenSegment) -> bool {
        let Settings { segment_size, object_size, destinations, .. } = &self.settings;
        let reached = |aim: u64| self.shelf.compressed(open.facts.longest(destinations)) >= aim;
        open.data_end + NEARLY_FULL_BYTES > *segment_size || object_size.is_some_and(reached)
    }

    fn write_group(&mut self) -> io::Result<SegmentId> {
        let frames = || self.group.iter().flat_map(Submission::frames);
        let payload_len: usize = frames().map(|frame| frame.bytes().len()).sum();
        let len = padded_len(payload_len);
        if !self.disk.has_room(len + BLOCK_BYTES as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.open.as_ref().is_some_and(|open| open.data_end > 0 && open.data_end + len > self.settings.segment_size)
        {
            self.seal(SealCause::Size);
        }
        self.shelf.begin_new()?;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_segment()?,
        };
        let began = Instant::now();
        if open.data_end == 0 {
            let jitter = 1.0 + self.settings.seal_jitter * (fraction(self.recovery.instance, open.id) - 0.5);
            open.seal_at = began + self.settings.seal_after.mul_f64(jitter.max(0.0));
        }
        let written = write_frames(&mut open, self.recovery.instance, &self.group, payload_len);
        if written.is_ok() {
            self.slow_down(len, began);
        }
        let busy = began.elapsed();
        let segment = open.id;
        self.open = Some(open);
        self.publish_open();
        self.counts.sync_seconds.record(written?.as_secs_f64());
        self.counts.group_bytes.record(payload_len as f64);
        self.counts.group_batches.record(self.group.len() as f64);
        self.published.add_work(payload_len as u64, busy);
        for frame in self.group.iter().flat_map(Submission::frames) {
            self.counts.events(frame.header());
        }
        Ok(segment)
    }

    fn open_segment(&mut self) -> io::Result<OpenSegment> {
        if self.unsealed.len() > MAX_UNSEALED {
            return Err(io::Error::other("too many segments could not be sealed"));
        }
        let id = self.next;
        // A number that was tried is never tried again, whatever the disk made of it.
        self.next = id.next();
        let life = Life::begin()?;
        let name = Name::Open(id).to_string();
        let file = self.spares.take(&name)?;
        // The name must survive before anything in the file is acknowledged.
        if let Err(error) = self.disk.sync_dir() {
            self.discard(&name);
            return Err(error);
        }
        let file_len = file.len()?;
        let (facts, sealing, last_group) = (Facts::default(), Sealing::NotBegun, (0, Millis::MAX));
        let seal_at = Instant::now();
        Ok(OpenSegment { id, life, file, file_len, data_end: 0, last_group, facts, seal_at, sealing })
    }

    /// Opens a segment and writes its first block, durably.
    fn begin_segment(&mut self) -> io::Result<OpenSegment> {
        let open = self.open_segment()?;
        let block = segment::first_block(self.recovery.instance, open.id, open.life);
        match open.file.write_at(&[&block], 0).and_then(|()| open.file.sync()) {
            Ok(()) => Ok(open),
            Err(error) => {
                self.discard(&Name::Open(open.id).to_string());
                Err(error)
            }
        }
    }

    /// Removes a file that nothing acknowledged is in. It is never a spare: the disk may be bad where it lies.
    fn discard(&self, name: &str) {
        if let Err(error) = self.disk.remove(name) {
            tracing::warn!(file = name, %error, "a file could not be removed");
        }
    }

    /// After a full disk: is there room again?
    fn look_for_room(&self) {
        // A quota that is less than that has room when a quarter of it is free.
        let enough = (2 * MAX_GROUP_BYTES as u64).min(self.settings.disk_quota / 4);
        if self.published.disk_full() && self.disk.free_bytes().is_ok_and(|free| free > enough) {
            self.published.set_disk_full(false);
            self.spares.set_scarce(false);
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
        life: open.life,
        sequence: open.facts.groups,
        frames: frames().count() as u32,
        payload_len: u32::try_from(payload_len).map_err(io::Error::other)?,
        frames_sum: sum.finish(),
    };
    let encoded = header.encode();
    let padding = [0; BLOCK_BYTES];
    let padding = &padding[..(header.padded_len() as usize) - GroupHeader::BYTES - payload_len];
    let first_block = segment::first_block(instance, open.id, open.life);
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
    let oldest = frames().map(|frame| frame.header().received).min();
    open.last_group = (at, oldest.unwrap_or(Millis::MAX));
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

/// Whether the disk has no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
