//! What the memory of a sink comes to: how much may be on its way at the same time.

use super::{Sink, SinkKind};
use crate::{
    config::size::Size,
    sink::{Compression, FIRST_PART_BYTES, FirehoseSink, LineSettings},
};

impl Sink {
    /// Bytes that `count` objects or calls on their way take.
    fn taken_by(&self, count: usize) -> u64 {
        let taken = match self.kind {
            SinkKind::File | SinkKind::S3 => {
                let compression = Compression::named(self.codec().as_str(), self.level());
                count * (FIRST_PART_BYTES + compression.unwrap_or(Compression::FAST_GZIP).overhead_bytes())
            }
            SinkKind::Firehose => LineSettings::memory_bytes(count, FirehoseSink::CALL_LINE_BYTES),
        };
        taken as u64
    }

    /// The least that `memory` may be: what one object or call on its way takes.
    pub fn least_memory(&self) -> Size {
        Size::bytes(self.taken_by(1))
    }

    /// How many objects or calls are on their way at the same time: `concurrency`, or fewer if `memory` does not suffice
    /// for as many.
    pub fn in_flight(&self) -> usize {
        let Some(memory) = self.memory else { return self.concurrency };
        (1..=self.concurrency).rev().find(|count| self.taken_by(*count) <= memory.get()).unwrap_or(1)
    }

    /// Bytes that what is on its way takes at most.
    pub fn memory_bytes(&self) -> u64 {
        self.taken_by(self.in_flight())
    }

    /// What is on its way, in a word for one and for more.
    pub fn units(&self) -> (&'static str, &'static str) {
        match self.kind {
            SinkKind::File | SinkKind::S3 => ("object", "objects"),
            SinkKind::Firehose => ("call", "calls"),
        }
    }
}
