//! A segment's footer: the facts of what it holds, and what each sink is to make of it, frozen when it is sealed.
//!
//! ```text
//! footer   0  8  magic "LWFOOTR\0"          tail, the last 32 bytes of the file
//!          8  8  segment                      0  8  magic "LWTAIL\0\0"
//!         16  4  length of the text           8  8  where the footer begins
//!         20  4  CRC-32 of the text          16  8  segment
//!         24  8  life of the file            24  4  life of the file, its lower half
//!         60  4  CRC-32 of the bytes before  28  4  CRC-32 of the bytes before
//!         64  …  the text: JSON
//! ```
//!
//! The footer begins at a block, the tail ends the file at one. Counts are of what is durable, so that the books
//! need no memory; what an object becomes does not depend on when, how often or by whom it is uploaded.
//!
//! A segment that was found damaged gets a second footer behind the first, which stays as it is: the last whole one
//! counts, so that a write that is torn leaves the one before.

use std::{collections::BTreeMap, io};

use crc32fast::{Hasher, hash as crc32};
use serde::{Deserialize, Serialize};

use super::{
    BLOCK_BYTES,
    disk::DiskFile,
    patient::read_again,
    segment::{FirstBlock, Life},
};
use crate::batch::{Book, FrameHeader, Hour, InstanceId, Millis, SegmentId, StreamName};

const MAGIC: [u8; 8] = *b"LWFOOTR\0";
const TAIL_MAGIC: [u8; 8] = *b"LWTAIL\0\0";
const HEADER_BYTES: usize = 64;
const TAIL_BYTES: usize = 32;
/// The version of the text.
const VERSION: u32 = 1;
/// How far before the end of a file its footer's tail is searched, in bytes: behind it there is at most a footer that
/// was torn.
const SEARCH_BYTES: u64 = 1024 * 1024;
/// The longest text that is read: 64 streams in two books and a few hours come to some 100 KB.
const MAX_TEXT_BYTES: u64 = 16 * 1024 * 1024;

/// What a sealed segment holds and becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    version: u32,
    instance: String,
    /// Which segment this is.
    pub segment: SegmentId,
    /// The file's life that this ends.
    #[serde(default)]
    pub(super) life: u64,
    /// How many groups it holds.
    pub groups: u64,
    /// Where the last group ends.
    pub data_end: u64,
    /// Places that cannot be read, as `[from, to)`: whole groups, whole frames, or the rest of a group behind a frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<(u64, u64)>,
    /// What it holds, by stream, book and hour.
    pub contents: Vec<Content>,
    /// What each sink is to make of it.
    pub destinations: Vec<Destination>,
}

/// The lines of one stream, book and hour in one segment: what becomes one object in each object sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    stream: String,
    book: String,
    hour: u32,
    /// How many lines.
    pub events: u64,
    /// Their length in bytes, line feeds included.
    pub bytes: u64,
    /// CRC-32 of these bytes, in the order of the segment.
    pub crc32: u32,
    first_received: i64,
    last_received: i64,
    first_event: i64,
    last_event: i64,
    /// What was counted before places of the segment went bad, the latest last; none if nothing was lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former: Vec<Former>,
}

/// What a content was before places of its segment went bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// How many lines.
    pub events: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// CRC-32 of these bytes.
    pub crc32: u32,
}

/// Where a sink puts its objects, and in which form. A segment's objects keep the destination that was configured when
/// it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The sink's name.
    pub sink: String,
    /// What the sink was, by the name in the configuration; empty in footers that were written before it was told.
    #[serde(default)]
    pub kind: String,
    /// The bucket, or the root directory.
    pub place: String,
    /// What stands before the stream in every key.
    pub prefix: String,
    /// The compression, by the name in `Content-Encoding`.
    pub codec: String,
    /// The compression's level.
    pub level: u32,
    /// The streams of which the sink makes objects; none for all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
}

impl Destination {
    /// Whether a sink that is now of `kind` can put objects there: a directory is no bucket.
    pub fn is_for(&self, kind: &str) -> bool {
        self.kind.is_empty() || self.kind == kind
    }

    /// Whether the sink makes an object of `content`.
    pub fn takes(&self, content: &Content) -> bool {
        self.streams.is_empty() || self.streams.contains(&content.stream)
    }
}

impl Footer {
    /// The instance that wrote the segment.
    pub fn instance(&self) -> Option<InstanceId> {
        InstanceId::parse(&self.instance)
    }

    /// Where the sink called `sink` is to put its objects; `None` if it was not configured then.
    pub fn destination(&self, sink: &str) -> Option<&Destination> {
        self.destinations.iter().find(|destination| destination.sink == sink)
    }

    /// The received time of the segment's last event.
    pub fn last_received(&self) -> Option<Millis> {
        self.contents.iter().filter_map(Content::last_received).max()
    }

    /// The received time of the segment's first event.
    pub fn first_received(&self) -> Option<Millis> {
        self.contents.iter().filter_map(Content::first_received).min()
    }

