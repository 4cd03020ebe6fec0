//! Sinks that are not configured any more: what they still lacked is told, and their cursor is kept under another name.

use std::io;

use super::Shelf;
use crate::{
    batch::SegmentId,
    spool::cursor::{self, Found, Place, file_name, retired_name},
};

/// What is kept of the spool for a sink, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The sink's name.
    pub sink: String,
    /// How many segments it has not passed.
    pub segments: usize,
    /// Their length in bytes, without what it has done of the first.
    pub bytes: u64,
}

impl Held {
    /// What a sink lacks of `segments` that stands at `at`: their numbers and lengths.
    pub(in crate::spool) fn of(sink: &str, at: Place, segments: impl Iterator<Item = (SegmentId, u64)>) -> Self {
        let lacked = segments
            .filter(|(segment, _)| *segment >= at.segment)
            .map(|(segment, bytes)| if segment == at.segment { bytes.saturating_sub(at.offset) } else { bytes });
        let (segments, bytes) = lacked.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        Self { sink: sink.into(), segments, bytes }
    }
}

impl Shelf {
    /// The sinks that have a cursor and are none of `known`.
    pub fn other_sinks<'a>(&'a self, known: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.cursors.iter().map(String::as_str).filter(|sink| !known.contains(sink))
    }

    /// Retires the cursors of all sinks that are none of `known`: what each of them still lacked is returned, and nothing
    /// is kept for it any more. A sink that comes back under its name goes on where it stood, as far as that is still
    /// there. To be called before [`Self::settle`]. Blocks.
    pub fn retire(&self, known: &[&str]) -> Vec<Held> {
        let mut held = Vec::new();
        for sink in self.other_sinks(known) {
            let disk = &self.recovery.disk;
            let position = cursor::read(&**disk, sink).ok().and_then(|found| found.position);
            let at = position.map_or(Place::default(), cursor::Position::place);
            let segments = self.state();
            held.push(Held::of(sink, at, segments.sealed.iter().map(|(segment, sealed)| (*segment, sealed.bytes))));
            drop(segments);
            let renamed = disk.rename(&file_name(sink), &retired_name(sink)).and_then(|()| disk.sync_dir());
            if let Err(error) = renamed {
                tracing::warn!(sink, %error, "the cursor of a sink that is not configured any more could not be retired");
            }
        }
        held
    }

    /// Gives a sink that comes back its cursor again. One that it has got since counts, unless it was never written.
    ///
    /// # Errors
    /// The operating system's, if its cursor cannot be had: it is no new sink then, and nobody knows where it stood.
    pub(super) fn bring_back(&self, sink: &str) -> io::Result<()> {
        let has = |sinks: &[String]| sinks.iter().any(|other| other == sink);
        let disk = &self.recovery.disk;
        if !has(&self.retired) || has(&self.cursors) && !cursor::read(&**disk, sink).is_ok_and(Found::is_new) {
            return Ok(());
        }
        match disk.rename(&retired_name(sink), &file_name(sink)).and_then(|()| disk.sync_dir()) {
            Ok(()) => {
                let position = cursor::read(&**disk, sink).ok().and_then(|found| found.position);
                let segment = position.map(|position| position.segment.0);
                let gone_at_most = position.map(|position| self.gone_since(position.segment));
                tracing::info!(
                    sink,
                    segment,
                    gone_at_most,
                    "a sink that was retired goes on where it stood; segments that went since it will not have"
                );
                Ok(())
            }
            // It was brought back a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                tracing::warn!(sink, %error, "the cursor of a sink that was retired cannot be used: it gets all there is");
                Err(error)
            }
        }
    }

    /// How many segments from `segment` on were let go, at the most: some numbers may have been given to none.
    pub(in crate::spool) fn gone_since(&self, segment: SegmentId) -> u64 {
        let state = self.state();
        let behind = state.next.0.saturating_sub(state.unsealed as u64);
        let kept = state.sealed.range(segment..).next().map_or(behind, |(kept, _)| kept.0);
        kept.saturating_sub(segment.0)
    }
}
