//! Opening segments for sinks, so that no file is written over that somebody reads.

use std::{io, sync::PoisonError};

use super::Shelf;
use crate::{
    batch::SegmentId,
    spool::{Destination, DiskFile, Footer, SealedSegment, patient::open_again, readers::BeingRead, segment::Name},
};

impl Shelf {
    pub(super) fn footer(&self, segment: SegmentId) -> io::Result<Option<(Box<dyn DiskFile>, Footer)>> {
        let file = open_again(&*self.recovery.disk, &Name::Sealed(segment).to_string())?;
        Ok(Footer::read(&*file, segment)?.map(|footer| (file, footer)))
    }

    /// Opens a sealed segment; one without a valid footer is repaired first, and with `repair` any. `None` if nothing in
    /// it is valid, or if it was let go.
    pub(in crate::spool) fn open(
        &self,
        segment: SegmentId,
        destinations: &[Destination],
        repair: bool,
    ) -> io::Result<Option<SealedSegment>> {
        let being_read = self.readers.begin(segment);
        if !self.state().sealed.contains_key(&segment) {
            return Ok(None);
        }
        let whole = |(file, footer)| SealedSegment { file, footer, being_read };
        if !repair {
            match self.footer(segment) {
                Ok(Some(found)) => return Ok(Some(whole(found))),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // No sound footer, or no file: what can be read is found out by reading all of it.
                Ok(None) | Err(_) => {}
            }
        }
        // One at a time: two sinks may come upon the same place. The writer does not wait for it.
        let _one = self.repairing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state().sealed.get(&segment).is_none_or(|sealed| sealed.is_set_aside) {
            return Ok(None);
        }
        let repaired = self.recovery.repair(segment, destinations)?;
        if repaired.is_none() {
            self.state().set_aside(segment);
        }
        Ok(repaired.map(whole))
    }

    /// Opens the file of a segment that is not sealed, or was not a moment ago. `None` if it was let go meanwhile.
    pub(in crate::spool) fn open_unsealed(
        &self,
        segment: SegmentId,
    ) -> io::Result<Option<(Box<dyn DiskFile>, BeingRead)>> {
        let being_read = self.readers.begin(segment);
        if !self.state().holds(segment) {
            return Ok(None);
        }
        let disk = &*self.recovery.disk;
        let file = match open_again(disk, &Name::Open(segment).to_string()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                open_again(disk, &Name::Sealed(segment).to_string())
            }
            opened => opened,
        };
        match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.state().holds(segment) => Ok(None),
            opened => Ok(Some((opened?, being_read))),
        }
    }
}
