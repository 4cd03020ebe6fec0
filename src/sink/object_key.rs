//! Object keys.

use std::fmt;

use crate::{
    batch::{Book, Hour, InstanceId, SegmentId, StreamName},
    ledger,
};

/// How the name of every object ends.
const EXTENSION: &str = ".ndjson.gz";
/// The directory of the rejected events, behind the prefix.
pub const REJECTED: &str = "_rejected/";
/// The directory of the lines that a line sink will never take, behind the prefix.
pub const UNDELIVERED: &str = "_undelivered/";

/// The name of an object in its store.
///
/// `{prefix}{stream}/dt=2026-11-22/hour=09/{instance}-{segment}.ndjson.gz`, by received time in UTC; rejected events
/// under `{prefix}_rejected/{stream}/…`. An instance, a segment, a stream and an hour have one object, so the key says
/// who wrote it, and nobody else ever writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    directory: String,
    name: String,
    /// Which other key this is, if the first was taken by something else.
    suffix: u32,
}

impl ObjectKey {
    /// The key of an object.
    pub fn new(
        prefix: &str,
        stream: &StreamName,
        book: Book,
        hour: Hour,
        (instance, segment): (InstanceId, SegmentId),
    ) -> Self {
        let directory = Self::directory(prefix, stream, book, hour);
        Self { directory, name: format!("{instance}-{segment}"), suffix: 0 }
    }

    /// The key of the books' page of a segment's hour.
    pub fn page(prefix: &str, hour: Hour, (instance, segment): (InstanceId, SegmentId)) -> Self {
        let directory = format!("{prefix}{}{}/", ledger::SEGMENTS, hour.partition());
        Self { directory, name: format!("{instance}-{segment}"), suffix: 0 }
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
        Self { directory, name: format!("{instance}-{segment}-{offset}"), suffix: 0 }
    }

    /// The directory in which the objects of a stream, book and hour stand.
    pub fn directory(prefix: &str, stream: &StreamName, book: Book, hour: Hour) -> String {
        let book = match book {
            Book::Accepted => "",
            Book::Rejected => REJECTED,
        };
        format!("{prefix}{book}{stream}/{}/", hour.partition())
    }

    /// An object's name, without its directory.
    pub fn name((instance, segment): (InstanceId, SegmentId), suffix: u32) -> String {
        Self { directory: String::new(), name: format!("{instance}-{segment}"), suffix }.to_string()
    }

    /// The instance, the segment and the suffix that an object's name tells, without its directory; `None` if it is no
    /// name that this crate gives.
    pub fn parse_name(name: &str) -> Option<(InstanceId, SegmentId, u32)> {
        let mut parts = name.strip_suffix(EXTENSION)?.split('-');
        let (instance, segment) = (InstanceId::parse(parts.next()?)?, SegmentId(parts.next()?.parse().ok()?));
        let suffix = parts.next().map_or(Some(0), |suffix| suffix.parse().ok())?;
        (Self::name((instance, segment), suffix) == name).then_some((instance, segment, suffix))
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
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.directory)?;
        f.write_str(&self.name)?;
        if self.suffix > 0 {
            write!(f, "-{}", self.suffix)?;
        }
        f.write_str(EXTENSION)
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
        let key = ObjectKey::new("logs/", &stream, Book::Accepted, hour, who);
        assert_eq!(key.to_string(), "logs/heard/dt=2026-11-22/hour=09/01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042.ndjson.gz");
        assert_eq!(
            ObjectKey::new("", &stream, Book::Rejected, hour, who).another().to_string(),
            "_rejected/heard/dt=2026-11-22/hour=09/01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042-1.ndjson.gz"
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
        for suffix in [0, 1, 99] {
            let mut key = ObjectKey::page("", Millis::MAX.hour(), who);
            key.suffix = suffix;
            let name = key.to_string().rsplit('/').next().unwrap().to_owned();
            assert_eq!(ObjectKey::parse_name(&name), Some((who.0, who.1, suffix)), "{name}");
        }
        for other in [
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-42.ndjson.gz",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042-0.ndjson.gz",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042-1-1.ndjson.gz",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV-0000000042.ndjson",
            "part-0000000042.ndjson.gz",
            "",
        ] {
            assert_eq!(ObjectKey::parse_name(other), None, "{other}");
        }
    }
}