    /// Ends the segment's file with this footer, durably: from `at`, a block's beginning, on. The file is as long as is
    /// returned afterwards.
    pub(super) fn write(&self, file: &dyn DiskFile, at: u64) -> io::Result<u64> {
        let bytes = self.encode(at)?;
        let len = at + bytes.len() as u64;
        file.write_at(&[&bytes], at)?;
        file.set_len(len)?;
        file.sync()?;
        Ok(len)
    }

    /// The blocks that end the file, beginning at `at`.
    fn encode(&self, at: u64) -> io::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.segment.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&(text.len() as u32).to_le_bytes());
        bytes[20..24].copy_from_slice(&crc32(&text).to_le_bytes());
        bytes[24..32].copy_from_slice(&self.life.to_le_bytes());
        let sum = crc32(&bytes[..60]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&text);
        let end = (bytes.len() + TAIL_BYTES).next_multiple_of(BLOCK_BYTES);
        bytes.resize(end - TAIL_BYTES, 0);
        let tail = bytes.len();
        bytes.extend_from_slice(&TAIL_MAGIC);
        bytes.extend_from_slice(&at.to_le_bytes());
        bytes.extend_from_slice(&self.segment.0.to_le_bytes());
        bytes.extend_from_slice(&(self.life as u32).to_le_bytes());
        let sum = crc32(&bytes[tail..]);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Ok(bytes)
    }

    /// Reads the last whole footer of `segment`; `None` if there is none, or none of the file's present life.
    pub(super) fn read(file: &dyn DiskFile, segment: SegmentId) -> io::Result<Option<Self>> {
        Ok(Self::find(file, segment)?.map(|(footer, _)| footer))
    }

    /// Writes the footer of `segment` once more, durably, and cuts the file behind it; `None` if there is none.
    ///
    /// That it can be read does not mean that it is durable, nor that a sync would make it so: after a sync that failed
    /// the kernel goes on showing what it never wrote.
    pub(super) fn confirm(file: &dyn DiskFile, segment: SegmentId) -> io::Result<Option<(Self, u64)>> {
        let Some((footer, at)) = Self::find(file, segment)? else { return Ok(None) };
        let len = footer.write(file, at)?;
        Ok(Some((footer, len)))
    }

    fn find(file: &dyn DiskFile, segment: SegmentId) -> io::Result<Option<(Self, u64)>> {
        let life = match FirstBlock::of(file, segment) {
            Ok(FirstBlock::This(life, _)) => Some(life.0),
            // A damaged first block costs nothing: the footer tells everything itself.
            _ => None,
        };
        let end = file.len()? / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let mut at = end;
        while at > end.saturating_sub(SEARCH_BYTES) {
            // What cannot be read is no footer; there may be one before it.
            let tail_at = at - TAIL_BYTES as u64;
            let begin = read_tail(file, segment, tail_at).ok().flatten();
            let footer = begin.and_then(|begin| Self::read_at(file, segment, begin, tail_at).ok().flatten());
            if let Some((footer, begin)) = footer.zip(begin)
                && life.is_none_or(|life| life == footer.life)
            {
                return Ok(Some((footer, begin)));
            }
            at -= BLOCK_BYTES as u64;
        }
        Ok(None)
    }

    /// Reads the footer of `segment` that begins at `at`, and ends before `end`.
    fn read_at(file: &dyn DiskFile, segment: SegmentId, at: u64, end: u64) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_BYTES];
        read_again(file, &mut header, at)?;
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let sound = header[..8] == MAGIC
            && header[8..16] == segment.0.to_le_bytes()
            && number(60) == crc32(&header[..60])
            && u64::from(number(16)) <= end.saturating_sub(at).min(MAX_TEXT_BYTES);
        if !sound {
            return Ok(None);
        }
        let mut text = vec![0; number(16) as usize];
        let read = read_again(file, &mut text, at + HEADER_BYTES as u64)?;
        if read < text.len() || crc32(&text) != number(20) {
            return Ok(None);
        }
        let footer: Option<Self> = serde_json::from_slice(&text).ok();
        Ok(footer.filter(|footer| footer.version == VERSION && footer.segment == segment && footer.data_end <= at))
    }

    /// Keeps what `before`, the footer that this one replaces, has counted and this one does not.
    pub(super) fn remember(&mut self, before: &Self) {
        for old in &before.contents {
            let same = |new: &&mut Content| (&new.stream, &new.book, new.hour) == (&old.stream, &old.book, old.hour);
            let counted = Former { events: old.events, bytes: old.bytes, crc32: old.crc32 };
            if let Some(new) = self.contents.iter_mut().find(same) {
                new.former.clone_from(&old.former);
                if (new.events, new.bytes, new.crc32) != (old.events, old.bytes, old.crc32) {
                    new.former.push(counted);
                }
            } else {
                let former = old.former.iter().copied().chain([counted]).collect();
                self.contents.push(Content { events: 0, bytes: 0, crc32: 0, former, ..old.clone() });
            }
        }
    }
}

