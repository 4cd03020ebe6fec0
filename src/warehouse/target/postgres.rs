//! Tables of PostgreSQL, for the loader.
//!
//! They are executed by tests/schema.rs on a real server. The grammar:
//! <https://www.postgresql.org/docs/current/sql-createtable.html>,
//! <https://www.postgresql.org/docs/current/sql-createindex.html>,
//! <https://www.postgresql.org/docs/current/brin.html>,
//! <https://www.postgresql.org/docs/current/sql-altertable.html>,
//! <https://www.postgresql.org/docs/current/sql-grant.html>.

use std::fmt::Write as _;

use super::{
    Definitions, Target, TargetError, check_columns, erasure, grants, is_for_the_loader, loaders_events,
    loaders_tables, tables,
};
use crate::{
    schema::{FieldType, column_is_cut, schema_is_cut, stream_is_cut},
    warehouse::{
        Dialect, Names, Table,
        evolution::Evolution,
        rollup,
        table::{Column, literal, quoted},
    },
};

const DIALECT: Dialect = Dialect::Postgres;

/// The tables of the streams with `load = "loader"` and `"none"`, which somebody else may load. Running it again changes
/// nothing.
///
/// # Errors
/// [`TargetError`] if there is no such stream, or a name is too long.
pub fn write(definitions: &Definitions) -> Result<String, TargetError> {
    let (chosen, told) = definitions.chosen(is_for_the_loader)?;
    let names = &definitions.names;
    check_names(names, &chosen)?;
    let mut out = String::from(
        "-- The tables of logweir in PostgreSQL, by `logweir schema postgres`. Running it again changes nothing.\n",
    );
    out.push_str(&told);
    let _ = writeln!(out, "\nCREATE SCHEMA IF NOT EXISTS {};", quoted(names.schema()));
    tables::keep(&mut out, DIALECT, names, |_| String::new());
    let ledger = names.of(Names::LEDGER);
    let _ = writeln!(
        out,
        "-- The loader asks for objects by name. The index is not unique: the lock is what keeps two loaders apart.\nCREATE \
         INDEX IF NOT EXISTS {} ON {ledger} (\"object\");",
        quoted(&format!("{}.object", Names::LEDGER))
    );
    for table in &chosen {
        stream(&mut out, names, table);
    }
    out.push_str("\n-- Figures by day and hour of the analysts' clock: see [rollups].\n");
    out.push_str(&rollup::ddl(DIALECT, definitions));
    let kept: Vec<_> = tables::kept_names().into_iter().chain(rollup::names()).collect();
    grants::roles(&mut out, DIALECT, names);
    grants::tables(&mut out, DIALECT, names, &loaders_tables(names, &kept, &chosen));
    erasure::write(&mut out, Target::Postgres, definitions, &loaders_events(names, &chosen));
    Ok(out)
}

/// What brings the tables to what they should be, where `evolutions` have happened. Running it again changes nothing, and it
/// fails where a column that is added is there with another type.
///
/// # Errors
/// [`TargetError`] if a name is too long.
pub fn alter(definitions: &Definitions, evolutions: &[Evolution]) -> Result<String, TargetError> {
    let names = &definitions.names;
    let mut out = String::new();
    for evolution in evolutions {
        let Some(table) = definitions.tables.iter().find(|table| table.stream == evolution.stream) else { continue };
        if is_for_the_loader(table).is_err() {
            continue;
        }
        check_columns(table)?;
        check_names(names, &[table])?;
        if evolution.is_new(is_for_the_loader) {
            stream(&mut out, names, table);
            grants::tables(&mut out, DIALECT, names, &loaders_tables(names, &[], &[table]));
            continue;
        }
        let all = [
            names.of(table.stream.as_str()),
            names.staging(table.stream.as_str()),
            names.conflicts(table.stream.as_str()),
        ];
        for column in &evolution.added {
            check_type(&mut out, names, table, column);
            // Never NOT NULL: rows from before have none.
            let definition = tables::column(DIALECT, &column.name, column.kind, false, false);
            for name in &all {
                let _ = writeln!(out, "ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {definition};");
            }
        }
        for column in &evolution.relaxed {
            let _ = writeln!(out, "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL;", all[0], quoted(column));
        }
    }
    Ok(out)
}

