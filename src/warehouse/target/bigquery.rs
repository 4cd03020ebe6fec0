//! `BigQuery`: a shell script that makes a table for each stream, loads objects that were copied to Google Cloud
//! Storage, and makes a view that dedupes.
//!
//! Modelled from the documentation, executed nowhere: [loading JSON], [schemas], [`bq`], [views in SQL].
//!
//! [loading JSON]: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json
//! [schemas]: https://cloud.google.com/bigquery/docs/schemas
//! [`bq`]: https://cloud.google.com/bigquery/docs/reference/bq-cli-reference
//! [views in SQL]: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Definitions, TargetError, lake};
use crate::{
    schema::{FieldType, UnknownFields},
    warehouse::{
        Table,
        table::{Column, back_quoted},
    },
};

/// What no column's name may begin with, whatever the case of its letters.
const RESERVED: [&str; 9] = [
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
    "_change_sequence_number",
    "_change_type",
    "_change_timestamp",
];
/// The most digits of a NUMERIC before and behind the point.
const NUMERIC_DIGITS: (u8, u8) = (29, 9);

const HEAD: &str = "\
#!/bin/sh
# Google BigQuery. OBJECTS is where the objects were copied to, by the Storage Transfer Service or by hand, under their
# keys: gs://bucket/ and what stands before the stream in each key. DATE chooses the partition: dt=2026-11-22.
# Grammar: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json
#   https://cloud.google.com/bigquery/docs/schemas
#   https://cloud.google.com/bigquery/docs/reference/bq-cli-reference
#   https://cloud.google.com/bigquery/docs/managing-table-schemas
#
# {stream}_objects is what was loaded, {stream} has each event once: of its copies the one received first. To load an
# object twice does no harm but to the bill. Numbers in JSON that are no integers of 64 bits are doubles.
set -eu
: \"${OBJECTS:?gs://bucket/prefix/}\" \"${DATE:?dt=YYYY-MM-DD}\"
";

/// The script.
///
/// # Errors
/// [`TargetError::Unsupported`] for a name that `BigQuery` keeps for itself, [`TargetError::Compressed`] unless the objects
/// are gzip.
pub fn write(definitions: &Definitions) -> Result<String, TargetError> {
    lake::is_gzip(definitions, "BigQuery", "loads JSON that is compressed with gzip, or not at all")?;
    let mut out = HEAD.to_owned();
    let dataset = definitions.names.schema();
    let _ = writeln!(out, "\nbq mk --force --dataset '{dataset}'");
    for table in &definitions.tables {
        let kept = |column: &&Column| RESERVED.iter().any(|reserved| column.name.starts_with(reserved));
        if let Some(column) = table.columns.iter().find(kept) {
            return Err(lake::unsupported(table, column, "begins as the names do that BigQuery keeps for itself"));
        }
        load(dataset, table, &mut out);
    }
    Ok(out)
}

fn load(dataset: &str, table: &Table, out: &mut String) {
    let stream = &table.stream;
    let ignore = match table.unknown {
        // They stand at the top level, and have no column.
        UnknownFields::Keep => " \\\n    --ignore_unknown_values",
        UnknownFields::Collect | UnknownFields::Reject => "",
    };
    let fields: Vec<_> = table.columns.iter().map(|column| format!("    {}", field(column))).collect();
    let _ = writeln!(
        out,
        "\ncat > '{stream}.schema.json' <<'JSON'\n[\n{fields}\n]\nJSON\n\
         bq load --source_format=NEWLINE_DELIMITED_JSON --max_bad_records=0{ignore} \\\n    \
         --schema_update_option=ALLOW_FIELD_ADDITION --schema_update_option=ALLOW_FIELD_RELAXATION \\\n    \
         --time_partitioning_type=DAY --time_partitioning_field=received_at --clustering_fields=event_id \\\n    \
         '{dataset}.{stream}_objects' \"${{OBJECTS}}{stream}/${{DATE}}/*.ndjson.gz\" '{stream}.schema.json'\n\
         bq query --use_legacy_sql=false <<'SQL'\n\
         CREATE OR REPLACE VIEW {view} AS\nSELECT * FROM {objects} AS o\nWHERE TRUE\n\
         QUALIFY ROW_NUMBER() OVER (PARTITION BY o.event_id ORDER BY o.received_at) = 1;\nSQL",
        fields = fields.join(",\n"),
        view = back_quoted(&format!("{dataset}.{stream}")),
        objects = back_quoted(&format!("{dataset}.{stream}_objects")),
    );
}

/// A column as the schema file has it.
fn field(column: &Column) -> Value {
    let mut field = Map::new();
    field.insert("name".to_owned(), json!(column.name));
    let kind = match column.kind {
        FieldType::String { .. } | FieldType::Uuid => "STRING",
        FieldType::Int => "INTEGER",
        FieldType::Double => "FLOAT",
        FieldType::Bool => "BOOLEAN",
        FieldType::Timestamp => "TIMESTAMP",
        FieldType::Date => "DATE",
        FieldType::Decimal { precision, scale } => {
            field.insert("precision".to_owned(), json!(precision.to_string()));
            field.insert("scale".to_owned(), json!(scale.to_string()));
            let (before, behind) = NUMERIC_DIGITS;
            if precision - scale <= before && scale <= behind { "NUMERIC" } else { "BIGNUMERIC" }
        }
        FieldType::Json { .. } => "JSON",
    };
    field.insert("type".to_owned(), json!(kind));
    // A field that is added later, or is not required any more, must be able to be null, and objects from before lack it.
    let is_always_there = column.required && !column.is_of_event();
    field.insert("mode".to_owned(), json!(if is_always_there { "REQUIRED" } else { "NULLABLE" }));
    Value::Object(field)
}
