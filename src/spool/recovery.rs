//! Recovery: sealing what a process left open, and making a damaged segment readable again.
//!
//! Either way the groups are read anew, see [`scan`](super::scan). What cannot be read goes to the quarantine and never
//! stops anything: nothing here fails because of what a file holds, only because the disk does not take what is written.

use std::{io, sync::Arc};

use super::{
    Destination, SharedDisk,
    disk::{Disk, DiskFile},
    footer::Footer,
    patient::read_again,
    quarantine::Quarantine,
    scan::{Scan, scan},
    segment::{Life, Name},
};
use crate::{
    batch::{InstanceId, Millis, SegmentId},
    metrics::{self, Metrics},
};

/// Gives the open file of `segment` its name as a sealed one, unless an attempt that seemed to fail has done so.
pub(super) fn rename_sealed(disk: &dyn Disk, segment: SegmentId) -> io::Result<()> {
    let sealed = Name::Sealed(segment).to_string();
    match disk.rename(&Name::Open(segment).to_string(), &sealed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && disk.open(&sealed).is_ok() => Ok(()),
        renamed => renamed,
    }
}

/// Writes the last group once more as it is, to be synced with the footer that counts it.
///
/// It may be one whose sync failed, in a process that was killed then: the kernel goes on showing it and never writes it.
/// Those before it were synced. The same bytes in the same place: a write that is torn changes nothing.
fn confirm_last(file: &dyn DiskFile, scan: &Scan) -> io::Result<()> {
    let Some((from, to)) = scan.last else { return Ok(()) };
    let mut bytes = vec![0; (to - from) as usize];
    match read_again(file, &mut bytes, from) {
        Ok(read) => file.write_at(&[&bytes[..read]], from),
        // It could be read a moment ago. What is bad by now is found when it is read for a sink.
        Err(_) => Ok(()),
    }
}

/// What it takes to recover segments.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) disk: SharedDisk,
    pub(super) instance: InstanceId,
    pub(super) quarantine: Arc<Quarantine>,
    pub(super) metrics: Arc<Metrics>,
}

/// A segment that is sealed now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recovered {
    /// Its length in bytes.
    pub(super) len: u64,
    /// The received time of its first event.
    pub(super) first_received: Option<Millis>,
    /// The received time of its last event.
    pub(super) last_received: Option<Millis>,
}

impl Recovered {
    fn new(len: u64, footer: &Footer) -> Self {
        Self { len, first_received: footer.first_received(), last_received: footer.last_received() }
    }
}

