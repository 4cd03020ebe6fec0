//! COPY JOBs of Redshift: it loads new objects by itself, and nobody's copies are found out but by the view over them.
//!
//! Modelled from the documentation, and never run on Redshift:
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_COPY-JOB.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/loading-data-copy-job.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/SYS_COPY_JOB_DETAIL.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/copy-parameters-data-format.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_VIEW.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_WF_LAG.html>,
//! <https://docs.aws.amazon.com/redshift/latest/dg/r_WF_LEAD.html>. The views alone are executed by tests/schema.rs, on
//! PostgreSQL.

use std::fmt::Write as _;

use super::{
    Definitions, FREE_FORM, Target, TargetError, check_columns, erasure,
    grants::{self, Purpose},
    is_free_form, redshift, tables,
};
use crate::{
    schema::Load,
    warehouse::{
        Dialect, Names, Table,
        evolution::Evolution,
        load::compression,
        table::{literal, quoted},
    },
};

const DIALECT: Dialect = Dialect::Redshift;

/// What is needed beside the table.
struct Place<'d> {
    definitions: &'d Definitions,
    iam_role: &'d str,
}

/// The COPY JOBs of the streams with `load = "copy_job"`, the tables that they load into and the views over those.
///
/// Tables and views may be made again; a job that there is already is refused.
///
/// # Errors
/// [`TargetError`] if there is no such stream, no role to read the bucket with, or no bucket.
pub fn write(definitions: &Definitions) -> Result<String, TargetError> {
    let (chosen, told) = definitions.chosen(has_a_job)?;
    let place = Place::new(definitions)?;
    let names = &definitions.names;
    let mut out =
        String::from("-- The COPY JOBs of logweir in Amazon Redshift, by `logweir schema copy-job`. To be run once.\n");
    out.push_str(&told);
    out.push_str(
        "--\n-- AUTO ON needs an S3 event integration of the bucket with this warehouse; see\n-- \
         https://docs.aws.amazon.com/redshift/latest/dg/loading-data-copy-job.html. COPY JOB CREATE is not done within \
         a\n-- transaction.\n",
    );
    let _ = writeln!(out, "\nCREATE SCHEMA IF NOT EXISTS {};", quoted(names.schema()));
    for table in &chosen {
        place.raw(&mut out, table);
        place.views(&mut out, table);
        place.job(&mut out, table);
    }
    grants::roles(&mut out, DIALECT, names);
    grants::tables(&mut out, DIALECT, names, &granted(names, &chosen));
    checks(&mut out, names, &chosen);
    let events: Vec<_> = chosen.iter().map(|table| (table.stream.as_str(), vec![raw_name(names, table)])).collect();
    erasure::write(&mut out, Target::CopyJob, definitions, &events);
    Ok(out)
}

/// What brings tables, views and jobs to what they should be, where `evolutions` have happened since `old`. To be run once.
/// The jobs go on, since they name no columns, unless they are to read other objects, or with another role.
///
/// # Errors
/// [`TargetError`] as for [`write`].
pub fn alter(old: &Definitions, definitions: &Definitions, evolutions: &[Evolution]) -> Result<String, TargetError> {
    let names = &definitions.names;
    let reads = |of: &Definitions| (of.objects.clone(), of.iam_role.clone(), of.region.clone());
    let reads_elsewhere = reads(old) != reads(definitions);
    let other_window = old.dedupe_window != definitions.dedupe_window;
    let mut out = String::new();
    for evolution in evolutions {
        let Some(table) = definitions.tables.iter().find(|table| table.stream == evolution.stream) else { continue };
        if has_a_job(table).is_err() {
            continue;
        }
        check_columns(table)?;
        let place = Place::new(definitions)?;
        if evolution.is_new(has_a_job) {
            place.raw(&mut out, table);
            place.views(&mut out, table);
            place.job(&mut out, table);
        } else {
            let other_columns = !evolution.added.is_empty() || !evolution.widened.is_empty() || evolution.view_changes;
            if other_columns {
                // A view is replaced only by one of the same columns, and a column that a view shows keeps its type.
                let stream = table.stream.as_str();
                let _ = writeln!(out, "DROP VIEW IF EXISTS {};", names.conflicts(stream));
                let _ = writeln!(out, "DROP VIEW IF EXISTS {};", names.of(stream));
                redshift::alter_columns(&mut out, &[raw_name(names, table)], evolution);
            }
            if other_columns || other_window {
                place.views(&mut out, table);
            }
            if reads_elsewhere {
                // COPY JOB ALTER changes nothing but AUTO.
                let _ = writeln!(out, "COPY JOB DROP {};", job_name(names, table));
                place.job(&mut out, table);
            }
            if !other_columns {
                continue;
            }
        }
        grants::tables(&mut out, DIALECT, names, &granted(names, &[table]));
    }
    Ok(out)
}

