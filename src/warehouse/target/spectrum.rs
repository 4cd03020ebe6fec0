//! Amazon Redshift Spectrum: tables over the objects in Redshift, and views that dedupe.
//!
//! Modelled from the documentation, executed nowhere: [`CREATE EXTERNAL SCHEMA`], [`CREATE EXTERNAL TABLE`],
//! [`ALTER TABLE`], [`CREATE VIEW`], [quotas].
//!
//! [`CREATE EXTERNAL SCHEMA`]: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_EXTERNAL_SCHEMA.html
//! [`CREATE EXTERNAL TABLE`]: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_EXTERNAL_TABLE.html
//! [`ALTER TABLE`]: https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_TABLE_external-table.html
//! [`CREATE VIEW`]: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_VIEW.html
//! [quotas]: https://docs.aws.amazon.com/redshift/latest/mgmt/amazon-redshift-limits.html

use std::fmt::Write;

use super::{Definitions, TargetError, lake};
use crate::{
    schema::FieldType,
    warehouse::{
        Dialect, Names, Table,
        evolution::Evolution,
        table::{Column, literal, quoted},
    },
};

/// The longest string of a JSON file that Spectrum reads, in bytes.
const MAX_STRING_BYTES: u32 = 16 * 1024;

const HEAD: &str = "\
-- Amazon Redshift Spectrum. CREATE EXTERNAL TABLE runs in no transaction: run it with autocommit.
-- Grammar: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_EXTERNAL_SCHEMA.html
--   https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_EXTERNAL_TABLE.html
--   https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_TABLE_external-table.html
--   https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_VIEW.html
--
-- The external schema is a database of the Glue Data Catalog of its own, not the one that Athena's tables are in. Those
-- project their partitions, which Spectrum does not do: it reads partitions that are registered, of any table. So each
-- is added here, an hour at a time, by whatever runs every hour: see ALTER TABLE behind each table.
--
-- The views are in a schema of their own, which ends in _spectrum: in that of the warehouse a table has the stream's name.
-- {stream} has its times and numbers parsed (times are UTC), and each event once: of its copies the one received first.
-- Copies may lie in any partitions, so it reads all of them. A query that shall read a few names dt and hour of
-- {stream}_objects, and counts DISTINCT event_id.
";

/// The statements.
///
/// # Errors
/// [`TargetError::Elsewhere`] if the objects are not in S3, [`TargetError::Compressed`] unless they are gzip;
/// [`TargetError::Unsupported`] for a column called as a partition is.
pub fn write(definitions: &Definitions) -> Result<String, TargetError> {
    readable(definitions)?;
    let mut out = HEAD.to_owned();
    let (lake_schema, views) = (lake_schema(definitions), views(definitions));
    let region = definitions.region.as_deref();
    let _ = writeln!(
        out,
        "\nCREATE EXTERNAL SCHEMA IF NOT EXISTS {schema}\nFROM DATA CATALOG DATABASE {database}{region}\n\
         IAM_ROLE {role}\nCREATE EXTERNAL DATABASE IF NOT EXISTS;",
        schema = quoted(&lake_schema),
        database = literal(&lake_schema),
        region = region.map_or_else(String::new, |region| format!(" REGION {}", literal(region))),
        role = definitions.iam_role.as_deref().map_or_else(|| "default".to_owned(), |role| literal(role).to_string()),
    );
    let _ = writeln!(out, "CREATE SCHEMA IF NOT EXISTS {};", quoted(views.schema()));
    for table in lake::tables(definitions)? {
        external(definitions, table, &mut out);
        view(definitions, table, &mut out);
    }
    Ok(out)
}

/// Refuses objects that Spectrum does not read:
/// <https://docs.aws.amazon.com/redshift/latest/dg/c-spectrum-data-files.html>.
fn readable(definitions: &Definitions) -> Result<(), TargetError> {
    lake::in_s3(definitions, "Redshift Spectrum")?;
    lake::is_gzip(definitions, "Redshift Spectrum", "reads gzip, bzip2 and Snappy")
}

/// What brings the tables and views to what they should be, where `evolutions` have happened since `old`. To be run once.
/// Partitions stay, but where a string has become longer: an external table's column keeps its type.
///
/// # Errors
/// [`TargetError`] as for [`write`].
pub fn alter(old: &Definitions, definitions: &Definitions, evolutions: &[Evolution]) -> Result<String, TargetError> {
    readable(definitions)?;
    let mut out = String::new();
    for table in lake::tables(definitions)? {
        let Some(evolution) = evolutions.iter().find(|evolution| evolution.stream == table.stream) else { continue };
        let objects = objects(definitions, table);
        if evolution.old.is_some() && evolution.widened.is_empty() && old.objects != definitions.objects {
            let location = lake::location(definitions, table);
            let _ = writeln!(
                out,
                "-- New partitions are to be added with the new place; those that are there keep theirs.\n\
                 ALTER TABLE {objects} SET LOCATION {};",
                literal(&location)
            );
        }
        if evolution.old.is_none() {
            external(definitions, table, &mut out);
        } else if evolution.added.is_empty() && evolution.widened.is_empty() && !evolution.view_changes {
            continue;
        } else if evolution.widened.is_empty() {
            let json = lake::free_form(table);
            for column in evolution.added.iter().filter(|column| !json.contains(&&*column.name)) {
                let (name, kind) = (quoted(&column.name), stored_type(column));
                let _ = writeln!(out, "ALTER TABLE {objects} ADD COLUMN {name} {kind};");
            }
        } else {
            let _ = writeln!(
                out,
                "-- A string has become longer, so the table is made anew: add the partitions of all hours to it again.\n\
                 DROP TABLE IF EXISTS {objects};"
            );
            external(definitions, table, &mut out);
        }
        // A view is replaced only by one of the same columns.
        let _ = writeln!(out, "DROP VIEW IF EXISTS {};", views(definitions).of(table.stream.as_str()));
        view(definitions, table, &mut out);
    }
    Ok(out)
}

