//! Sealing: when a segment takes no more groups, and how it comes onto the shelf.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{AGAIN_AFTER, IDLE, OpenSegment, Writer};
use crate::{
    batch::SegmentId,
    spool::{recovery::rename_sealed, segment::Name, shelf::Readable},
};

/// How often a request may cause a seal while the instance drains: whatever the last requests bring within it goes
/// together.
const HURRIED_SEAL_INTERVAL: Duration = Duration::from_millis(50);

/// In memory, a segment that is due stays open while so many sealed ones wait for the required sinks: one that they are
/// about to store, and one that they find when they have. More would only be more and smaller objects, and what is in
/// them not stored sooner: so windows grow to what the sinks stand.
const MOST_AWAITED: usize = 2;

/// Why a segment is sealed.
#[derive(Debug, Clone, Copy)]
pub(super) enum SealCause {
    Size,
    Age,
    Request,
    Stop,
    Failure,
}

impl SealCause {
    pub(super) const ALL: [Self; 5] = [Self::Size, Self::Age, Self::Request, Self::Stop, Self::Failure];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Age => "age",
            Self::Request => "request",
            Self::Stop => "stop",
            Self::Failure => "failure",
        }
    }
}

/// A segment that is to be sealed.
pub(in crate::spool) enum Unsealed {
    /// This process wrote it.
    Written(Box<OpenSegment>),
    /// An earlier process left it open, `bytes` long, and it could not be sealed at the start.
    Left(SegmentId, u64),
    /// An earlier process sealed it, `bytes` long, but not the one before it.
    Sealed(SegmentId, u64),
}

/// How far sealing a segment has come: what is done is not done again when a later part fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sealing {
    NotBegun,
    /// The footer is durable.
    Ended,
    /// It has its new name, which may not be durable.
    Renamed,
}

impl Unsealed {
    pub(in crate::spool) fn id(&self) -> SegmentId {
        match self {
            Self::Written(open) => open.id,
            Self::Left(id, _) | Self::Sealed(id, _) => *id,
        }
    }

    pub(in crate::spool) fn bytes(&self) -> u64 {
        match self {
            Self::Written(open) => open.file_len,
            Self::Left(_, bytes) | Self::Sealed(_, bytes) => *bytes,
        }
    }

    fn written(&self) -> Option<&OpenSegment> {
        match self {
            Self::Written(open) => Some(open),
            Self::Left(..) | Self::Sealed(..) => None,
        }
    }
}

impl Writer {
    pub(super) fn seal_if_due(&mut self) {
        let has_groups = self.open.as_ref().is_some_and(|open| open.data_end > 0);
        if !has_groups {
            // Nothing is waiting to be stored, or what waits is sealed already.
            self.signal.seal_done();
            return;
        }
        let now = Instant::now();
        let cause = if self.open.as_ref().is_some_and(|open| now >= open.seal_at) {
            SealCause::Age
        } else if self.signal.seal_requested() && self.early_seal_in(now).is_zero() {
            SealCause::Request
        } else {
            return;
        };
        if !self.sinks_are_busy() {
            self.seal(cause);
        }
    }

    /// Whether to seal now would not bring anything to the sinks sooner.
    fn sinks_are_busy(&self) -> bool {
        self.disk.is_memory() && self.shelf.awaited() >= MOST_AWAITED
    }