/// Whether a COPY JOB loads `table`'s stream.
fn has_a_job(table: &Table) -> Result<(), String> {
    if is_free_form(table) {
        return Err(FREE_FORM.to_owned());
    }
    match table.load {
        Load::CopyJob => Ok(()),
        Load::Loader => Err("load is \"loader\", and a job would load its objects a second time".to_owned()),
        Load::None => Err("load is \"none\": set it to \"copy_job\" for a job".to_owned()),
    }
}

fn raw_name(names: &Names, table: &Table) -> String {
    names.of(&format!("{}_raw", table.stream))
}

/// The job's name: unique in the database, and without a hyphen, which names of schemas and streams have none of.
fn job_name(names: &Names, table: &Table) -> String {
    format!("{}_{}", names.schema(), table.stream)
}

fn granted(names: &Names, chosen: &[&Table]) -> Vec<(Purpose, Vec<String>)> {
    let view = |table: &&Table| [names.of(table.stream.as_str()), names.conflicts(table.stream.as_str())];
    vec![
        (Purpose::Raw, chosen.iter().map(|table| raw_name(names, table)).collect()),
        (Purpose::View, chosen.iter().flat_map(view).collect()),
    ]
}

/// The jobs' failures: a file that could not be loaded is skipped from then on, so somebody must look.
fn checks(out: &mut String, names: &Names, chosen: &[&Table]) {
    let jobs: Vec<_> = chosen.iter().map(|table| literal(&job_name(names, table)).to_string()).collect();
    let _ = writeln!(
        out,
        "\n-- The check: files that a job could not load (status E; P is waiting, I is in). A job never tries such a file \
         again by\n-- itself. Ask this every few minutes, and raise an alarm at the first row; the view forgets after some \
         days.\nSELECT job_name, file_location, file_name, status, enqueue_time\nFROM SYS_COPY_JOB_DETAIL\nWHERE job_name \
         IN ({}) AND status = 'E'\nORDER BY enqueue_time DESC;",
        jobs.join(", ")
    );
}

impl<'d> Place<'d> {
    fn new(definitions: &'d Definitions) -> Result<Self, TargetError> {
        let Some(iam_role) = definitions.iam_role.as_deref() else {
            let why = "is missing: a COPY JOB takes no default role, so name the ARN of the one that reads the bucket";
            return Err(TargetError::Setting { setting: "warehouse.iam_role", why: why.to_owned() });
        };
        if !definitions.objects.root.starts_with("s3://") {
            let root = &definitions.objects.root;
            let why =
                format!("is a sink that stores under {root}, and a COPY JOB reads a bucket of S3: name such a sink");
            return Err(TargetError::Setting { setting: "warehouse.sink", why });
        }
        Ok(Self { definitions, iam_role })
    }

    /// The table that the job loads into. No column is NOT NULL: one old event without a field that is required now
    /// would keep its whole file out.
    fn raw(&self, out: &mut String, table: &Table) {
        let _ = writeln!(
            out,
            "\n-- {0}: what the job loads, copies and all. DISTKEY event_id: the view brings copies together by it.",
            table.stream
        );
        let sorted_by = Some("event_time");
        let columns: Vec<_> = (table.columns.iter())
            .map(|it| tables::column(DIALECT, &it.name, it.kind, false, sorted_by == Some(&*it.name)))
            .collect();
        let attributes = "\nDISTSTYLE KEY DISTKEY (\"event_id\")\nCOMPOUND SORTKEY (\"event_time\")";
        tables::create(out, &raw_name(&self.definitions.names, table), &columns, attributes);
    }

