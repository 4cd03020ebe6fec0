//! Whether the tables are as the loader needs them.

use std::collections::{HashMap, HashSet};

use super::{Failure, Session, script};
use crate::warehouse::{
    Dialect, Names, Table,
    table::{literal, quoted},
};

/// A column as the catalogue has it.
struct Known {
    kind: String,
    /// Whether a row without a value for it is refused.
    demanded: bool,
}

/// The tables of the warehouse's schema, as they are.
pub(super) struct Tables(HashMap<String, HashMap<String, Known>>);

impl Tables {
    /// Reads them. The catalogue is that of PostgreSQL, which Redshift has too.
    pub(super) async fn read(session: &mut dyn Session, names: &Names) -> Result<Self, Failure> {
        let sql = format!(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull AND NOT a.atthasdef \
             THEN 1 ELSE 0 END FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON \
             a.attrelid = c.oid WHERE n.nspname = {} AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', \
             'v', 'm')",
            literal(names.schema())
        );
        let mut tables: HashMap<String, HashMap<String, Known>> = HashMap::new();
        for row in session.rows(&sql).await? {
            if let [Some(table), Some(column), Some(kind), Some(demanded)] = row.as_slice() {
                let known = Known { kind: kind.clone(), demanded: demanded == "1" };
                tables.entry(table.clone()).or_default().insert(column.clone(), known);
            }
        }
        Ok(Self(tables))
    }

    /// What is wrong with the loader's own tables.
    pub(super) fn own(&self, names: &Names) -> Option<String> {
        [Names::LEDGER, Names::LOADS, Names::STATUS]
            .iter()
            .find(|table| !self.0.contains_key(**table))
            .map(|table| missing(&names.of(table)))
    }

    /// What is wrong with the tables of `table`'s stream.
    pub(super) fn of_stream(&self, dialect: Dialect, names: &Names, table: &Table) -> Option<String> {
        let stream = table.stream.as_str();
        for name in [stream.to_owned(), format!("{stream}_staging"), format!("{stream}_conflicts")] {
            let full = names.of(&name);
            let Some(known) = self.0.get(&name) else { return Some(missing(&full)) };
            let mut ours: HashSet<&str> = ["load_id", "found_at"].into();
            for column in &table.columns {
                let (quoted, wanted) = (quoted(&column.name), dialect.column_type(column.kind));
                ours.insert(&column.name);
                let Some(found) = known.get(&*column.name) else {
                    return Some(format!(
                        "the table {full} has no column {quoted}, which the schema of {stream} has: ALTER TABLE {full} ADD \
                         COLUMN {quoted} {wanted}"
                    ));
                };
                // Redshift's catalogue spells types in more than one way.
                if dialect == Dialect::Postgres && found.kind != script::catalogued(dialect, column.kind) {
                    return Some(format!(
                        "the column {quoted} of {full} is of type {}, and by the schema of {stream} it is {wanted}: ALTER \
                         TABLE {full} ALTER COLUMN {quoted} TYPE {wanted}, or change the schema",
                        found.kind
                    ));
                }
            }
            let strange = known.iter().find(|(column, known)| known.demanded && !ours.contains(column.as_str()));
            if let Some((column, _)) = strange {
                let quoted = quoted(column);
                return Some(format!(
                    "the column {quoted} of {full} is none of the schema of {stream}, and does not take null: ALTER TABLE \
                     {full} DROP COLUMN {quoted}, or give it a default"
                ));
            }
        }
        None
    }
}

fn missing(table: &str) -> String {
    format!("there is no table {table}: run `logweir schema` for this warehouse and execute what it prints")
}

/// What else loads the table of `stream`, if something does.
pub(super) async fn copy_job(
    session: &mut dyn Session,
    names: &Names,
    stream: &str,
) -> Result<Option<String>, Failure> {
    for table in [stream.to_owned(), format!("{stream}_staging")] {
        let Some(sql) = session.copy_job_on(names.schema(), &table) else { continue };
        if let Some(job) = session.rows(&sql).await?.into_iter().flatten().flatten().next() {
            return Ok(Some(format!(
                "the COPY JOB {job} loads {}: what both load would be there twice. Drop the job, or write load = \
                 \"copy_job\"",
                names.of(&table)
            )));
        }
    }
    Ok(None)
}
