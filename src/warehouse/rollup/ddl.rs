//! The tables of the figures.
//!
//! PostgreSQL: <https://www.postgresql.org/docs/current/sql-createtable.html>. Redshift:
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_TABLE_NEW.html>, and for the encodings
//! <https://docs.aws.amazon.com/redshift/latest/dg/c_Compression_encodings.html>; the first column of a sort key is left
//! raw, as its best practices say. No key is declared: Redshift would not hold it, so nothing may rely on one.

use super::{
    super::{Dialect, Names, table::quoted, target::Definitions},
    MAX_VALUE,
};

/// How long a row's description of what is counted may be, in bytes: a zone, a device and 16 dimensions.
const MAX_DEFINITION: usize = 4_096;

/// What a column holds.
#[derive(Clone, Copy)]
enum Kind {
    /// At most so many bytes.
    Text(usize),
    Count,
    Flag,
    Day,
    /// What a wall clock shows.
    Clock,
    Instant,
}

impl Kind {
    fn column_type(self, dialect: Dialect) -> String {
        match (dialect, self) {
            (Dialect::Postgres, Self::Text(_)) => "text".to_owned(),
            (Dialect::Redshift, Self::Text(bytes)) => format!("VARCHAR({bytes})"),
            (Dialect::Postgres, Self::Count) => "bigint".to_owned(),
            (Dialect::Redshift, Self::Count) => "BIGINT".to_owned(),
            (Dialect::Postgres, Self::Flag) => "boolean".to_owned(),
            (Dialect::Redshift, Self::Flag) => "BOOLEAN".to_owned(),
            (Dialect::Postgres, Self::Day) => "date".to_owned(),
            (Dialect::Redshift, Self::Day) => "DATE".to_owned(),
            (Dialect::Postgres, Self::Clock) => "timestamp".to_owned(),
            (Dialect::Redshift, Self::Clock) => "TIMESTAMP".to_owned(),
            (_, Self::Instant) => dialect.timestamp().to_owned(),
        }
    }

    fn encoding(self) -> &'static str {
        match self {
            Self::Text(_) => "ZSTD",
            Self::Flag => "RAW",
            Self::Count | Self::Day | Self::Clock | Self::Instant => "AZ64",
        }
    }
}

/// A column: its name, what it holds, whether it is never null.
type Column = (&'static str, Kind, bool);

const STREAM: Column = ("stream", Kind::Text(63), true);
const FIGURES: [Column; 5] = [
    ("events", Kind::Count, true),
    ("devices", Kind::Count, true),
    ("is_complete", Kind::Flag, true),
    ("is_final", Kind::Flag, true),
    ("counted_at", Kind::Instant, true),
];
const DIMENSION: [Column; 2] = [("dimension", Kind::Text(127), true), ("value", Kind::Text(MAX_VALUE), false)];
const STATUS: [Column; 8] = [
    STREAM,
    ("definition", Kind::Text(MAX_DEFINITION), true),
    ("complete_through", Kind::Instant, false),
    ("last_load_id", Kind::Text(26), false),
    ("counted_from", Kind::Clock, false),
    ("final_before", Kind::Clock, false),
    ("counted_at", Kind::Instant, false),
    ("restated_at", Kind::Instant, false),
];

/// The column of a rollup that says when: the day or the hour.
pub(super) fn bucket(rollup: &str) -> &'static str {
    if rollup.starts_with("daily") { "day" } else { "hour" }
}

/// Whether a rollup counts by the values of dimensions.
pub(super) fn is_by_value(rollup: &str) -> bool {
    rollup.ends_with("counts")
}

/// The columns of a rollup, in order.
fn columns(rollup: &str) -> Vec<Column> {
    let when = match bucket(rollup) {
        "day" => ("day", Kind::Day, true),
        _ => ("hour", Kind::Clock, true),
    };
    let mut columns = vec![STREAM, when];
    if is_by_value(rollup) {
        columns.extend(DIMENSION);
    }
    columns.extend(FIGURES);
    columns
}

/// The statements that make the tables where they are missing, without semicolons. The schema must be there.
pub(super) fn statements(dialect: Dialect, names: &Names) -> Vec<String> {
    let mut statements = Vec::new();
    for rollup in Names::ROLLUPS {
        let when = bucket(rollup);
        statements.push(table(dialect, &names.of(rollup), &columns(rollup), Some(when)));
        if dialect == Dialect::Postgres {
            let index = format!("{rollup}_by_{when}");
            let (index, table, when) = (quoted(&index), names.of(rollup), quoted(when));
            statements.push(format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (\"stream\", {when})"));
        }
    }
    statements.push(table(dialect, &names.of(Names::ROLLUP_STATUS), &STATUS, None));
    statements
}

fn table(dialect: Dialect, name: &str, columns: &[Column], sorted_by: Option<&str>) -> String {
    let columns: Vec<_> = columns
        .iter()
        .map(|&(column, kind, required)| {
            let null = if required { " NOT NULL" } else { "" };
            let encoding = match dialect {
                Dialect::Postgres => String::new(),
                Dialect::Redshift if Some(column) == sorted_by => " ENCODE RAW".to_owned(),
                Dialect::Redshift => format!(" ENCODE {}", kind.encoding()),
            };
            format!("  {} {}{null}{encoding}", quoted(column), kind.column_type(dialect))
        })
        .collect();
    let columns = columns.join(",\n");
    let attributes = match (dialect, sorted_by) {
        (Dialect::Postgres, _) => String::new(),
        (Dialect::Redshift, Some(column)) => format!(" DISTSTYLE AUTO SORTKEY ({}, \"stream\")", quoted(column)),
        (Dialect::Redshift, None) => " DISTSTYLE ALL".to_owned(),
    };
    format!("CREATE TABLE IF NOT EXISTS {name} (\n{columns}\n){attributes}")
}

/// What those tables are called.
pub fn names() -> impl Iterator<Item = &'static str> {
    Names::ROLLUPS.into_iter().chain([Names::ROLLUP_STATUS])
}

/// The tables of the figures, and the one that tells how far they are final, where they are missing. The schema must be
/// there.
pub fn ddl(dialect: Dialect, definitions: &Definitions) -> String {
    statements(dialect, &definitions.names).iter().flat_map(|statement| [statement, ";\n\n"]).collect()
}
