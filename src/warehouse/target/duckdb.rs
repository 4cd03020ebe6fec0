//! `DuckDB`: views over the objects, in a directory or in S3, and rollups as views. A test executes them.
//!
//! Grammar: <https://duckdb.org/docs/stable/data/json/loading_json>,
//! <https://duckdb.org/docs/stable/data/partitioning/hive_partitioning>,
//! <https://duckdb.org/docs/stable/core_extensions/httpfs/s3api>.

use std::fmt::Write;

use super::{Definitions, TargetError, lake};
use crate::{
    schema::FieldType,
    warehouse::{
        Table,
        table::{Column, literal, quoted},
    },
};

/// The largest line that is read, in bytes: no line has more than 4 MB.
const MAX_LINE_BYTES: u32 = 16 * 1024 * 1024;

const HEAD: &str = "\
-- DuckDB. Run it once there are objects: a view over no file is refused.
-- Grammar: https://duckdb.org/docs/stable/data/json/loading_json
--   https://duckdb.org/docs/stable/data/partitioning/hive_partitioning
--
-- {stream}_objects is what is stored. dt and hour are those at which the server received an event, in UTC; a WHERE
-- that names them there reads no other file.
-- {stream} has its times and numbers parsed, and each event once: of its copies the one received first. Copies may lie
-- in any partitions, so it reads all of them. JSON is written anew, so that 2.50 within it becomes 2.5.
";

const S3: &str = "
-- The bucket is read with the credentials that the AWS tools find.
-- Grammar: https://duckdb.org/docs/stable/core_extensions/httpfs/s3api
INSTALL httpfs; LOAD httpfs; INSTALL aws; LOAD aws;
";

const ROLLUPS: &str = "
-- Figures by day and hour of the analysts' clock, as the warehouse's rollups have them, without is_complete and
-- is_final: whether everything that was received is here is told by heartbeats, which no object has. `logweir audit`
-- tells it. Each view reads all objects of its streams.
";

const DIALECT: lake::Dialect = lake::Dialect {
    day: |timezone| format!("CAST({} AS DATE)", local(timezone)),
    hour: |timezone| format!("date_trunc('hour', {})", local(timezone)),
    text: |column| Some(format!("CAST({} AS VARCHAR)", quoted(&column.name))),
    now: "now()",
};

/// The statements.
///
/// # Errors
/// [`TargetError::Unsupported`] for a column called as a partition is.
pub fn write(definitions: &Definitions) -> Result<String, TargetError> {
    let mut out = HEAD.to_owned();
    if definitions.objects.root.starts_with("s3://") {
        out.push_str(S3);
        let region = definitions.region.as_deref();
        let region = region.map_or_else(String::new, |region| format!(", REGION {}", literal(region)));
        let _ = writeln!(out, "CREATE OR REPLACE SECRET logweir (TYPE s3, PROVIDER credential_chain{region});");
    }
    let _ = writeln!(out, "\nCREATE SCHEMA IF NOT EXISTS {};", quoted(definitions.names.schema()));
    for table in lake::tables(definitions)? {
        objects(definitions, table, &mut out);
        view(definitions, table, &mut out);
    }
    if !definitions.rollups.is_empty() {
        out.push_str(ROLLUPS);
        DIALECT.rollups(definitions, &mut out)?;
    }
    Ok(out)
}

/// The analysts' clock at the view's `event_time`.
fn local(timezone: &str) -> String {
    format!("(\"event_time\" AT TIME ZONE {})", literal(timezone))
}

/// Compression goes by how the names end, so that both codecs are read where it was changed.
fn objects(definitions: &Definitions, table: &Table, out: &mut String) {
    let column = |column: &Column| format!("        {}: {}", literal(&column.name), literal(stored_type(column)));
    let columns: Vec<_> = table.columns.iter().map(column).collect();
    let _ = writeln!(
        out,
        "\nCREATE OR REPLACE VIEW {name} AS\nSELECT * FROM read_json(\n    {files},\n    \
         format = 'newline_delimited', compression = 'auto_detect', maximum_object_size = {MAX_LINE_BYTES},\n    \
         hive_partitioning = true, hive_types = {{'dt': DATE, 'hour': BIGINT}},\n    \
         columns = {{\n{columns}\n    }}\n);",
        name = definitions.names.of(&format!("{}_objects", table.stream)),
        files = literal(&format!("{}dt=*/hour=*/*.ndjson.*", lake::location(definitions, table))),
        columns = columns.join(",\n"),
    );
}

/// The type as which a value is read. What has no type in JSON is text, and parsed in the view.
fn stored_type(column: &Column) -> &'static str {
    match column.kind {
        FieldType::Int => "BIGINT",
        FieldType::Double => "DOUBLE",
        FieldType::Bool => "BOOLEAN",
        FieldType::Json { .. } => "JSON",
        FieldType::String { .. }
        | FieldType::Timestamp
        | FieldType::Date
        | FieldType::Uuid
        | FieldType::Decimal { .. } => "VARCHAR",
    }
}

fn view(definitions: &Definitions, table: &Table, out: &mut String) {
    let columns: Vec<_> = table.columns.iter().map(parsed).collect();
    let _ = writeln!(
        out,
        "\nCREATE OR REPLACE VIEW {name} AS\nSELECT {columns},\n    \"dt\", \"hour\"\nFROM {objects} AS \"o\"\n\
         QUALIFY row_number() OVER (PARTITION BY \"o\".\"event_id\" ORDER BY \"o\".\"received_at\") = 1;",
        name = definitions.names.of(table.stream.as_str()),
        columns = columns.join(",\n    "),
        objects = definitions.names.of(&format!("{}_objects", table.stream)),
    );
}

fn parsed(column: &Column) -> String {
    let name = quoted(&column.name);
    let cast = |kind: &str| format!("CAST(\"o\".{name} AS {kind}) AS {name}");
    match column.kind {
        FieldType::Timestamp => cast("TIMESTAMPTZ"),
        FieldType::Date => cast("DATE"),
        FieldType::Uuid => cast("UUID"),
        FieldType::Decimal { precision, scale } => cast(&format!("DECIMAL({precision}, {scale})")),
        _ => format!("\"o\".{name}"),
    }
}
