//! What the memory of a sink comes to: how much may be on its way at the same time.

use super::Sink;
use crate::sink::{Compression, FIRST_PART_BYTES};

/// What one call to Firehose takes, in bytes: the 4 MiB of lines, as many in records, the request's body with its base64,
/// and what TLS buffers of it.
const FIREHOSE_UNIT_BYTES: usize = 16 * 1024 * 1024;

impl Sink {
    /// Bytes that one object or call on its way takes.
    pub fn unit_bytes(&self) -> u64 {
        let unit = if self.kind.has_objects() { FIRST_PART_BYTES + UPLOAD_OVERHEAD_BYTES } else { FIREHOSE_UNIT_BYTES };
        unit as u64
    }

    /// What is on its way, in a word.
    pub(in crate::config) fn unit_name(&self) -> &'static str {
        if self.kind.has_objects() { "object" } else { "call" }
    }

    /// How many objects or calls are on their way at the same time: `concurrency`, or fewer if `memory` does not suffice
    /// for as many.
    pub fn in_flight(&self) -> usize {
        let affordable = self
            .memory
            .map_or(usize::MAX, |memory| usize::try_from(memory.get() / self.unit_bytes()).unwrap_or(usize::MAX));
        self.concurrency.min(affordable).max(1)
    }

    /// Bytes that what is on its way takes at most.
    pub fn memory_bytes(&self) -> u64 {
        self.in_flight() as u64 * self.unit_bytes()
    }
}
