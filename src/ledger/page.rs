//! A page of the books: what one segment became in one hour.

use serde::{Deserialize, Serialize};

use super::FORMAT_VERSION;
use crate::{
    batch::{Book, Hour, InstanceId, Millis, SegmentId, StreamName},
    spool::{Content, Footer},
};

/// The lines of one segment and hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The hour.
    pub hour: Hour,
    /// How many lines.
    pub lines: u64,
    /// The lines, each with its line feed.
    pub text: Vec<u8>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An object.
    Content(Entry),
    /// What of the segment could not be read.
    Damage(Damage),
}

/// An object as the books tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who stored it.
    pub instance: InstanceId,
    /// From which segment.
    pub segment: SegmentId,
    /// The stream of its events.
    pub stream: StreamName,
    /// Whether they were accepted or rejected.
    pub book: Book,
    /// The hour in which they were received.
    pub hour: Hour,
    /// How many lines.
    pub events: u64,
    /// Their uncompressed length in bytes.
    pub bytes: u64,
    /// CRC-32 of the uncompressed bytes.
    pub crc32: u32,
    /// The whole key.
    pub key: String,
}

/// What of a segment could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Whose segment.
    pub instance: InstanceId,
    /// Which segment.
    pub segment: SegmentId,
    /// How many places.
    pub places: u64,
    /// Their length in bytes.
    pub bytes: u64,
}

/// A line as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Written {
    Content {
        format: u32,
        instance: String,
        segment: SegmentId,
        stream: String,
        book: String,
        dt: String,
        hour: String,
        events: u64,
        bytes: u64,
        crc32: String,
        first_received: Option<String>,
        last_received: Option<String>,
        first_event: Option<String>,
        last_event: Option<String>,
        key: String,
    },
    Damage {
        format: u32,
        instance: String,
        segment: SegmentId,
        dt: String,
        hour: String,
        places: u64,
        bytes: u64,
    },
}

impl Page {
    /// The hours that the segment of `footer` has pages for.
    pub fn hours(footer: &Footer) -> Vec<Hour> {
        let mut hours: Vec<Hour> = footer.contents.iter().map(Content::hour).collect();
        hours.sort_unstable();
        hours.dedup();
        hours
    }

    /// The page of `hour` of the segment of `footer`, whose contents were stored at `keys`, in their order. A content whose
    /// key is empty has no object.
    ///
    /// It depends on nothing else, so that the same segment always gives the same page.
    pub fn new(footer: &Footer, keys: &[String], hour: Hour) -> Self {
        let mut page = Self { hour, lines: 0, text: Vec::new() };
        let instance = footer.instance().map(|instance| instance.to_string()).unwrap_or_default();
        let (dt, of_day) = hour.day_and_hour();
        let stored = |(content, key): &(&Content, &String)| content.hour() == hour && !key.is_empty();
        for (content, key) in footer.contents.iter().zip(keys).filter(stored) {
            let text = |instant: Option<Millis>| instant.map(|instant| instant.to_string());
            page.add(&Written::Content {
                format: FORMAT_VERSION,
                instance: instance.clone(),
                segment: footer.segment,
                stream: content.stream().map(|stream| stream.to_string()).unwrap_or_default(),
                book: content.book().map(Book::as_str).unwrap_or_default().into(),
                dt: dt.clone(),
                hour: of_day.clone(),
                events: content.events,
                bytes: content.bytes,
                crc32: format!("{:08x}", content.crc32),
                first_received: text(content.first_received()),
                last_received: text(content.last_received()),
                first_event: text(content.first_event()),
                last_event: text(content.last_event()),
                key: key.clone(),
            });
        }
        if !footer.gaps.is_empty() && Self::hours(footer).first() == Some(&hour) {
            page.add(&Written::Damage {
                format: FORMAT_VERSION,
                instance,
                segment: footer.segment,
                dt,
                hour: of_day,
                places: footer.gaps.len() as u64,
                bytes: footer.gaps.iter().map(|(from, to)| to.saturating_sub(*from)).sum(),
            });
        }
        page
    }

    fn add(&mut self, line: &Written) {
        // Strings and numbers always have a form in JSON.
        if serde_json::to_writer(&mut self.text, line).is_ok() {
            self.text.push(b'\n');
            self.lines += 1;
        }
    }
}