/// Stops where a column is there already, of another type: ADD COLUMN IF NOT EXISTS would leave it as it is, and what is
/// loaded from then on would fail. <https://www.postgresql.org/docs/current/sql-do.html>
fn check_type(out: &mut String, names: &Names, table: &Table, column: &Column) {
    let (stream, kind) = (table.stream.as_str(), DIALECT.column_type(column.kind));
    // The type of a decimal says nothing of its digits.
    let digits = match column.kind {
        FieldType::Decimal { precision, scale } => {
            format!(" OR format_type(atttypid, atttypmod) <> 'numeric({precision},{scale})'")
        }
        _ => String::new(),
    };
    let why = format!(
        "the column {} of {stream} is there already, of another type than {kind}: a field of that name was removed before; \
         declare a field of another name, or rename that column in {stream}, {stream}_staging and {stream}_conflicts",
        column.name
    );
    let _ = writeln!(
        out,
        "DO $check$ BEGIN\n    IF EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = CAST({} AS regclass) AND attname = {} AND \
         NOT attisdropped\n        AND (atttypid <> CAST({} AS regtype){digits})) THEN\n        RAISE EXCEPTION USING MESSAGE \
         = {};\n    END IF;\nEND $check$;",
        literal(&names.of(stream)),
        literal(&column.name),
        literal(&kind),
        literal(&why),
    );
}

/// Refuses names that PostgreSQL would cut.
fn check_names(names: &Names, chosen: &[&Table]) -> Result<(), TargetError> {
    if let Some(why) = schema_is_cut(names.schema()) {
        return Err(TargetError::Setting { setting: "warehouse.schema", why: format!("{why}: choose a shorter one") });
    }
    for table in chosen {
        let stream = table.stream.as_str();
        if let Some(why) = stream_is_cut(stream) {
            let why = format!("{why}: choose a shorter name for the stream");
            return Err(TargetError::Stream { stream: stream.to_owned(), why });
        }
        let cut = |column: &Column| column_is_cut(&column.name).map(|why| (column.name.to_string(), why));
        if let Some((column, why)) = table.columns.iter().find_map(cut) {
            let why = format!("{why}: choose a shorter one");
            return Err(TargetError::Unsupported { stream: stream.to_owned(), column, why });
        }
    }
    Ok(())
}

/// The tables and indexes of one stream.
fn stream(out: &mut String, names: &Names, table: &Table) {
    let stream = table.stream.as_str();
    let name = names.of(stream);
    let _ = writeln!(out, "\n-- {stream}: its events, each once.");
    tables::create(out, &name, &tables::columns(DIALECT, table, None), "");
    // A dot, which no stream has in its name: indexes and tables share their names.
    let index = |about: &str, what: &str, how: &str| {
        format!("-- {about}\nCREATE INDEX IF NOT EXISTS {} ON {name} {how};\n", quoted(&format!("{stream}.{what}")))
    };
    out.push_str(&index(
        "For the loader, which asks whether an event is there. Not unique: equal ids with other content are set aside, and\n-- \
         beyond the dedupe window an id may come again.",
        "event_id",
        "(\"event_id\")",
    ));
    out.push_str(&index(
        "Rows come in the order of their times, nearly: a BRIN index tells the blocks of a time range at next to no size.",
        "received",
        "USING brin (\"received_at\")",
    ));
    out.push_str(&index("For analysts, who ask by the time of the event.", "time", "USING brin (\"event_time\")"));
    out.push_str("-- What is copied from the objects, before it is known what is new; empty between two loads.\n");
    tables::create(out, &names.staging(stream), &tables::staging(DIALECT, table), "");
    out.push_str("-- What bears the id of another event: set aside, for somebody to look at.\n");
    tables::create(out, &names.conflicts(stream), &tables::conflicts(DIALECT, table), "");
}
