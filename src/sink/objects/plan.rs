//! An object that is to be stored: what is known of it before.

use super::ObjectKey;
use crate::batch::{InstanceId, Millis, SegmentId};

/// The version of the lines' form, as objects tell it.
pub const FORMAT_VERSION: u32 = 1;

/// An object to store: frozen, but for its compressed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPlan {
    /// The bucket, or the root directory.
    pub place: String,
    /// The key.
    pub key: ObjectKey,
    /// What is told of it.
    pub facts: ObjectFacts,
}

/// What an object's metadata tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFacts {
    /// How many lines.
    pub events: u64,
    /// Their uncompressed length in bytes.
    pub bytes: u64,
    /// CRC-32 of the uncompressed bytes: what a gzip member's trailer says too, and a zstd frame does not.
    pub crc32: u32,
    /// The earliest event time.
    pub first_event: Option<Millis>,
    /// The latest event time.
    pub last_event: Option<Millis>,
    /// Who stored it.
    pub instance: InstanceId,
    /// From which segment.
    pub segment: SegmentId,
}

impl ObjectFacts {
    /// The names and values of the object's metadata.
    pub fn metadata(&self) -> Vec<(&'static str, String)> {
        let instant = |instant: Option<Millis>| instant.map(|instant| instant.to_string()).unwrap_or_default();
        vec![
            ("logweir-format", FORMAT_VERSION.to_string()),
            ("logweir-events", self.events.to_string()),
            ("logweir-bytes", self.bytes.to_string()),
            ("logweir-crc32", format!("{:08x}", self.crc32)),
            ("logweir-first-event", instant(self.first_event)),
            ("logweir-last-event", instant(self.last_event)),
            ("logweir-instance", self.instance.to_string()),
            ("logweir-segment", self.segment.to_string()),
        ]
    }

    /// Whether metadata, asked by name, tells of the same content.
    pub fn matches<'a>(&self, metadata: impl Fn(&str) -> Option<&'a str>) -> bool {
        let content = ["logweir-events", "logweir-bytes", "logweir-crc32"];
        self.metadata().iter().filter(|(name, _)| content.contains(name)).all(|(name, own)| metadata(name) == Some(own))
    }
}

/// What came of putting an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is stored now, with so many compressed bytes.
    Stored(u64),
    /// It was stored before, with the same content.
    Existed,
    /// Its key holds something else.
    Occupied,
}
