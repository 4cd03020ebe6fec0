//! The books of one hour.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    AuditError,
    report::{Kind, Report},
};
use crate::{
    batch::{Book, Hour, InstanceId, SegmentId, StreamName},
    ledger::{Damage, Entry, Line},
    sink::{Codec, ObjectKey, ObjectName},
    warehouse::{books, member::Counted, place::Place},
};

/// The objects of one stream and hour that the books name, in both books.
pub(super) type StreamBooks = BTreeMap<Book, Named>;
/// The objects of one stream, book and hour that the books name.
pub(super) type Named = BTreeMap<(InstanceId, SegmentId), Expected>;

/// An object as the books tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// The suffix of its key.
    pub(super) suffix: u32,
    /// How it is compressed, by its key.
    pub(super) codec: Codec,
    pub(super) content: Counted,
    /// The suffix of the page that tells it: the highest is right.
    page: u32,
}

/// The books of one hour.
#[derive(Debug, Default)]
pub(super) struct Books(BTreeMap<StreamName, StreamBooks>);

impl Books {
    /// Reads every page of `hour`.
    pub(super) async fn read(place: &Arc<Place>, hour: Hour, report: &mut Report<'_>) -> Result<Self, AuditError> {
        let mut books = Self::default();
        for listed in books::list(place, hour).await? {
            let Some(lines) = books::read(place, &listed.key).await? else { continue };
            match (listed.name, lines) {
                (Some(ObjectName { suffix, .. }), Ok(lines)) => {
                    for line in lines {
                        books.add(place, hour, line, suffix, report);
                    }
                }
                (None, _) => report.differs(Kind::BadPage, listed.key, "its name is none of a page"),
                (_, Err(why)) => report.differs(Kind::BadPage, listed.key, why),
            }
        }
        Ok(books)
    }

    fn add(&mut self, place: &Place, hour: Hour, line: Line, page: u32, report: &mut Report<'_>) {
        let entry = match line {
            Line::Content(entry) => entry,
            Line::Damage(Damage { instance, segment, places, bytes }) => {
                let why = format!("{places} places of {bytes} bytes could not be read");
                return report.differs(Kind::Damaged, format!("segment {segment} of {instance}"), why);
            }
        };
        let Entry { instance, segment, stream, book, events, bytes, crc32, key, .. } = entry;
        let directory = ObjectKey::directory(&place.prefix, &stream, book, hour);
        let name = key.strip_prefix(&directory).and_then(ObjectKey::parse_name);
        let is_its_own = |name: &ObjectName| (name.instance, name.segment) == (instance, segment);
        let Some(ObjectName { suffix, codec, .. }) = name.filter(is_its_own) else {
            return report.differs(Kind::BadPage, key, "a page of another instance, segment or hour names it");
        };
        let expected = Expected { suffix, codec, content: Counted { events, bytes, crc32 }, page };
        let named = self.0.entry(stream).or_default().entry(book).or_default();
        let known = named.entry((instance, segment)).or_insert(expected);
        if known.page < page {
            *known = expected;
        }
    }

    /// Adds what has a directory, and may have objects that no page names; and streams of which events were counted.
    pub(super) fn add_streams(
        &mut self,
        directories: &BTreeSet<(StreamName, Book)>,
        counted: impl Iterator<Item = StreamName>,
    ) {
        for (stream, book) in directories {
            self.0.entry(stream.clone()).or_default().entry(*book).or_default();
        }
        for stream in counted {
            self.0.entry(stream).or_default();
        }
    }

    /// What the books name: by instance, stream and book, so many events.
    pub(super) fn events(&self) -> impl Iterator<Item = (InstanceId, &StreamName, Book, u64)> {
        self.0.iter().flat_map(|(stream, books)| {
            books.iter().flat_map(move |(book, named)| {
                named.iter().map(move |((instance, _), expected)| (*instance, stream, *book, expected.content.events))
            })
        })
    }

    pub(super) fn into_streams(self) -> impl Iterator<Item = (StreamName, StreamBooks)> {
        self.0.into_iter()
    }
}
