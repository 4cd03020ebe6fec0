//! Amazon Athena: tables over the objects, views that parse and dedupe, and rollups as views.
//!
//! Modelled from the documentation, executed nowhere: [`CREATE TABLE`], [Hive JSON `SerDe`], [partition projection],
//! [`CREATE VIEW`], [`DROP TABLE`]. Engine version 3 reads gzip and zstd in one table, by how the objects' names end
//! ([compression]). A table that is there is dropped first, since it would keep the columns that it has;
//! its objects stay, and its partitions are projected.
//!
//! The `SerDe` reads a value by the type of its column, and a column of text takes a scalar only: of an object or a list
//! the engine says "value must be a scalar json value" and fails the query ([Trino's reader of the same tables]). A
//! column of JSON in any form is therefore no column of the table. A second table has each line as one text, and
//! `json_extract` reads it there.
//!
//! [`CREATE TABLE`]: https://docs.aws.amazon.com/athena/latest/ug/create-table.html
//! [Hive JSON `SerDe`]: https://docs.aws.amazon.com/athena/latest/ug/hive-json-serde.html
//! [partition projection]: https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
//! [`CREATE VIEW`]: https://docs.aws.amazon.com/athena/latest/ug/create-view.html
//! [`DROP TABLE`]: https://docs.aws.amazon.com/athena/latest/ug/drop-table.html
//! [compression]: https://docs.aws.amazon.com/athena/latest/ug/compression-support-hive.html
//! [Trino's reader of the same tables]: https://github.com/trinodb/trino/tree/master/lib/trino-hive-formats

use std::fmt::Write;

use super::{Definitions, TargetError, lake};
use crate::{
    schema::FieldType,
    warehouse::{
        Table,
        table::{Column, back_quoted, literal, quoted},
    },
};

/// The first date that a partition is looked for: no object is older.
const FIRST_DATE: &str = "2026-01-01";

const HEAD: &str = "\
-- Amazon Athena, engine version 3. Run each statement by itself.
-- Grammar: https://docs.aws.amazon.com/athena/latest/ug/create-table.html
--   https://docs.aws.amazon.com/athena/latest/ug/hive-json-serde.html
--   https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
--   https://docs.aws.amazon.com/athena/latest/ug/create-view.html
--   https://docs.aws.amazon.com/athena/latest/ug/drop-table.html
--
-- Running it again takes over what has changed. An external table is a description alone: to drop it deletes no object.
--
-- {stream}_objects is what is stored. Its partitions are projected: none has to be added. They are the date and the
-- hour at which the server received an event, in UTC. A query that names dt there reads no other partition.
-- {stream} has its times and numbers parsed (times are UTC without a zone, a UUID stays text), and each event once: of
-- its copies the one received first. Copies may lie in any two partitions, and no engine looks for them in those that a
-- query has excluded: so a query of {stream} reads all partitions, whatever it asks for. One that shall read a few names
-- them in {stream}_objects and counts each event_id once, as the example behind each view does.
";

/// The statements.
///
/// # Errors
/// [`TargetError::Elsewhere`] if the objects are not in S3; [`TargetError::Unsupported`] for a column called as a
/// partition is, or a rollup by JSON.
pub fn write(definitions: &Definitions) -> Result<String, TargetError> {
    lake::in_s3(definitions, "Athena")?;
    let mut out = HEAD.to_owned();
    let schema = back_quoted(definitions.names.schema());
    let _ = writeln!(out, "\nCREATE DATABASE IF NOT EXISTS {schema};");
    for table in lake::tables(definitions)? {
        objects(definitions, table, &mut out);
        lines(definitions, table, &mut out);
        view(definitions, table, &mut out);
        example(definitions, table, &mut out);
    }
    if !definitions.rollups.is_empty() {
        out.push_str(ROLLUPS);
        DIALECT.rollups(definitions, &mut out)?;
    }
    Ok(out)
}

const ROLLUPS: &str = "
-- Figures by day and hour of the analysts' clock, as the warehouse's rollups have them, without is_complete and
-- is_final: whether everything that was received is here is told by heartbeats, which no object has. `logweir audit`
-- tells it. Each view reads all partitions of its streams.
";

const DIALECT: lake::Dialect = lake::Dialect {
    day: |timezone| format!("CAST({} AS date)", local(timezone)),
    hour: |timezone| format!("date_trunc('hour', CAST({} AS timestamp))", local(timezone)),
    text: |column| {
        let name = quoted(&column.name);
        match column.kind {
            FieldType::Json { .. } => None,
            FieldType::String { .. } | FieldType::Uuid => Some(name.to_string()),
            _ => Some(format!("CAST({name} AS varchar)")),
        }
    },
    now: "CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp)",
};

/// The analysts' clock at the view's `event_time`.
fn local(timezone: &str) -> String {
    format!("at_timezone(with_timezone(\"event_time\", 'UTC'), {})", literal(timezone))
}

/// The external table.
fn objects(definitions: &Definitions, table: &Table, out: &mut String) {
    let json = lake::free_form(table);
    let columns = table.columns.iter().filter(|column| !json.contains(&&*column.name));
    let columns: Vec<_> =
        columns.map(|column| format!("    {} {}", back_quoted(&column.name), stored_type(column))).collect();
    if !json.is_empty() {
        let _ = write!(
            out,
            "\n-- {} may be any JSON, which the SerDe cannot read as text: not here, but in the next table.",
            json.join(", ")
        );
    }
    let name = format!("{}_objects", table.stream);
    external(definitions, table, &name, &columns.join(",\n"), JSON_FORMAT, out);
}

