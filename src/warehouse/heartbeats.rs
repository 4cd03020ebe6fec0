//! The heartbeats of a place, found and read.

use crate::{
    batch::{Hour, InstanceId, Millis},
    ledger::{HEARTBEATS, Heartbeat, MAX_HEARTBEAT_BYTES},
    warehouse::place::{Place, PlaceError, Whole},
};

/// A process of an instance, by its start.
pub(super) type Process = (InstanceId, Millis);

/// What was found at a heartbeat's key.
#[derive(Debug)]
pub(super) enum Found {
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// Something else, or a heartbeat of a version that this one does not know.
    Unreadable,
    /// Nothing any more.
    Gone,
}

impl Found {
    /// The heartbeat, if it is one.
    pub(super) fn heartbeat(self) -> Option<Heartbeat> {
        match self {
            Self::Heartbeat(heartbeat) => Some(heartbeat),
            Self::Unreadable | Self::Gone => None,
        }
    }
}

/// The heartbeats of an hour, by process.
pub(super) async fn keys(place: &Place, hour: Hour) -> Result<Vec<(Process, String)>, PlaceError> {
    let directory = format!("{}{HEARTBEATS}{}/", place.prefix, hour.partition());
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = place.list(&directory, after).await?;
        let process = |key: &str| Heartbeat::parse_name(key.strip_prefix(&directory)?);
        found.extend(page.objects.into_iter().filter_map(|listed| Some((process(&listed.key)?, listed.key))));
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// What is at `key`.
pub(super) async fn read(place: &Place, key: &str) -> Result<Found, PlaceError> {
    let whole = place.read(key, || Whole { bytes: Vec::new(), most: MAX_HEARTBEAT_BYTES }).await?;
    Ok(match whole.map(|whole| Heartbeat::read(&whole.bytes)) {
        Some(Some(heartbeat)) => Found::Heartbeat(heartbeat),
        Some(None) => Found::Unreadable,
        None => Found::Gone,
    })
}

/// The hours from `first` on that have a directory of heartbeats, in their order.
pub(super) async fn hours(place: &Place, first: Hour) -> Result<Vec<Hour>, PlaceError> {
    let (first_day, _) = first.day_and_hour();
    let mut hours = Vec::new();
    for day in directories(place, "", "dt=").await?.into_iter().filter(|day| *day >= first_day) {
        let parent = format!("dt={day}/");
        let of_day = directories(place, &parent, "hour=").await?;
        hours.extend(of_day.iter().filter_map(|hour| Hour::parse(&day, hour)).filter(|hour| *hour >= first));
    }
    hours.sort_unstable();
    Ok(hours)
}

/// Whether there is or was any heartbeat that still has a directory.
pub(super) async fn are_any(place: &Place) -> Result<bool, PlaceError> {
    let page = place.list(&format!("{}{HEARTBEATS}", place.prefix), None).await?;
    Ok(!page.directories.is_empty())
}

/// The values of the directories in `parent` that are called `{name}{value}`.
async fn directories(place: &Place, parent: &str, name: &str) -> Result<Vec<String>, PlaceError> {
    let parent = format!("{}{HEARTBEATS}{parent}", place.prefix);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = place.list(&parent, after).await?;
        let value = |key: &String| Some(key.strip_prefix(&parent)?.strip_prefix(name)?.strip_suffix('/')?.to_owned());
        found.extend(page.directories.iter().filter_map(value));
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}
