//! What is stored and not yet loaded.
//!
//! A stream's directories of days are listed first, so that only hours that exist are looked into. A day at a time is in
//! memory: some 200 bytes for each of its objects.
//!
//! An object is known by the page of the books that names it: how many lines it has, and their checksum. Only the pages
//! of the segments are read that have new objects. Of the pages of a segment the one with the highest suffix is right.
//! An object that no page names is *waiting*, for [`WAITING_MILLIS`] after the end of its hour: its page is put behind
//! it. After that, or if its page cannot be read, it is *unbooked*: it is named, not loaded, and holds back what is
//! complete, since it may hold events that the fleet was told are stored. What has a name that is none that this crate
//! gives is a *stranger*: it is named, not loaded, and holds back nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    batch::{Book, Hour, InstanceId, Millis, SegmentId, StreamName},
    ledger::{Entry, Line},
    sink::{Codec, Listed, ObjectKey, ObjectName},
    warehouse::{
        books,
        place::{Place, PlaceError},
    },
};

/// For how long after the end of its hour an object may be without a page, in milliseconds.
pub const WAITING_MILLIS: i64 = 3_600_000;
/// Hours of a day.
const HOURS_A_DAY: u32 = 24;

/// An object that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its whole key.
    pub key: String,
    /// The hour of its partition.
    pub hour: Hour,
    /// Its compressed length in bytes.
    pub bytes: u64,
    /// How many lines the books count in it.
    pub events: u64,
    /// CRC-32 of its uncompressed lines, by the books.
    pub crc32: u32,
}

impl Found {
    /// How it is compressed.
    pub fn codec(&self) -> Codec {
        Codec::of_key(&self.key)
    }
}

/// An object that is not loaded, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Its key, or that of a directory.
    pub key: String,
    /// Why it is none of the stream's objects.
    pub why: String,
}

/// An object that has a name as logweir gives them, and no page of the books that tells what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbooked {
    /// Its key.
    pub key: String,
    /// The hour of its partition.
    pub hour: Hour,
    /// What is to be said of it.
    pub why: String,
    /// The same for `held_back_by`.
    pub(super) held_back_by: &'static str,
}

/// What was found of a stream's day.
#[derive(Debug, Default)]
pub(super) struct Day {
    /// What can be loaded, oldest first.
    pub(super) new: Vec<Found>,
    /// The hours of objects that wait for their page.
    pub(super) waiting: Vec<Hour>,
    pub(super) unbooked: Vec<Unbooked>,
    pub(super) strangers: Vec<Stranger>,
}

/// The days of `stream` that have a directory, in their order, each by its first hour; and what else stands there.
pub(super) async fn days(place: &Place, stream: &StreamName) -> Result<(Vec<Hour>, Vec<Stranger>), PlaceError> {
    let directory = format!("{}{stream}/", place.prefix);
    let (mut days, mut strangers) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let page = place.list(&directory, after).await?;
        strangers.extend(page.objects.into_iter().map(|listed| stranger(listed.key)));
        for key in page.directories {
            let day = part(&key, &directory, "dt=").and_then(|day| Hour::parse(day, "00"));
            match day {
                Some(day) => days.push(day),
                None => strangers.push(stranger(key)),
            }
        }
        after = page.next;
        if after.is_none() {
            days.sort_unstable();
            return Ok((days, strangers));
        }
    }
}

fn stranger(key: String) -> Stranger {
    Stranger { key, why: "it stands where no object of the stream does".to_owned() }
}

/// What stands behind `name` in a directory's own name.
fn part<'k>(key: &'k str, directory: &str, name: &str) -> Option<&'k str> {
    key.strip_prefix(directory)?.strip_suffix('/')?.strip_prefix(name)
}

