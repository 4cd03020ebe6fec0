//! Who reads which segment: a file that somebody reads is removed, not written over, when the last sink has passed it.
//!
//! A sink that was left behind, or whose uploads are still on their way when it gives a segment up, may hold a file that
//! the spool has let go. Removed, it can be read to its end; as a spare it would become another segment meanwhile.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::batch::SegmentId;

/// How many readers each segment has.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<BTreeMap<SegmentId, usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct BeingRead {
    readers: Arc<Readers>,
    segment: SegmentId,
}

impl Readers {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<SegmentId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read `segment`. Only if the spool still has it *afterwards* is its file safe from being written over.
    pub(super) fn begin(self: &Arc<Self>, segment: SegmentId) -> BeingRead {
        *self.counts().entry(segment).or_default() += 1;
        BeingRead { readers: Arc::clone(self), segment }
    }

    /// Whether anybody reads `segment`.
    pub(super) fn any(&self, segment: SegmentId) -> bool {
        self.counts().contains_key(&segment)
    }
}

impl Drop for BeingRead {
    fn drop(&mut self) {
        let mut counts = self.readers.counts();
        if let Some(count) = counts.get_mut(&self.segment) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.segment);
            }
        }
    }
}
