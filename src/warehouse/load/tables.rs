//! Whether the tables are as the loader needs them.

use std::collections::{HashMap, HashSet};

use super::{COPY_JOBS, Failure, Session, copy_jobs_into, script};
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
    if session.dialect() != Dialect::Redshift {
        return Ok(None);
    }
    let jobs = session.rows(COPY_JOBS).await?;
    for (name, table) in [(stream.to_owned(), names.of(stream)), (format!("{stream}_staging"), names.staging(stream))] {
        if let Some(job) = copy_jobs_into(&jobs, names.schema(), &name).first() {
            return Ok(Some(format!(
                "the COPY JOB {job} loads {table}: what both load would be there twice. Drop the job, or write load = \
                 \"copy_job\""
            )));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sink::BoxFuture,
        warehouse::load::{Row, Script},
    };

    /// A warehouse that has one COPY JOB.
    struct WithJob(Dialect);

    impl Session for WithJob {
        fn run<'a>(&'a mut self, _: &'a Script) -> BoxFuture<'a, Result<(), Failure>> {
            Box::pin(async { Err(Failure::Unreachable("nothing is run here".to_owned())) })
        }

        fn rows<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
            assert_eq!(sql, COPY_JOBS);
            let job = ["nightly", "COPY logweir.heard_staging FROM 's3://b/heard/'", "heard_staging"];
            Box::pin(async move { Ok(vec![job.map(|text| Some(text.to_owned())).to_vec()]) })
        }

        fn dialect(&self) -> Dialect {
            self.0
        }
    }

    #[tokio::test]
    async fn a_table_that_a_copy_job_loads_is_left_alone() {
        let names = Names::new("logweir");
        let told = copy_job(&mut WithJob(Dialect::Redshift), &names, "heard").await.unwrap().unwrap();
        assert!(told.starts_with("the COPY JOB nightly loads \"logweir\".\"heard_staging\": "), "{told}");
        assert_eq!(copy_job(&mut WithJob(Dialect::Redshift), &names, "seen").await, Ok(None));
        assert_eq!(copy_job(&mut WithJob(Dialect::Postgres), &names, "heard").await, Ok(None), "it has no such jobs");
    }
}