impl Recovery {
    /// Seals the open `segment` behind its last sound group; `None` if nothing was in it.
    ///
    /// # Errors
    /// The operating system's, if it cannot be written or renamed. It can be tried again.
    pub(super) fn seal(&self, segment: SegmentId, destinations: &[Destination]) -> io::Result<Option<Recovered>> {
        let open = Name::Open(segment).to_string();
        let file = match self.disk.open(&open) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.sealed(segment),
            opened => opened?,
        };
        // It may have been sealed, and only its name was lost. What it becomes may have been uploaded already.
        let recovered = match Footer::confirm(&*file, segment)? {
            Some((footer, len)) => Recovered::new(len, &footer),
            None => match self.end(&open, &*file, segment, destinations)? {
                Some(recovered) => recovered,
                None => return Ok(None),
            },
        };
        rename_sealed(&*self.disk, segment)?;
        self.disk.sync_dir()?;
        Ok(Some(recovered))
    }

    /// A segment that has no open file any more: an earlier attempt has sealed or removed it.
    fn sealed(&self, segment: SegmentId) -> io::Result<Option<Recovered>> {
        let file = match self.disk.open(&Name::Sealed(segment).to_string()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let len = file.len()?;
        let footer = Footer::read(&*file, segment)?;
        Ok(Some(footer.map_or(Recovered { len, first_received: None, last_received: None }, |footer| {
            Recovered::new(len, &footer)
        })))
    }

    /// Writes the footer of an open segment that has none; `None` if there is nothing to seal.
    fn end(
        &self,
        name: &str,
        file: &dyn DiskFile,
        segment: SegmentId,
        destinations: &[Destination],
    ) -> io::Result<Option<Recovered>> {
        let scan = scan(file, segment, 0)?;
        if scan.other_version {
            self.quarantine.take(name, file.len()?, "another version")?;
            return Ok(None);
        }
        if let Some((from, to)) = scan.torn
            && let Err(error) = self.quarantine.keep_tail(file, segment, from, to)
        {
            tracing::warn!(%segment, %error, "the torn tail could not be copied");
        }
        if scan.facts.groups == 0 {
            if scan.damaged.is_empty() {
                self.disk.remove(name)?;
                if let Some((from, to)) = scan.torn {
                    self.tell_torn(segment, from, to);
                }
            } else {
                self.quarantine.take(name, file.len()?, "nothing in it can be read")?;
            }
            return Ok(None);
        }
        self.set_aside(file, segment, &scan);
        confirm_last(file, &scan)?;
        let life = scan.life.map_or_else(Life::begin, Ok)?;
        let footer = scan.facts.footer(self.instance, (segment, life), scan.data_end, destinations);
        let len = footer.write(file, scan.data_end)?;
        if let Some((from, to)) = scan.torn {
            self.tell_torn(segment, from, to);
        }
        tracing::info!(%segment, groups = footer.groups, bytes = scan.data_end, "took up an open segment");
        Ok(Some(Recovered::new(len, &footer)))
    }

    fn tell_torn(&self, segment: SegmentId, from: u64, to: u64) {
        self.metrics.counter(&metrics::TORN_TAILS, &[]).increment(1);
        tracing::info!(%segment, offset = from, bytes = to - from, "cut a torn tail, which was not acknowledged");
    }

    /// Makes a sealed `segment` readable that was found damaged: what is sound in it gets a new footer. `None` if nothing
    /// is sound, or if it is not there any more.
    ///
    /// # Errors
    /// The operating system's, if the footer cannot be written. It can be tried again.
    pub(super) fn repair(
        &self,
        segment: SegmentId,
        destinations: &[Destination],
    ) -> io::Result<Option<(Box<dyn DiskFile>, Footer)>> {
        let name = Name::Sealed(segment).to_string();
        let file = match self.disk.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.metrics.counter(&metrics::QUARANTINED, &["missing"]).increment(1);
                tracing::error!(%segment, "a sealed segment is gone; somebody removed it");
                return Ok(None);
            }
            opened => opened?,
        };
        let former = Footer::read(&*file, segment)?;
        let len = file.len()?;
        let scan = scan(&*file, segment, former.as_ref().map_or(len, |footer| footer.data_end))?;
        // What a footer has counted stays in the books, also if nothing is left of it.
        if scan.other_version || scan.facts.groups == 0 && former.is_none() {
            let why = if scan.other_version { "another version" } else { "nothing in it can be read" };
            self.quarantine.take(&name, len, why)?;
            return Ok(None);
        }
        self.set_aside(&*file, segment, &scan);
        let destinations = former.as_ref().map_or(destinations, |footer| &footer.destinations);
        let life = scan.life.map_or_else(Life::begin, Ok)?;
        let mut footer = scan.facts.footer(self.instance, (segment, life), scan.data_end, destinations);
        if let Some(former) = &former {
            footer.remember(former);
            if footer == *former {
                return Ok(Some((file, footer)));
            }
        }
        footer.write(&*file, len.next_multiple_of(super::BLOCK_BYTES as u64))?;
        let lost: u64 = footer.contents.iter().map(super::Content::lost_events).sum();
        tracing::error!(%segment, groups = footer.groups, lost, "a damaged segment was repaired from what is sound in it");
        Ok(Some((file, footer)))
    }

    fn set_aside(&self, file: &dyn DiskFile, segment: SegmentId, scan: &Scan) {
        for (from, to) in &scan.damaged {
            if let Err(error) = self.quarantine.keep(file, segment, *from, *to) {
                tracing::warn!(%segment, offset = from, %error, "a damaged place could not be copied");
            }
        }
    }
}