/// Where the footer begins whose tail stands at `at`, if one does.
fn read_tail(file: &dyn DiskFile, segment: SegmentId, at: u64) -> io::Result<Option<u64>> {
    let mut tail = [0; TAIL_BYTES];
    read_again(file, &mut tail, at)?;
    let word = |at: usize| tail[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    let sound = tail[..8] == TAIL_MAGIC && word(16) == segment.0 && tail[28..] == crc32(&tail[..28]).to_le_bytes();
    Ok(sound.then(|| word(8)))
}

impl Content {
    /// The stream.
    pub fn stream(&self) -> Option<StreamName> {
        StreamName::new(&self.stream).ok()
    }

    /// The book.
    pub fn book(&self) -> Option<Book> {
        [Book::Accepted, Book::Rejected].into_iter().find(|book| book.as_str() == self.book)
    }

    /// The received hour.
    pub fn hour(&self) -> Hour {
        Hour(self.hour)
    }

    /// The received time of the first batch.
    pub fn first_received(&self) -> Option<Millis> {
        Millis::new(self.first_received)
    }

    /// The received time of the last batch.
    pub fn last_received(&self) -> Option<Millis> {
        Millis::new(self.last_received)
    }

    /// The earliest event time.
    pub fn first_event(&self) -> Option<Millis> {
        Millis::new(self.first_event)
    }

    /// The latest event time.
    pub fn last_event(&self) -> Option<Millis> {
        Millis::new(self.last_event)
    }

    /// What was counted before places of the segment went bad, the latest last.
    pub fn former(&self) -> &[Former] {
        &self.former
    }

    /// How many lines went bad.
    pub fn lost_events(&self) -> u64 {
        self.former.first().map_or(0, |former| former.events.saturating_sub(self.events))
    }

    /// Whether the lines of a frame belong here.
    pub fn holds(&self, frame: &FrameHeader) -> bool {
        frame.hour.0 == self.hour && frame.stream.as_str() == self.stream && frame.book.as_str() == self.book
    }
}

/// The facts of a segment that is being written, or scanned.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) groups: u64,
    pub(super) gaps: Vec<(u64, u64)>,
    contents: BTreeMap<(StreamName, Book, Hour), Tally>,
}

#[derive(Debug, Clone)]
struct Tally {
    events: u64,
    bytes: u64,
    sum: Hasher,
    received: (Millis, Millis),
    event: (Millis, Millis),
}

impl Facts {
    /// Counts a frame that is durable.
    pub(super) fn add(&mut self, frame: &FrameHeader, payload: &[u8]) {
        let tally = self.contents.entry((frame.stream.clone(), frame.book, frame.hour)).or_insert_with(|| Tally {
            events: 0,
            bytes: 0,
            sum: Hasher::new(),
            received: (frame.received, frame.received),
            event: (frame.first_event, frame.last_event),
        });
        tally.events += u64::from(frame.events);
        tally.bytes += u64::from(frame.payload_len);
        tally.sum.update(payload);
        tally.received = (tally.received.0.min(frame.received), tally.received.1.max(frame.received));
        tally.event = (tally.event.0.min(frame.first_event), tally.event.1.max(frame.last_event));
    }

    /// The length of the longest content's lines, of those that one of `destinations` makes objects of; of all of them
    /// without destinations.
    pub(super) fn longest(&self, destinations: &[Destination]) -> u64 {
        let takes = |stream: &StreamName| {
            let of = |it: &Destination| it.streams.is_empty() || it.streams.iter().any(|it| it == stream.as_str());
            destinations.is_empty() || destinations.iter().any(of)
        };
        let wanted = self.contents.iter().filter(|((stream, ..), _)| takes(stream));
        wanted.map(|(_, tally)| tally.bytes).max().unwrap_or_default()
    }

    /// The received time of the first event.
    pub(super) fn first_received(&self) -> Option<Millis> {
        self.contents.values().map(|tally| tally.received.0).min()
    }

    /// The footer of `segment`, whose groups end at `data_end`.
    pub(super) fn footer(
        &self,
        instance: InstanceId,
        (segment, life): (SegmentId, Life),
        data_end: u64,
        destinations: &[Destination],
    ) -> Footer {
        let contents = self.contents.iter().map(|((stream, book, hour), tally)| Content {
            stream: stream.as_str().into(),
            book: book.as_str().into(),
            hour: hour.0,
            events: tally.events,
            bytes: tally.bytes,
            crc32: tally.sum.clone().finalize(),
            first_received: tally.received.0.get(),
            last_received: tally.received.1.get(),
            first_event: tally.event.0.get(),
            last_event: tally.event.1.get(),
            former: Vec::new(),
        });
        Footer {
            version: VERSION,
            instance: instance.to_string(),
            segment,
            life: life.0,
            groups: self.groups,
            data_end,
            gaps: self.gaps.clone(),
            contents: contents.collect(),
            destinations: destinations.to_vec(),
        }
    }
}