/// The external schema.
fn lake_schema(definitions: &Definitions) -> String {
    format!("{}_lake", definitions.names.schema())
}

/// The external table of a stream, quoted.
fn objects(definitions: &Definitions, table: &Table) -> String {
    format!("{}.{}", quoted(&lake_schema(definitions)), quoted(&format!("{}_objects", table.stream)))
}

/// The schema of the views: an external schema has none, and in `warehouse.schema` a stream's name is that of the table
/// that the loader or a COPY JOB fills.
fn views(definitions: &Definitions) -> Names {
    Names::new(&format!("{}_spectrum", definitions.names.schema()))
}

fn external(definitions: &Definitions, table: &Table, out: &mut String) {
    let objects = objects(definitions, table);
    let json = lake::free_form(table);
    let columns = table.columns.iter().filter(|column| !json.contains(&&*column.name));
    let columns: Vec<_> =
        columns.map(|column| format!("    {} {}", quoted(&column.name), stored_type(column))).collect();
    out.push('\n');
    if !json.is_empty() {
        let _ =
            writeln!(out, "-- {} may be any JSON, for which an external table has no type: left out.", json.join(", "));
    }
    let longer =
        |column: &&Column| matches!(column.kind, FieldType::String { max_bytes } if max_bytes > MAX_STRING_BYTES);
    let long: Vec<_> = table.columns.iter().filter(longer).map(|column| &*column.name).collect();
    if !long.is_empty() {
        let _ = writeln!(
            out,
            "-- {} may have more than {MAX_STRING_BYTES} bytes, the most that Spectrum reads of a string in JSON:\n\
             -- https://docs.aws.amazon.com/redshift/latest/mgmt/amazon-redshift-limits.html",
            long.join(", ")
        );
    }
    let location = lake::location(definitions, table);
    let _ = writeln!(
        out,
        "CREATE EXTERNAL TABLE {objects} (\n{columns}\n)\n\
         PARTITIONED BY (\"dt\" CHAR(10), \"hour\" CHAR(2))\n\
         ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'\n\
         STORED AS TEXTFILE\n\
         LOCATION {place};\n\
         -- Every hour, for the hour that begins:\n\
         ALTER TABLE {objects} ADD IF NOT EXISTS\n\
         PARTITION (\"dt\" = '{day}', \"hour\" = '00') LOCATION {partition};",
        columns = columns.join(",\n"),
        place = literal(&location),
        day = lake::EXAMPLE,
        partition = literal(&format!("{location}dt={}/hour=00/", lake::EXAMPLE)),
    );
}

/// The type as which a value is read. What has no type in JSON is text, and parsed in the view.
fn stored_type(column: &Column) -> String {
    match column.kind {
        FieldType::Timestamp => "VARCHAR(24)".to_owned(),
        FieldType::Date => "VARCHAR(10)".to_owned(),
        FieldType::Uuid => "VARCHAR(36)".to_owned(),
        // A sign, a point, and the zero that may stand before it.
        FieldType::Decimal { precision, .. } => format!("VARCHAR({})", u32::from(precision) + 3),
        FieldType::String { .. } | FieldType::Int | FieldType::Double | FieldType::Bool | FieldType::Json { .. } => {
            Dialect::Redshift.column_type(column.kind)
        }
    }
}

fn view(definitions: &Definitions, table: &Table, out: &mut String) {
    let objects = objects(definitions, table);
    let json = lake::free_form(table);
    let columns = table.columns.iter().filter(|column| !json.contains(&&*column.name));
    let columns: Vec<_> = columns.map(parsed).collect();
    let copy = lake::fresh(table, "copy_number");
    let _ = writeln!(
        out,
        "\nCREATE OR REPLACE VIEW {name} AS\nSELECT {columns},\n    \"dt\", \"hour\"\nFROM (\n    \
         SELECT *, row_number() OVER (PARTITION BY \"event_id\" ORDER BY \"received_at\") AS \"{copy}\"\n    \
         FROM {objects}\n) AS \"o\"\nWHERE \"{copy}\" = 1\nWITH NO SCHEMA BINDING;",
        name = views(definitions).of(table.stream.as_str()),
        columns = columns.join(",\n    "),
    );
}

fn parsed(column: &Column) -> String {
    let name = quoted(&column.name);
    match column.kind {
        // …T09:00:00.123Z without what a TIMESTAMP does not have.
        FieldType::Timestamp => {
            format!("CAST(REPLACE(REPLACE({name}, 'T', ' '), 'Z', '') AS TIMESTAMP) AS {name}")
        }
        FieldType::Date => format!("CAST({name} AS DATE) AS {name}"),
        FieldType::Decimal { precision, scale } => format!("CAST({name} AS DECIMAL({precision}, {scale})) AS {name}"),
        _ => name.to_string(),
    }
}