    /// How long until a request may cause a seal.
    fn early_seal_in(&self, now: Instant) -> Duration {
        let usual = self.settings.early_seal_interval;
        let interval = if self.signal.hurries() { usual.min(HURRIED_SEAL_INTERVAL) } else { usual };
        let next = self.last_seal.map(|last| last + interval);
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    pub(super) fn until_due(&self) -> Duration {
        let now = Instant::now();
        let Some(open) = self.open.as_ref().filter(|open| open.data_end > 0) else { return IDLE };
        let mut due = open.seal_at.saturating_duration_since(now);
        if self.signal.seal_requested() {
            due = due.min(self.early_seal_in(now));
        }
        if due.is_zero() && self.disk.is_memory() {
            self.signal.wait_for_stored(true);
            if self.sinks_are_busy() {
                return IDLE;
            }
            self.signal.wait_for_stored(false);
        }
        due.min(IDLE)
    }

    /// Closes the open segment for good, if it holds anything; else its file is given back.
    pub(super) fn seal(&mut self, cause: SealCause) {
        let Some(open) = self.open.take() else { return };
        if open.data_end == 0 {
            self.discard(&Name::Open(open.id).to_string());
            self.publish_open();
            return;
        }
        self.last_seal = Some(Instant::now());
        self.signal.seal_done();
        self.counts.seal(cause);
        self.unsealed.push_back(Unsealed::Written(Box::new(open)));
        self.finish_unsealed();
    }

    /// Seals what is still to be sealed, unless that failed a moment ago.
    pub(super) fn finish_unsealed(&mut self) {
        if self.seal_again.is_some_and(|(at, _)| Instant::now() < at) {
            return;
        }
        while let Some(mut oldest) = self.unsealed.pop_front() {
            if let Err(error) = self.finish(&mut oldest) {
                let wait = self.seal_again.map_or(AGAIN_AFTER.0, |(_, wait)| (wait * 2).min(AGAIN_AFTER.1));
                self.seal_again = Some((Instant::now() + wait, wait));
                let segment = oldest.id();
                tracing::error!(%segment, %error, ?wait, "a segment could not be sealed; it is kept and tried again");
                self.unsealed.push_front(oldest);
                self.publish_open();
                return;
            }
        }
        self.seal_again = None;
        self.publish_open();
    }

    /// Tells the shelf what is not on it yet.
    pub(super) fn publish_open(&self) {
        let holds = self.open.as_ref().filter(|open| open.data_end > 0);
        let written = self.unsealed.iter().filter_map(Unsealed::written).chain(holds);
        let mut since = written.filter_map(|open| open.facts.first_received()).min();
        if self.unsealed.iter().any(|unsealed| unsealed.written().is_none()) {
            since = Some(self.shelf.unknown_since());
        }
        let bytes = self.unsealed.iter().map(Unsealed::bytes).sum::<u64>();
        let open_bytes = self.open.as_ref().map_or(0, |open| open.file_len);
        // What is behind a segment that waits to be sealed waits with it.
        let oldest = self.unsealed.front().map_or(holds, Unsealed::written);
        let readable = oldest.map(|open| Readable { segment: open.id, end: open.data_end, last: open.last_group });
        let unsealed = self.unsealed.len() + usize::from(holds.is_some());
        self.shelf.set_open(unsealed, bytes + open_bytes, since, readable);
    }

    fn finish(&self, unsealed: &mut Unsealed) -> io::Result<()> {
        match unsealed {
            Unsealed::Written(open) => {
                if open.sealing < Sealing::Ended {
                    let (facts, id) = (&open.facts, (open.id, open.life));
                    let footer = facts.footer(self.recovery.instance, id, open.data_end, &self.settings.destinations);
                    open.file_len = footer.write(&*open.file, open.data_end)?;
                    open.sealing = Sealing::Ended;
                }
                if open.sealing < Sealing::Renamed {
                    rename_sealed(&*self.disk, open.id)?;
                    open.sealing = Sealing::Renamed;
                }
                self.disk.sync_dir()?;
                self.spares.expect(open.file_len, self.settings.segment_size);
                self.shelf.add(open.id, open.file_len, open.facts.first_received(), Some(open.data_end));
            }
            Unsealed::Left(id, _) => {
                if let Some(sealed) = self.recovery.seal(*id, &self.settings.destinations)? {
                    self.shelf.add(*id, sealed.len, sealed.first_received, None);
                }
            }
            Unsealed::Sealed(id, bytes) => self.shelf.add(*id, *bytes, None, None),
        }
        Ok(())
    }
}
