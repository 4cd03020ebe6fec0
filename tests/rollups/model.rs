//! The same figures, counted in another way: event by event in memory, with the zones of jiff and by instants.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{DateTime, Time},
    tz::TimeZone,
};

/// An event, as far as figures see it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) at: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) device: Option<String>,
    /// The text of each dimension's value.
    pub(crate) values: Vec<Option<String>>,
}

/// What a row of a rollup says, but for when it was counted.
pub(crate) type Row = (u64, u64, bool, bool);
/// The rollup, the beginning of the day or hour, the dimension and the value.
pub(crate) type Key = (&'static str, DateTime, Option<(String, Option<String>)>);
pub(crate) type Rows = BTreeMap<Key, Row>;

/// What the figures are to be made with.
pub(crate) struct Model {
    pub(crate) zone: TimeZone,
    pub(crate) days: i64,
    pub(crate) dimensions: Vec<String>,
}

impl Model {
    /// The first instant after a day or an hour.
    fn end(&self, rollup: &str, at: DateTime) -> Timestamp {
        let next = if rollup.starts_with("daily") { at + 1.day() } else { at + 1.hour() };
        next.to_zoned(self.zone.clone()).unwrap().timestamp()
    }

    fn flags(&self, rollup: &str, at: DateTime, through: Option<Timestamp>) -> (bool, bool) {
        let end = self.end(rollup, at);
        let late = SignedDuration::from_hours((self.days - 1) * 24);
        (through.is_some_and(|through| through >= end), through.is_some_and(|through| through >= end + late))
    }

    /// All figures of `events`, if everything received before `through` is among them.
    pub(crate) fn rows<'a>(&self, events: impl IntoIterator<Item = &'a Event>, through: Option<Timestamp>) -> Rows {
        let mut counted: BTreeMap<Key, (u64, BTreeSet<&str>)> = BTreeMap::new();
        for event in events {
            let clock = event.at.to_zoned(self.zone.clone()).datetime();
            let day = clock.date().to_datetime(Time::midnight());
            let hour = clock.date().at(clock.hour(), 0, 0, 0);
            let mut keys: Vec<Key> = vec![("daily_active", day, None), ("hourly_active", hour, None)];
            for (dimension, value) in self.dimensions.iter().zip(&event.values) {
                keys.push(("daily_counts", day, Some((dimension.clone(), value.clone()))));
                keys.push(("hourly_counts", hour, Some((dimension.clone(), value.clone()))));
            }
            for key in keys {
                let (events, devices) = counted.entry(key).or_default();
                *events += 1;
                devices.extend(event.device.as_deref());
            }
        }
        let row = |(key, (events, devices)): (Key, (u64, BTreeSet<&str>))| {
            let (is_complete, is_final) = self.flags(key.0, key.1, through);
            (key, (events, devices.len() as u64, is_complete, is_final))
        };
        counted.into_iter().map(row).collect()
    }

    /// What stands after a refresh, where `stood` did: what was final by `before` stays, the rest is counted.
    pub(crate) fn refreshed(&self, stood: &Rows, mut counted: Rows, before: Option<Timestamp>) -> Rows {
        counted.retain(|key, _| !self.flags(key.0, key.1, before).1);
        let kept = stood.iter().filter(|(key, _)| self.flags(key.0, key.1, before).1);
        counted.extend(kept.map(|(key, row)| (key.clone(), *row)));
        counted
    }
}
