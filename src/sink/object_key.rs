//! Object keys.

use std::fmt;

use crate::batch::{Book, Hour, InstanceId, SegmentId, StreamName};

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
    extension: &'static str,
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
        let book = match book {
            Book::Accepted => "",
            Book::Rejected => "_rejected/",
        };
        Self {
            directory: format!("{prefix}{book}{stream}/{}/", hour.partition()),
            name: format!("{instance}-{segment}"),
            suffix: 0,
            extension: ".ndjson.gz",
        }
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
        f.write_str(self.extension)
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
    }
}
