//! `[rollups]`: figures by day and hour, kept beside the events.

use serde::{Deserialize, Serialize};

use super::{
    connection::Connection,
    ordered::Ordered,
    report::Report,
    setting::Setting,
    streams::{DeclaredStream, FieldKind},
};
use crate::schema::Private;

/// Figures by day and hour of the analysts' clock: active devices, and events by what is asked for.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollups {
    /// The analysts' time zone, a name of the IANA database. Default `Asia/Seoul`.
    pub timezone: String,
    /// How many of the last days are counted anew each time, 1 to 90, as long as they are not final. Default 8: within 7
    /// days a client may still send an event.
    pub days: u32,
    /// The streams that are counted. Default none.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub streams: Ordered<Rollup>,
    /// A PostgreSQL that the figures are copied to, so that the warehouse can be paused. Default none.
    pub export: Connection,
}

/// What of a stream is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollup {
    /// The field that tells devices apart.
    pub device: String,
    /// The fields by whose values events and devices are counted, each by itself and named once, at most 16. Default
    /// none.
    pub dimensions: Vec<String>,
}

/// The most dimensions of a stream.
const MAX_DIMENSIONS: usize = 16;

impl Default for Rollups {
    fn default() -> Self {
        Self { timezone: "Asia/Seoul".to_owned(), days: 8, streams: Ordered::default(), export: Connection::default() }
    }
}

impl Rollups {
    pub(super) fn check(&self, declared: &Ordered<DeclaredStream>, report: &mut Report) {
        report.within("rollups.days", &self.days, &(1..=90));
        self.export.check(&"rollups.export".into(), report);
        if jiff::tz::TimeZone::get(&self.timezone).is_err() {
            report.wrong(
                "rollups.timezone",
                format!("is {:?}, which is no time zone that is known here", self.timezone),
                "name one of the IANA database, such as \"Asia/Seoul\" or \"UTC\"",
            );
        }
        for (name, rollup) in self.streams.iter() {
            let setting = Setting::from("rollups.streams").key(name);
            match declared.get(name) {
                Some(stream) => rollup.check(&setting, name, stream, report),
                None => report.between(
                    setting,
                    &["streams".into()],
                    "is no stream that is declared",
                    format!("add [streams.{name}] with its fields, or leave it out"),
                ),
            }
        }
    }
}

impl Rollup {
    fn check(&self, setting: &Setting, name: &str, stream: &DeclaredStream, report: &mut Report) {
        if self.dimensions.len() > MAX_DIMENSIONS {
            let many = self.dimensions.len();
            report.wrong(
                setting.clone().key("dimensions"),
                format!("has {many} fields, more than {MAX_DIMENSIONS}"),
                "choose those that are asked for",
            );
        }
        for (place, field) in self.dimensions.iter().enumerate() {
            // Each listing is counted, so all figures of a field that is listed twice would be there twice.
            if self.dimensions.iter().take(place).any(|before| before == field) {
                report.wrong(
                    setting.clone().key("dimensions").index(place),
                    format!("is {field:?} once more, which would be counted twice"),
                    "name each field once",
                );
            }
        }
        let device = (setting.clone().key("device"), &self.device);
        let dimension = |(place, field)| (setting.clone().key("dimensions").index(place), field);
        for (setting, field) in std::iter::once(device).chain(self.dimensions.iter().enumerate().map(dimension)) {
            let why = match stream.fields.get(field) {
                None => format!("is no declared field of {name}"),
                Some(declared) if declared.kind == FieldKind::Json => {
                    "is JSON, whose values are not told apart".to_owned()
                }
                Some(declared) if declared.private == Some(Private::Drop) => "is dropped, and has no column".to_owned(),
                Some(_) => continue,
            };
            report.between(
                setting,
                &[Setting::from("streams").key(name).key("fields")],
                format!("is {field:?}, which {why}"),
                "name a field that is declared, of another type than json, and not dropped",
            );
        }
    }
}
