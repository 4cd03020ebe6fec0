//! The tables that PostgreSQL and Redshift have alike: those of each stream, and those that logweir keeps for itself.

use std::fmt::Write as _;

use crate::{
    schema::FieldType,
    warehouse::{Dialect, Names, Table, table::quoted},
};

/// A column: name, type, and whether it is never null.
type Kept = (&'static str, FieldType, bool);

const fn text(max_bytes: u32) -> FieldType {
    FieldType::String { max_bytes }
}

/// A ULID, as text.
const ULID: FieldType = text(26);
/// A stream's name.
const STREAM: FieldType = text(63);

/// A row for each object that was taken or set aside.
const LEDGER: [Kept; 9] = [
    ("stream", STREAM, true),
    ("object", text(1024), true),
    ("received_hour", FieldType::Timestamp, true),
    ("state", text(16), true),
    ("load_id", ULID, true),
    ("events", FieldType::Int, true),
    ("bytes", FieldType::Int, true),
    ("error", text(1024), false),
    ("changed_at", FieldType::Timestamp, true),
];

/// What became of the lines of a load, by stream and hour of received time.
const LOADS: [Kept; 9] = [
    ("load_id", ULID, true),
    ("stream", STREAM, true),
    ("received_hour", FieldType::Timestamp, true),
    ("lines", FieldType::Int, true),
    ("loaded", FieldType::Int, true),
    ("duplicates", FieldType::Int, true),
    ("conflicts", FieldType::Int, true),
    ("late", FieldType::Int, true),
    ("loaded_at", FieldType::Timestamp, true),
];

/// A row for each stream that is loaded: how far it is whole.
const STATUS: [Kept; 9] = [
    ("stream", STREAM, true),
    ("complete_through", FieldType::Timestamp, false),
    ("late_rows", FieldType::Int, false),
    ("set_aside_objects", FieldType::Int, false),
    ("set_aside_events", FieldType::Int, false),
    ("held_back_by", text(256), false),
    ("last_load", FieldType::Timestamp, false),
    ("last_load_id", ULID, false),
    ("checked_at", FieldType::Timestamp, false),
];

/// The tables that logweir keeps for itself, with what is said of each.
const KEPT: [(&str, &str, &[Kept]); 3] = [
    (
        Names::LEDGER,
        "A row for each object that was taken or set aside. state is 'loaded', 'set_aside' or 'given_up'; an operator\n-- \
         writes the last by hand, for an object that is never to be loaded. The loader locks this table, and asks it\n-- \
         within its transaction what has been loaded: nothing else keeps an object from being loaded twice.",
        &LEDGER,
    ),
    (
        Names::LOADS,
        "What became of the lines, by load, stream and hour of received time: lines = loaded + duplicates + conflicts.",
        &LOADS,
    ),
    (
        Names::STATUS,
        "How far each stream is whole: everything that was received before complete_through is loaded, or set aside.",
        &STATUS,
    ),
];

/// The names of those tables.
pub(super) fn kept_names() -> Vec<&'static str> {
    KEPT.iter().map(|(name, ..)| *name).collect()
}

/// The definition of a column. In Redshift the column that rows are sorted by stays as it is.
pub(super) fn column(dialect: Dialect, name: &str, kind: FieldType, never_null: bool, sorted_by: bool) -> String {
    let mut definition = format!("{} {}", quoted(name), dialect.column_type(kind));
    if dialect == Dialect::Redshift {
        let _ = write!(definition, " ENCODE {}", if sorted_by { "RAW" } else { encoding(kind) });
    }
    if never_null {
        definition.push_str(" NOT NULL");
    }
    definition
}

/// How Redshift compresses a type. Which encoding takes which types:
/// <https://docs.aws.amazon.com/redshift/latest/dg/c_Compression_encodings.html>.
pub(super) fn encoding(kind: FieldType) -> &'static str {
    match kind {
        // AWS's own encoding of numbers and times: as small as ZSTD, and faster.
        FieldType::Int | FieldType::Decimal { .. } | FieldType::Timestamp | FieldType::Date => "AZ64",
        // ZSTD does well with strings of any kind, and a column with it can be widened, which one with BYTEDICT cannot. It is
        // also what there is for floating point and booleans, and for SUPER.
        FieldType::String { .. } | FieldType::Uuid | FieldType::Double | FieldType::Bool | FieldType::Json { .. } => {
            "ZSTD"
        }
    }
}

/// A CREATE TABLE of the table called `name`, already quoted, with `attributes` behind its columns.
pub(super) fn create(out: &mut String, name: &str, columns: &[String], attributes: &str) {
    let columns = columns.join(",\n    ");
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "CREATE TABLE IF NOT EXISTS {name} (\n    {columns}\n){attributes};");
}

/// The tables that logweir keeps for itself, with `attributes` behind the columns of each, which are told the column that
/// rows are sorted by where they are many.
pub(super) fn keep(
    out: &mut String,
    dialect: Dialect,
    names: &Names,
    attributes: impl Fn(Option<&'static str>) -> String,
) {
    for (name, about, columns) in KEPT {
        let sorted_by = columns.iter().map(|(name, ..)| *name).find(|name| *name == "received_hour");
        let definition =
            |&(name, kind, never_null): &Kept| column(dialect, name, kind, never_null, sorted_by == Some(name));
        let columns: Vec<_> = columns.iter().map(definition).collect();
        let _ = writeln!(out, "\n-- {about}");
        create(out, &names.of(name), &columns, &attributes(sorted_by));
    }
}

/// The columns of a stream's table. `sorted_by` is the column that rows are sorted by, where there is one.
pub(super) fn columns(dialect: Dialect, table: &Table, sorted_by: Option<&str>) -> Vec<String> {
    let definition = |name: &str, kind, required| column(dialect, name, kind, required, sorted_by == Some(name));
    table.columns.iter().map(|column| definition(&column.name, column.kind, column.required)).collect()
}

/// The columns of a stream's staging table: the same, and each may be null, so that an object from before a field was
/// required can be looked at before it is refused.
pub(super) fn staging(dialect: Dialect, table: &Table) -> Vec<String> {
    table.columns.iter().map(|it| column(dialect, &it.name, it.kind, false, false)).collect()
}

/// The columns of the table of a stream's conflicts: the same, and when it was found in which load.
pub(super) fn conflicts(dialect: Dialect, table: &Table) -> Vec<String> {
    let mut columns = staging(dialect, table);
    columns.push(column(dialect, "load_id", ULID, true, false));
    columns.push(column(dialect, "found_at", FieldType::Timestamp, true, false));
    columns
}