const JSON_FORMAT: &str = "ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'\nSTORED AS TEXTFILE";
/// A control character stands in no line: JSON has it escaped. So a line is one field.
const LINE_FORMAT: &str =
    "ROW FORMAT DELIMITED FIELDS TERMINATED BY '\\001' LINES TERMINATED BY '\\n'\nSTORED AS TEXTFILE";

/// A table of whole lines, for the columns of JSON.
fn lines(definitions: &Definitions, table: &Table, out: &mut String) {
    let json = lake::free_form(table);
    let Some(first) = json.first() else { return };
    let name = format!("{}_objects_lines", table.stream);
    external(definitions, table, &name, "    `line` string", LINE_FORMAT, out);
    let [since, until] = lake::utc_dates(&definitions.timezone, lake::EXAMPLE);
    let _ = writeln!(
        out,
        "-- SELECT json_extract_scalar(\"line\", '$.event_id'), json_extract(\"line\", '$.{first}')\n\
         -- FROM {} WHERE \"dt\" BETWEEN '{since}' AND '{until}';",
        definitions.names.of(&name),
    );
}

fn external(definitions: &Definitions, table: &Table, name: &str, columns: &str, format: &str, out: &mut String) {
    let location = lake::location(definitions, table);
    let _ = writeln!(
        out,
        "\nDROP TABLE IF EXISTS {schema}.{name};\nCREATE EXTERNAL TABLE {schema}.{name} (\n{columns}\n)\n\
         PARTITIONED BY (`dt` string, `hour` string)\n\
         {format}\n\
         LOCATION {place}\n\
         TBLPROPERTIES (\n    \
             'projection.enabled' = 'true',\n    \
             'projection.dt.type' = 'date',\n    \
             'projection.dt.format' = 'yyyy-MM-dd',\n    \
             'projection.dt.range' = '{FIRST_DATE},NOW',\n    \
             'projection.dt.interval' = '1',\n    \
             'projection.dt.interval.unit' = 'DAYS',\n    \
             'projection.hour.type' = 'integer',\n    \
             'projection.hour.range' = '0,23',\n    \
             'projection.hour.digits' = '2',\n    \
             'storage.location.template' = {template}\n\
         );",
        schema = back_quoted(definitions.names.schema()),
        name = back_quoted(name),
        place = literal(&location),
        template = literal(&format!("{location}dt=${{dt}}/hour=${{hour}}/")),
    );
}

/// The type as which the `SerDe` reads a value. What has no type in JSON is text, and parsed in the view.
fn stored_type(column: &Column) -> &'static str {
    match column.kind {
        FieldType::Int => "bigint",
        FieldType::Double => "double",
        FieldType::Bool => "boolean",
        FieldType::String { .. }
        | FieldType::Timestamp
        | FieldType::Date
        | FieldType::Uuid
        | FieldType::Decimal { .. }
        | FieldType::Json { .. } => "string",
    }
}

/// The view that parses and dedupes.
fn view(definitions: &Definitions, table: &Table, out: &mut String) {
    let json = lake::free_form(table);
    let columns = table.columns.iter().filter(|column| !json.contains(&&*column.name));
    let columns: Vec<_> = columns.map(parsed).collect();
    let copy = lake::fresh(table, "copy_number");
    let _ = writeln!(
        out,
        "\nCREATE OR REPLACE VIEW {name} AS\nSELECT {columns},\n    \"dt\", \"hour\"\nFROM (\n    \
         SELECT *, row_number() OVER (PARTITION BY \"event_id\" ORDER BY \"received_at\") AS \"{copy}\"\n    \
         FROM {objects}\n)\nWHERE \"{copy}\" = 1;",
        name = definitions.names.of(table.stream.as_str()),
        columns = columns.join(",\n    "),
        objects = definitions.names.of(&format!("{}_objects", table.stream)),
    );
}

fn parsed(column: &Column) -> String {
    let name = quoted(&column.name);
    match column.kind {
        // The text ends in Z, so that what stands in it is UTC.
        FieldType::Timestamp => format!("CAST(from_iso8601_timestamp({name}) AS timestamp) AS {name}"),
        FieldType::Date => format!("CAST({name} AS date) AS {name}"),
        FieldType::Decimal { precision, scale } => format!("CAST({name} AS decimal({precision}, {scale})) AS {name}"),
        _ => name.to_string(),
    }
}

/// A local day, of which no other partition is read.
fn example(definitions: &Definitions, table: &Table, out: &mut String) {
    let counted = definitions.rollups.iter().find(|counted| counted.stream == table.stream.as_str());
    let devices = counted
        .map_or_else(String::new, |counted| format!(", count(DISTINCT {}) AS \"devices\"", quoted(&counted.device)));
    let [first, last] = lake::utc_dates(&definitions.timezone, lake::EXAMPLE);
    let dates = if first == last { format!("'{first}'") } else { format!("'{first}', '{last}'") };
    let _ = writeln!(
        out,
        "-- {day} in {timezone} lies on these dates of UTC. What devices sent later is in later partitions: name them too,\n\
         -- up to {window} days more.\n\
         -- SELECT count(DISTINCT \"event_id\") AS \"events\"{devices}\n\
         -- FROM {objects}\n\
         -- WHERE \"dt\" IN ({dates})\n\
         --   AND CAST(at_timezone(from_iso8601_timestamp(\"event_time\"), {zone}) AS date) = DATE '{day}';",
        day = lake::EXAMPLE,
        timezone = definitions.timezone,
        window = definitions.dedupe_window.as_secs().div_ceil(24 * 60 * 60),
        objects = definitions.names.of(&format!("{}_objects", table.stream)),
        zone = literal(&definitions.timezone),
    );
}