impl Line {
    /// Reads a line; `None` if it is none, or of a version that this one does not know.
    pub fn read(line: &[u8]) -> Option<Self> {
        match serde_json::from_slice(line).ok()? {
            Written::Content {
                format: FORMAT_VERSION,
                instance,
                segment,
                stream,
                book,
                dt,
                hour,
                events,
                bytes,
                crc32,
                key,
                ..
            } => Some(Self::Content(Entry {
                instance: InstanceId::parse(&instance)?,
                segment,
                stream: StreamName::new(&stream).ok()?,
                book: [Book::Accepted, Book::Rejected].into_iter().find(|known| known.as_str() == book)?,
                hour: Hour::parse(&dt, &hour)?,
                events,
                bytes,
                crc32: u32::from_str_radix(&crc32, 16).ok()?,
                key,
            })),
            Written::Damage { format: FORMAT_VERSION, instance, segment, places, bytes, .. } => {
                Some(Self::Damage(Damage { instance: InstanceId::parse(&instance)?, segment, places, bytes }))
            }
            Written::Content { .. } | Written::Damage { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    /// 2026-11-22T09.
    const HOUR: u32 = 1_795_338_000 / 3_600;

    fn footer(gaps: &str) -> Footer {
        let content = |stream: &str, book: &str, hour: u32| {
            let (first, last) = (1_795_338_000_123_i64, 1_795_338_001_000_i64);
            format!(
                "{{\"stream\":\"{stream}\",\"book\":\"{book}\",\"hour\":{hour},\"events\":2,\"bytes\":34,\"crc32\":11,\
                 \"first_received\":{first},\"last_received\":{last},\"first_event\":{first},\"last_event\":{last}}}"
            )
        };
        let contents = [
            content("heard", "accepted", HOUR),
            content("heard", "accepted", HOUR + 1),
            content("heard", "rejected", HOUR),
        ];
        let text = format!(
            "{{\"version\":1,\"instance\":\"{INSTANCE}\",\"segment\":42,\"groups\":1,\"data_end\":8192,{gaps}\
             \"contents\":[{}],\"destinations\":[]}}",
            contents.join(",")
        );
        serde_json::from_str(&text).unwrap()
    }

    fn keys() -> Vec<String> {
        ["a", "b", "c-1"].map(String::from).to_vec()
    }

    #[test]
    fn a_page_has_a_line_for_each_object_of_its_hour_that_reads_as_it_is_documented() {
        let footer = footer("");
        assert_eq!(Page::hours(&footer), [Hour(HOUR), Hour(HOUR + 1)]);
        let page = Page::new(&footer, &keys(), Hour(HOUR));
        let text = String::from_utf8(page.text.clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "{\"kind\":\"content\",\"format\":1,\"instance\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"segment\":42,\
             \"stream\":\"heard\",\"book\":\"accepted\",\"dt\":\"2026-11-22\",\"hour\":\"09\",\"events\":2,\"bytes\":34,\
             \"crc32\":\"0000000b\",\"first_received\":\"2026-11-22T09:00:00.123Z\",\
             \"last_received\":\"2026-11-22T09:00:01.000Z\",\"first_event\":\"2026-11-22T09:00:00.123Z\",\
             \"last_event\":\"2026-11-22T09:00:01.000Z\",\"key\":\"a\"}"
        );
        assert_eq!((lines.len(), page.lines), (2, 2));
        let Some(Line::Content(entry)) = Line::read(lines[1].as_bytes()) else { panic!("{text}") };
        assert_eq!((entry.book, entry.hour, entry.key.as_str()), (Book::Rejected, Hour(HOUR), "c-1"));
        assert_eq!((entry.events, entry.bytes, entry.crc32), (2, 34, 11));
        assert_eq!(page, Page::new(&footer, &keys(), Hour(HOUR)), "a page depends on the segment alone");
    }

    #[test]
    fn damage_has_a_line_on_the_first_page_only() {
        let footer = footer("\"gaps\":[[4096,8192],[12288,20480]],");
        let first = Page::new(&footer, &keys(), Hour(HOUR));
        let second = Page::new(&footer, &keys(), Hour(HOUR + 1));
        let last = first.text.split(|byte| *byte == b'\n').nth(2).unwrap();
        let damage = Damage {
            instance: InstanceId::parse(INSTANCE).unwrap(),
            segment: SegmentId(42),
            places: 2,
            bytes: 4_096 + 8_192,
        };
        assert_eq!(Line::read(last), Some(Line::Damage(damage)));
        assert_eq!((first.lines, second.lines), (3, 1));
    }

    #[test]
    fn what_is_no_line_of_this_version_is_not_read() {
        let page = Page::new(&footer(""), &keys(), Hour(HOUR));
        let line = String::from_utf8(page.text.split(|byte| *byte == b'\n').next().unwrap().to_vec()).unwrap();
        for broken in [
            String::new(),
            "{}".into(),
            line.replace("\"format\":1", "\"format\":2"),
            line.replace("accepted", "other"),
            line.replace("0000000b", "x"),
            line.replace("\"hour\":\"09\"", "\"hour\":\"24\""),
            line[..line.len() - 1].into(),
        ] {
            assert_eq!(Line::read(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn the_longest_line_fits_its_limit() {
        let line = Written::Content {
            format: FORMAT_VERSION,
            instance: INSTANCE.into(),
            segment: SegmentId(u64::MAX),
            stream: "s".repeat(StreamName::MAX_BYTES),
            book: "accepted".into(),
            dt: "2026-11-22".into(),
            hour: "09".into(),
            events: u64::MAX,
            bytes: u64::MAX,
            crc32: "ffffffff".into(),
            first_received: Some(Millis::MAX.to_string()),
            last_received: Some(Millis::MAX.to_string()),
            first_event: Some(Millis::MAX.to_string()),
            last_event: Some(Millis::MAX.to_string()),
            key: "k".repeat(1024),
        };
        assert!(serde_json::to_vec(&line).unwrap().len() < super::super::MAX_LINE_BYTES);
    }
}