    /// What is seen of it: each event once, and what bears the id of another one.
    fn views(&self, out: &mut String, table: &Table) {
        let (names, window) = (&self.definitions.names, self.definitions.dedupe_window.as_secs());
        let (raw, view) = (raw_name(names, table), names.of(table.stream.as_str()));
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(&column.name).to_string()).collect();
        // No field has a blank in its name, so "copied at" and "shown next at" are none.
        let _ = writeln!(
            out,
            "-- Each event once: of copies that were received within {window} s (warehouse.dedupe_window) of one another, \
             the first.\nCREATE OR REPLACE VIEW {view} AS\nSELECT {listed}\nFROM (\n    SELECT {listed},\n        \
             LAG(\"received_at\") OVER (PARTITION BY \"event_id\" ORDER BY \"received_at\") AS \"copied at\"\n    FROM \
             {raw}\n) AS copies\nWHERE \"copied at\" IS NULL OR \"received_at\" > DATEADD(second, {window}, \"copied at\");",
            listed = columns.join(", "),
        );
        let is_compared = |name: &str| table.time_field.as_deref() != Some(name);
        let same: Vec<_> = (table.columns.iter())
            .filter(|column| column.is_of_event() && is_compared(&column.name))
            .map(|column| {
                let name = quoted(&column.name);
                DIALECT.same(column.kind, &format!("later.{name}"), &format!("first.{name}"))
            })
            .collect();
        let same = if same.is_empty() { "TRUE".to_owned() } else { same.join("\n    AND ") };
        let of_later: Vec<_> = columns.iter().map(|column| format!("later.{column}")).collect();
        let _ = writeln!(
            out,
            "-- What that view leaves out though it is no copy: it bears the id of another event, with other content than \
             the\n-- last that is shown before it.\nCREATE OR REPLACE VIEW {conflicts} AS\nSELECT {of_later}\nFROM {raw} AS \
             later\nJOIN (\n    SELECT {listed},\n        LEAD(\"received_at\") OVER (PARTITION BY \"event_id\" ORDER BY \
             \"received_at\") AS \"shown next at\"\n    FROM {view}\n) AS first ON first.\"event_id\" = \
             later.\"event_id\"\n    AND later.\"received_at\" >= first.\"received_at\"\n    AND (first.\"shown next at\" IS \
             NULL OR later.\"received_at\" < first.\"shown next at\")\nWHERE NOT (\n    {same}\n);",
            listed = columns.join(", "),
            of_later = of_later.join(", "),
            conflicts = names.conflicts(table.stream.as_str()),
        );
    }

    /// The job. It names no columns, so that one that is added is loaded from then on: keys are matched to the columns
    /// that there are, and others are passed over.
    fn job(&self, out: &mut String, table: &Table) {
        let Definitions { names, objects, region, .. } = self.definitions;
        let from = format!("{}{}{}/", objects.root, objects.prefix, table.stream);
        let region = region.as_deref().map_or_else(String::new, |region| format!("\nREGION {}", literal(region)));
        let copy = format!(
            "COPY {}\nFROM {}\nIAM_ROLE {}\nFORMAT JSON 'auto' {} TIMEFORMAT 'auto' COMPUPDATE OFF{region}",
            raw_name(names, table),
            literal(&from),
            literal(self.iam_role),
            compression(objects.codec),
        );
        let job = job_name(names, table);
        let _ = writeln!(
            out,
            "-- The job takes each key once, and reads one compression: it fails at objects of another one under the same \
             prefix.\n-- It takes nothing that was stored before the job was made: what that is, this loads, once and after \
             the job was\n-- made. What both take is one row in the view.\n--   {};\n{copy}\nJOB CREATE \
             {job} AUTO ON;",
            copy.replace('\n', "\n--   ")
        );
    }
}
