//! Apache Spark: a Python module with a schema for each stream and the functions that read it. A test executes it.
//!
//! Grammar: <https://spark.apache.org/docs/latest/sql-data-sources-json.html>,
//! <https://spark.apache.org/docs/latest/sql-data-sources-parquet.html#partition-discovery>,
//! <https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html>. Compression is Hadoop's:
//! <https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-common/NativeLibraries.html>.

use std::fmt::Write;

use super::{Definitions, TargetError, lake};
use crate::{
    schema::FieldType,
    sink::Codec,
    warehouse::{Table, table::Column},
};

const HEAD: &str = r#""""The objects in Spark.

    from logweir_spark import events, local_day
    heard = events(spark, "heard", "2026-11-21", "2026-11-22")

Grammar: https://spark.apache.org/docs/latest/sql-data-sources-json.html
  https://spark.apache.org/docs/latest/sql-data-sources-parquet.html#partition-discovery
  https://spark.apache.org/docs/latest/sql-ref-datetime-pattern.html
"""

from pyspark.sql import Window
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)
"#;

/// Hadoop's codec is found by the names' ending, and is a wrapper of a native library.
const ZSTD: &str = "
# The objects are zstd, which Hadoop reads by its native library alone: `hadoop checknative` must say zstd: true. The
# Hadoop that comes with PySpark has none, and says \"native zStandard library not available\".
";

const READERS: &str = r#"

def objects(spark, stream, first=None, last=None):
    """What is stored of a stream, or of it what the server received from one date of UTC to another.

    JSON of any form is text: a JSON string without its quotes.
    """
    rows = spark.read.schema(SCHEMAS[stream]).option("mode", "FAILFAST").json(OBJECTS + stream + "/")
    if first is not None:
        rows = rows.where(F.col("dt") >= F.lit(first).cast("date"))
    if last is not None:
        rows = rows.where(F.col("dt") <= F.lit(last).cast("date"))
    return rows


def events(spark, stream, first=None, last=None):
    """The events of a stream with their times and numbers parsed, each once: of its copies the one received first.

    Copies are found among what was received between the dates.
    """
    rows = objects(spark, stream, first, last)
    copy = "copy_number"
    while copy in rows.columns:
        copy += "_"
    order = Window.partitionBy("event_id").orderBy("received_at")
    rows = rows.withColumn(copy, F.row_number().over(order)).where(F.col(copy) == 1).drop(copy)
    for name, kind in PARSED[stream].items():
        if kind == "timestamp":
            value = F.to_timestamp(F.col(name), "yyyy-MM-dd'T'HH:mm:ss.SSSX")
        else:
            value = F.col(name).cast(kind)
        rows = rows.withColumn(name, value)
    return rows


def local_day(column):
    """The analysts' day of a timestamp, whatever the time zone of the session."""
    utc = F.to_utc_timestamp(F.col(column), F.current_timezone())
    return F.to_date(F.from_utc_timestamp(utc, TIMEZONE))
"#;

/// The module.
///
/// # Errors
/// [`TargetError::Unsupported`] for a column called as a partition is.
pub fn write(definitions: &Definitions) -> Result<String, TargetError> {
    let tables = lake::tables(definitions)?;
    let mut out = HEAD.to_owned();
    let objects = format!("{}{}", definitions.objects.root, definitions.objects.prefix);
    // Hadoop's own name for what reads S3.
    let objects = objects.strip_prefix("s3://").map_or(objects.clone(), |rest| format!("s3a://{rest}"));
    let _ = write!(
        out,
        "\n# Where the streams are.\nOBJECTS = {}\n# The analysts' time zone.\nTIMEZONE = {}\n",
        python(&objects),
        python(&definitions.timezone)
    );
    out.push_str(
        "\n# What is stored. dt and hour are those at which the server received an event, in UTC.\nSCHEMAS = {\n",
    );
    for table in tables {
        schema(table, &mut out);
    }
    out.push_str("}\n\n# What is stored as text, and what it is.\nPARSED = {\n");
    for table in tables {
        let _ = writeln!(out, "    {}: {{", python(table.stream.as_str()));
        for column in &table.columns {
            if let Some(kind) = parsed_type(column) {
                let _ = writeln!(out, "        {}: {},", python(&column.name), python(&kind));
            }
        }
        out.push_str("    },\n");
    }
    out.push_str("}\n");
    if definitions.objects.codec == Codec::Zstd {
        out.push_str(ZSTD);
    }
    out.push_str(READERS);
    Ok(out)
}

/// A string in Python.
fn python(text: &str) -> String {
    // JSON's escapes are Python's.
    serde_json::Value::from(text).to_string()
}

fn schema(table: &Table, out: &mut String) {
    let _ = writeln!(out, "    {}: StructType([", python(table.stream.as_str()));
    let partitions = [("dt", "DateType"), ("hour", "IntegerType")];
    let columns = table.columns.iter().map(|column| (&*column.name, stored_type(column)));
    for (name, kind) in columns.chain(partitions) {
        let _ = writeln!(out, "        StructField({}, {kind}()),", python(name));
    }
    out.push_str("    ]),\n");
}

/// The type as which a value is read. What has no type in JSON is text, and parsed later.
fn stored_type(column: &Column) -> &'static str {
    match column.kind {
        FieldType::Int => "LongType",
        FieldType::Double => "DoubleType",
        FieldType::Bool => "BooleanType",
        FieldType::String { .. }
        | FieldType::Timestamp
        | FieldType::Date
        | FieldType::Uuid
        | FieldType::Decimal { .. }
        | FieldType::Json { .. } => "StringType",
    }
}

fn parsed_type(column: &Column) -> Option<String> {
    match column.kind {
        FieldType::Timestamp => Some("timestamp".to_owned()),
        FieldType::Date => Some("date".to_owned()),
        FieldType::Decimal { precision, scale } => Some(format!("decimal({precision},{scale})")),
        _ => None,
    }
}
