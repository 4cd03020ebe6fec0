//! What the targets have in common that read the objects where they lie.

use std::fmt::Write;

use jiff::{ToSpan, civil::Date, tz::TimeZone};

use super::{Definitions, TargetError};
use crate::{
    schema::FieldType,
    sink::Codec,
    warehouse::{
        Table,
        table::{Column, literal, quoted},
    },
};

/// The columns that a reader of the lake makes of the keys: `…/dt=2026-11-22/hour=09/…`.
const PARTITIONS: [&str; 2] = ["dt", "hour"];
/// The day of the examples.
pub(super) const EXAMPLE: Date = jiff::civil::date(2026, 11, 22);

/// The streams' tables, of which none has a column in the place of a partition.
pub(super) fn tables(definitions: &Definitions) -> Result<&[Table], TargetError> {
    for table in &definitions.tables {
        if let Some(column) = table.columns.iter().find(|column| PARTITIONS.contains(&&*column.name)) {
            return Err(unsupported(table, column, "is what the keys' own dt= and hour= are called; rename the field"));
        }
    }
    Ok(&definitions.tables)
}

/// That `column` cannot be had.
pub(super) fn unsupported(table: &Table, column: &Column, why: &str) -> TargetError {
    TargetError::Unsupported { stream: table.stream.to_string(), column: column.name.to_string(), why: why.to_owned() }
}

/// Where the objects of `table` are, with a slash at the end.
pub(super) fn location(definitions: &Definitions, table: &Table) -> String {
    format!("{}{}{}/", definitions.objects.root, definitions.objects.prefix, table.stream)
}

/// Refuses objects that are not in S3.
pub(super) fn in_s3(definitions: &Definitions, target: &'static str) -> Result<(), TargetError> {
    let root = &definitions.objects.root;
    if root.starts_with("s3://") { Ok(()) } else { Err(TargetError::Elsewhere { target, root: root.clone() }) }
}

/// Refuses objects that are not gzip.
pub(super) fn is_gzip(definitions: &Definitions, target: &'static str, why: &'static str) -> Result<(), TargetError> {
    match definitions.objects.codec {
        Codec::Gzip => Ok(()),
        Codec::Zstd => Err(TargetError::Compressed { target, why }),
    }
}

/// Columns of JSON in any form, which a reader with fixed types cannot have.
pub(super) fn free_form(table: &Table) -> Vec<&str> {
    let json = |column: &&Column| matches!(column.kind, FieldType::Json { .. });
    table.columns.iter().filter(json).map(|column| &*column.name).collect()
}

/// A name that no column of `table` has.
pub(super) fn fresh(table: &Table, name: &str) -> String {
    let mut name = name.to_owned();
    while table.column(&name).is_some() {
        name.push('_');
    }
    name
}

/// The first and the last UTC date on which the analysts' `day` lies.
pub(super) fn utc_dates(timezone: &str, day: Date) -> [Date; 2] {
    let zone = TimeZone::get(timezone).unwrap_or(TimeZone::UTC);
    let midnight = |day: Date| zone.to_ambiguous_zoned(day.at(0, 0, 0, 0)).compatible().map(|at| at.timestamp());
    let utc = |at: jiff::Timestamp| at.to_zoned(TimeZone::UTC).date();
    let next = day.checked_add(1.day()).unwrap_or(day);
    match (midnight(day), midnight(next)) {
        (Ok(first), Ok(end)) => [utc(first), end.checked_sub(1.millisecond()).map_or(next, utc)],
        // Only at the ends of time.
        _ => [day, next],
    }
}

/// The SQL of rollups that a reader of the lake has.
pub(super) struct Dialect {
    /// The analysts' day of the column `event_time`.
    pub(super) day: fn(timezone: &str) -> String,
    /// Its hour, a timestamp without a zone.
    pub(super) hour: fn(timezone: &str) -> String,
    /// A column as text; `None` if the view has no such column.
    pub(super) text: fn(column: &Column) -> Option<String>,
    /// Now.
    pub(super) now: &'static str,
}

impl Dialect {
    /// Views of the names and columns of the warehouse's rollups, but for `is_complete` and `is_final`, which no object
    /// tells.
    pub(super) fn rollups(&self, definitions: &Definitions, out: &mut String) -> Result<(), TargetError> {
        let (day, hour) = ((self.day)(&definitions.timezone), (self.hour)(&definitions.timezone));
        for (every, column, expression) in [("daily", "day", &day), ("hourly", "hour", &hour)] {
            let mut active = Vec::new();
            let mut counts = Vec::new();
            for counted in &definitions.rollups {
                let Some(table) = definitions.tables.iter().find(|table| table.stream.as_str() == counted.stream)
                else {
                    continue;
                };
                let find = |name: &str| {
                    let found = table.column(name).and_then(|column| Some((column, (self.text)(column)?)));
                    found.ok_or_else(|| TargetError::Unsupported {
                        stream: counted.stream.clone(),
                        column: name.to_owned(),
                        why: "is counted by [rollups], and is no column here".to_owned(),
                    })
                };
                let (device, _) = find(&counted.device)?;
                let select = |dimension: &str, group: &str| {
                    format!(
                        "SELECT {stream} AS \"stream\",\n    {expression} AS \"{column}\",{dimension}\n    \
                         count(*) AS \"events\", count(DISTINCT {device}) AS \"devices\",\n    \
                         {now} AS \"counted_at\"\n\
                         FROM {from} GROUP BY {group}",
                        stream = literal(&counted.stream),
                        device = quoted(&device.name),
                        now = self.now,
                        from = definitions.names.of(&counted.stream),
                    )
                };
                active.push(select("", "2"));
                for dimension in &counted.dimensions {
                    let (_, text) = find(dimension)?;
                    let dimension = format!("\n    {} AS \"dimension\", {text} AS \"value\",", literal(dimension));
                    counts.push(select(&dimension, "2, 4"));
                }
            }
            for (of, arms) in [("active", active), ("counts", counts)] {
                if !arms.is_empty() {
                    let name = definitions.names.of(&format!("{every}_{of}"));
                    let _ = writeln!(out, "\nCREATE OR REPLACE VIEW {name} AS\n{};", arms.join("\nUNION ALL\n"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_another_zone_lies_on_two_dates_of_utc() {
        let dates = |zone| utc_dates(zone, EXAMPLE).map(|date| date.to_string());
        assert_eq!(dates("Asia/Seoul"), ["2026-11-21", "2026-11-22"]);
        assert_eq!(dates("America/New_York"), ["2026-11-22", "2026-11-23"]);
        assert_eq!(dates("UTC"), ["2026-11-22", "2026-11-22"]);
    }
}