/// What is new in the hours of the day that begins with `day`, from `from` on. `known` are the objects of the day that
/// the ledger has and that are not to be loaded.
pub(super) async fn day(
    place: &Place,
    stream: &StreamName,
    (day, from): (Hour, Hour),
    known: &HashSet<String>,
    now: Millis,
) -> Result<Day, PlaceError> {
    let mut found = Day::default();
    let (date, _) = day.day_and_hour();
    let directory = format!("{}{stream}/dt={date}/", place.prefix);
    let mut hours = Vec::new();
    let mut after = None;
    loop {
        let page = place.list(&directory, after).await?;
        found.strangers.extend(page.objects.into_iter().map(|listed| stranger(listed.key)));
        for key in page.directories {
            match part(&key, &directory, "hour=").and_then(|hour| Hour::parse(&date, hour)) {
                Some(hour) if hour >= from => hours.push(hour),
                Some(_) => {}
                None => found.strangers.push(stranger(key)),
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    hours.sort_unstable();
    for hour in hours {
        found.hour(place, stream, hour, known, now).await?;
    }
    Ok(found)
}

/// The day of an hour, by its first hour, and that of the next day.
pub(super) fn day_of(hour: Hour) -> (Hour, Hour) {
    let first = hour.0 - hour.0 % HOURS_A_DAY;
    (Hour(first), Hour(first.saturating_add(HOURS_A_DAY)))
}

impl Day {
    async fn hour(
        &mut self,
        place: &Place,
        stream: &StreamName,
        hour: Hour,
        known: &HashSet<String>,
        now: Millis,
    ) -> Result<(), PlaceError> {
        let directory = ObjectKey::directory(&place.prefix, stream, Book::Accepted, hour);
        let mut new: Vec<(Listed, (InstanceId, SegmentId))> = Vec::new();
        let mut after = None;
        loop {
            let page = place.list(&directory, after).await?;
            self.strangers.extend(page.directories.into_iter().map(stranger));
            for listed in page.objects.into_iter().filter(|listed| !known.contains(&listed.key)) {
                match listed.key.strip_prefix(&directory).and_then(ObjectKey::parse_name) {
                    Some(ObjectName { instance, segment, .. }) => new.push((listed, (instance, segment))),
                    None => self
                        .strangers
                        .push(Stranger { key: listed.key, why: "its name is none that logweir gives".to_owned() }),
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let wanted = new.iter().map(|(_, who)| *who).collect();
        let (named, unreadable) = named(place, stream, hour, &wanted).await?;
        for (listed, who) in new {
            let Listed { key, bytes } = listed;
            match named.get(&who) {
                Some(entry) if entry.key == key => {
                    let Entry { events, crc32, .. } = *entry;
                    self.new.push(Found { key, hour, bytes, events, crc32 });
                }
                Some(entry) => {
                    let why = format!("the books say that what it holds is in {}", entry.key);
                    self.strangers.push(Stranger { key, why });
                }
                None => match unreadable.get(&who) {
                    Some(why) => {
                        let (why, held_back_by) = (why.clone(), "page unreadable");
                        self.unbooked.push(Unbooked { key, hour, why, held_back_by });
                    }
                    None if hour.next().start().saturating_add(WAITING_MILLIS) > now => self.waiting.push(hour),
                    None => {
                        let why = "no page of the books names it".to_owned();
                        self.unbooked.push(Unbooked { key, hour, why, held_back_by: "not in the books" });
                    }
                },
            }
        }
        Ok(())
    }
}

type Who = (InstanceId, SegmentId);

/// What the books of `hour` name of `stream` for the segments `wanted`; and for which of them a page cannot be read.
async fn named(
    place: &Place,
    stream: &StreamName,
    hour: Hour,
    wanted: &HashSet<Who>,
) -> Result<(HashMap<Who, Entry>, HashMap<Who, String>), PlaceError> {
    let mut pages: BTreeMap<Who, Vec<(u32, String)>> = BTreeMap::new();
    for listed in books::list(place, hour).await? {
        if let Some(ObjectName { instance, segment, suffix, .. }) = listed.name
            && wanted.contains(&(instance, segment))
        {
            pages.entry((instance, segment)).or_default().push((suffix, listed.key));
        }
    }
    let (mut named, mut unreadable) = (HashMap::new(), HashMap::new());
    for (who, mut pages) in pages {
        pages.sort_unstable();
        let Some((_, key)) = pages.pop() else { continue };
        match books::read(place, &key).await? {
            None => {}
            Some(Err(why)) => {
                unreadable.insert(who, format!("the page of the books that may name it, {key}, cannot be read: {why}"));
            }
            Some(Ok(lines)) => named.extend(lines.into_iter().filter_map(|line| match line {
                Line::Content(entry)
                    if entry.stream == *stream
                        && entry.book == Book::Accepted
                        && entry.hour == hour
                        && (entry.instance, entry.segment) == who =>
                {
                    Some((who, entry))
                }
                _ => None,
            })),
        }
    }
    Ok((named, unreadable))
}
