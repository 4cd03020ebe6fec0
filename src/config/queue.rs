//! `[queue]`: what may wait for the spool.

use serde::{Deserialize, Serialize};

use super::{report::Report, size::Size};

/// What may be on its way from a body's first byte to its receipt.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// The byte budget of all batches in memory: bodies, decoding, encoding and queues, up to 1 TiB. Default 64 MiB,
    /// more than what a disk syncs in a tenth of a second; a larger one only makes the last in it wait longer. It must
    /// hold the largest batch: `limits.encoded_body` + `limits.decoded_body` + `limits.output`.
    pub bytes: Size,
    /// Places in each worker's queue, 1 to 1,048,576. Default 4096; small batches fill the places before the bytes.
    pub batches: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { bytes: Size::mib(64), batches: 4096 }
    }
}

impl Queue {
    pub(super) fn check(&self, report: &mut Report) {
        report.within("queue.bytes", &self.bytes, &(Size::bytes(1)..=Size::gib(1024)));
        report.within("queue.batches", &self.batches, &(1..=1_048_576));
    }
}
