//! Tables of Amazon Redshift, for the loader.
//!
//! Modelled from the documentation, and never run on Redshift:
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_TABLE_NEW.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_SCHEMA.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/c_Compression_encodings.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_TABLE.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_GRANT.html>.

use std::fmt::Write as _;

use super::{
    Definitions, Target, TargetError, check_columns, erasure, grants, is_for_the_loader, loaders_events,
    loaders_tables, tables,
};
use crate::warehouse::{
    Dialect, Names, Table,
    evolution::{Evolution, Widened},
    rollup,
    table::quoted,
};

const DIALECT: Dialect = Dialect::Redshift;

/// What rows are sorted by.
const SORTED_BY: &str = "event_time";

/// The tables of the streams with `load = "loader"` and `"none"`, which somebody else may load. Running it again changes
/// nothing.
///
/// # Errors
/// [`TargetError`] if there is no such stream.
pub fn write(definitions: &Definitions) -> Result<String, TargetError> {
    let (chosen, told) = definitions.chosen(is_for_the_loader)?;
    let names = &definitions.names;
    let mut out = String::from(
        "-- The tables of logweir in Amazon Redshift, by `logweir schema redshift`. Running it again changes nothing.\n",
    );
    out.push_str(&told);
    out.push_str(
        "\n-- Encodings: AZ64 for numbers and times; ZSTD for strings, which can be widened with it, and for all else; RAW \
         for\n-- the sort key, whose blocks are skipped by their first and last value and not decoded to be skipped.\n",
    );
    let _ = writeln!(out, "\nCREATE SCHEMA IF NOT EXISTS {};", quoted(names.schema()));
    // Small tables are best on every node, large ones spread: AUTO begins with the one and goes over to the other.
    tables::keep(&mut out, DIALECT, names, |sorted_by| {
        let sorted = sorted_by.map_or_else(String::new, |column| format!("\nCOMPOUND SORTKEY ({})", quoted(column)));
        format!("\nDISTSTYLE AUTO{sorted}")
    });
    for table in &chosen {
        stream(&mut out, names, table);
    }
    out.push_str("\n-- Figures by day and hour of the analysts' clock: see [rollups].\n");
    out.push_str(&rollup::ddl(DIALECT, definitions));
    let kept: Vec<_> = tables::kept_names().into_iter().chain(rollup::names()).collect();
    grants::roles(&mut out, DIALECT, names);
    grants::tables(&mut out, DIALECT, names, &loaders_tables(names, &kept, &chosen));
    erasure::write(&mut out, Target::Redshift, definitions, &loaders_events(names, &chosen));
    Ok(out)
}

/// What brings the tables to what they should be, where `evolutions` have happened. To be run once: Redshift adds no
/// column that there is.
///
/// # Errors
/// [`TargetError`] if a column cannot be.
pub fn alter(definitions: &Definitions, evolutions: &[Evolution]) -> Result<String, TargetError> {
    let names = &definitions.names;
    let mut out = String::new();
    for evolution in evolutions {
        let Some(table) = definitions.tables.iter().find(|table| table.stream == evolution.stream) else { continue };
        if is_for_the_loader(table).is_err() {
            continue;
        }
        check_columns(table)?;
        if evolution.is_new(is_for_the_loader) {
            stream(&mut out, names, table);
            grants::tables(&mut out, DIALECT, names, &loaders_tables(names, &[], &[table]));
            continue;
        }
        let stream = table.stream.as_str();
        alter_columns(&mut out, &[names.of(stream), names.staging(stream), names.conflicts(stream)], evolution);
    }
    Ok(out)
}

/// The columns that `evolution` adds to the tables called `names`, already quoted, and those that it widens.
///
/// A statement adds one column, and never one that is NOT NULL without a default: rows from before have none. A VARCHAR
/// may be widened, outside of a transaction, unless it is compressed with BYTEDICT, RUNLENGTH, TEXT255 or TEXT32K.
pub(super) fn alter_columns(out: &mut String, names: &[String], evolution: &Evolution) {
    if !evolution.added.is_empty() {
        out.push_str(
            "-- If a column is there already, a field of that name was removed before: go on only if its type is the same. \
             If it is\n-- another, declare a field of another name.\n",
        );
    }
    for name in names {
        for column in &evolution.added {
            let definition = tables::column(DIALECT, &column.name, column.kind, false, false);
            let _ = writeln!(out, "ALTER TABLE {name} ADD COLUMN {definition};");
        }
        for Widened { column, to } in &evolution.widened {
            let to = DIALECT.column_type(*to);
            let _ = writeln!(out, "ALTER TABLE {name} ALTER COLUMN {} TYPE {to};", quoted(column));
        }
    }
}

/// The tables of one stream.
fn stream(out: &mut String, names: &Names, table: &Table) {
    let stream = table.stream.as_str();
    let _ = writeln!(
        out,
        "\n-- {stream}: its events, each once.\n-- DISTKEY event_id: the loader joins what is staged to the table by it, and \
         copies of an event meet on one slice; ids are\n-- as good as random, so slices are even. SORTKEY {SORTED_BY}: \
         analysts ask by it; received_at runs along with it, so the\n-- loader's window skips blocks too."
    );
    let by_id = "\nDISTSTYLE KEY DISTKEY (\"event_id\")";
    let sorted = format!("{by_id}\nCOMPOUND SORTKEY ({})", quoted(SORTED_BY));
    tables::create(out, &names.of(stream), &tables::columns(DIALECT, table, Some(SORTED_BY)), &sorted);
    out.push_str("-- What is copied from the objects, before it is known what is new; empty between two loads.\n");
    tables::create(out, &names.staging(stream), &tables::staging(DIALECT, table), by_id);
    out.push_str("-- What bears the id of another event: set aside, for somebody to look at.\n");
    tables::create(out, &names.conflicts(stream), &tables::conflicts(DIALECT, table), by_id);
}
