//! Object keys.

use std::fmt;

use crate::{
    batch::{Book, Hour, InstanceId, SegmentId, StreamName},
    ledger,
    sink::{Codec, Compression},
};

/// The directory of the rejected events, behind the prefix.
pub const REJECTED: &str = "_rejected/";
/// The directory of the lines that a line sink will never take, behind the prefix.
pub const UNDELIVERED: &str = "_undelivered/";

/// The name of an object in its store.
///
/// `{prefix}{stream}/dt=2026-11-22/hour=09/{instance}-{segment}.ndjson.gz`, by received time in UTC; rejected events
/// under `{prefix}_rejected/{stream}/…`; `.ndjson.zst` if it is a zstd frame. An instance, a segment, a stream and an
/// hour have one object, so the key says who wrote it, and nobody else ever writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    directory: String,
    name: String,
    /// Which other key this is, if the first was taken by something else.
    suffix: u32,
    codec: Codec,
}

/// What an object's name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectName {
    /// Who stored it.
    pub instance: InstanceId,
    /// From which segment.
    pub segment: SegmentId,
    /// Which other key this is; 0 for the frozen one.
    pub suffix: u32,
    /// How it is compressed.
    pub codec: Codec,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.instance, self.segment)?;
        if self.suffix > 0 {
            write!(f, "-{}", self.suffix)?;
        }
        f.write_str(self.codec.extension())
    }
}

impl ObjectKey {
    /// The key of an object.
    pub fn new(
        prefix: &str,
        stream: &StreamName,
        book: Book,
        hour: Hour,
        (instance, segment): (InstanceId, SegmentId),
        codec: Codec,
    ) -> Self {
        let directory = Self::directory(prefix, stream, book, hour);
        Self { directory, name: format!("{instance}-{segment}"), suffix: 0, codec }
    }

    /// The key of the books' page of a segment's hour: gzip, whatever the objects are.
    pub fn page(prefix: &str, hour: Hour, (instance, segment): (InstanceId, SegmentId)) -> Self {
        let directory = format!("{prefix}{}{}/", ledger::SEGMENTS, hour.partition());
        let codec = Compression::FAST_GZIP.codec;
        Self { directory, name: format!("{instance}-{segment}"), suffix: 0, codec }
    }

    /// The key of the lines of `stream` and `hour` that the line sink called `sink` will never take, of a stretch that ends
    /// at `offset` of a segment: `{prefix}_undelivered/{sink}/{stream}/dt=…/hour=…/{instance}-{segment}-{offset}.ndjson.gz`.
    ///
    /// The same lines may stand in two such objects: after a crash they are read again, in stretches of another length.
    pub fn undelivered(
        prefix: &str,
        sink: &str,
        stream: &StreamName,
        hour: Hour,
        ((instance, segment), offset): ((InstanceId, SegmentId), u64),
    ) -> Self {
        let directory = format!("{prefix}{UNDELIVERED}{sink}/{stream}/{}/", hour.partition());
        let codec = Compression::FAST_GZIP.codec;
        Self { directory, name: format!("{instance}-{segment}-{offset}"), suffix: 0, codec }
    }

    /// The directory in which the objects of a stream, book and hour stand.
    pub fn directory(prefix: &str, stream: &StreamName, book: Book, hour: Hour) -> String {
        let book = match book {
            Book::Accepted => "",
            Book::Rejected => REJECTED,
        };
        format!("{prefix}{book}{stream}/{}/", hour.partition())
    }

    /// What an object's name, without its directory, tells; `None` if it is no name that this crate gives.
    pub fn parse_name(name: &str) -> Option<ObjectName> {
        let codec = Codec::ALL.into_iter().find(|codec| name.ends_with(codec.extension()))?;
        let mut parts = name.strip_suffix(codec.extension())?.split('-');
        let (instance, segment) = (InstanceId::parse(parts.next()?)?, SegmentId(parts.next()?.parse().ok()?));
        let suffix = parts.next().map_or(Some(0), |suffix| suffix.parse().ok())?;
        let parsed = ObjectName { instance, segment, suffix, codec };
        (parsed.to_string() == name).then_some(parsed)
    }

    /// Another key for the same object: the same but for a number at the end of the name.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { suffix: self.suffix + 1, ..self.clone() }
    }

    /// Which other key this is; 0 for the frozen one.
    pub fn suffix(&self) -> u32 {
        self.suffix
    }

    /// How the object is compressed.
    pub fn codec(&self) -> Codec {
        self.codec
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.directory)?;
        f.write_str(&self.name)?;
        if self.suffix > 0 {
            write!(f, "-{}", self.suffix)?;
        }
        f.write_str(self.codec.extension())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Millis;

    #[test]
    fn keys_are_hive_partitions_by_received_hour() {
        let stream = StreamName::new("heard").unwrap();
        let hour = Millis::new(1_795_338_000_123).unwrap().hour();
        let who = (InstanceId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap(), SegmentId(42));
        let key = ObjectKey::new("logs/", &stream, Book::Accepted, hour, who, Codec::Gzip);
        assert_eq!(key.to_string(), "logs/heard/dt=2026-11-22/hour=09/01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042.ndjson.gz");
        assert_eq!(
            ObjectKey::new("", &stream, Book::Rejected, hour, who, Codec::Zstd).another().to_string(),
            "_rejected/heard/dt=2026-11-22/hour=09/01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042-1.ndjson.zst"
        );
        assert_eq!(
            ObjectKey::page("logs/", hour, who).to_string(),
            "logs/_ledger/segments/dt=2026-11-22/hour=09/01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042.ndjson.gz"
        );
        assert_eq!(
            ObjectKey::undelivered("logs/", "firehose", &stream, hour, (who, 81_920)).to_string(),
            "logs/_undelivered/firehose/heard/dt=2026-11-22/hour=09/01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042-81920.ndjson.gz"
        );
    }

    #[test]
    fn a_name_tells_who_wrote_the_object_and_others_do_not() {
        let who = (InstanceId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap(), SegmentId(42));
        let stream = StreamName::new("heard").unwrap();
        for (suffix, codec) in [0, 1, 99].into_iter().flat_map(|suffix| Codec::ALL.map(|codec| (suffix, codec))) {
            let mut key = ObjectKey::new("", &stream, Book::Accepted, Millis::MAX.hour(), who, codec);
            key.suffix = suffix;
            let name = key.to_string().rsplit('/').next().unwrap().to_owned();
            let parsed = ObjectName { instance: who.0, segment: who.1, suffix, codec };
            assert_eq!(ObjectKey::parse_name(&name), Some(parsed), "{name}");
        }
        for other in [
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-42.ndjson.gz",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042-0.ndjson.gz",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042-1-1.ndjson.gz",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042.ndjson",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042.ndjson.zstd",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042.ndjson.gz.zst",
            "part-0000000042.ndjson.gz",
            "",
        ] {
            assert_eq!(ObjectKey::parse_name(other), None, "{other}");
        }
    }
}
