//! What each warehouse is told of the streams: tables, views, readers, made from the schema that validates.
//!
//! Each target is a file of this directory with `write`, which makes the whole text from [`Definitions`]. Those that have
//! tables of their own also say what an [`Evolution`] asks of tables that are there already.

pub mod athena;
pub mod bigquery;
pub mod copy_job;
pub mod duckdb;
pub mod erasure;
mod grants;
mod lake;
pub mod postgres;
pub mod redshift;
pub mod spark;
pub mod spectrum;
pub mod tableau;
mod tables;

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use self::grants::Purpose;
use super::{Dialect, Names, Table, evolution::Evolution};
use crate::{
    schema::{Load, UnknownFields, column_taken, table_taken},
    sink::Codec,
};

/// What targets are written from.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// The streams' tables, in the order of the configuration.
    pub tables: Vec<Table>,
    /// How tables are called.
    pub names: Names,
    /// Where the objects are.
    pub objects: Objects,
    /// The analysts' time zone, a name of the IANA database.
    pub timezone: String,
    /// How far apart two copies of an event may be received.
    pub dedupe_window: Duration,
    /// How many of the last days rollups are counted anew.
    pub rollup_days: u32,
    /// What is counted of which stream.
    pub rollups: Vec<Counted>,
    /// The ARN of the role with which Redshift reads the bucket, if it is configured.
    pub iam_role: Option<String>,
    /// The bucket's region, if it is configured.
    pub region: Option<String>,
}

/// Where a sink's objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects {
    /// `s3://bucket/` or the absolute path of a directory, with a slash at the end.
    pub root: String,
    /// What stands before the stream in each key.
    pub prefix: String,
    /// How they are compressed, as the sink is configured now.
    pub codec: Codec,
}

/// What of a stream is counted by day and hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The stream.
    pub stream: String,
    /// The column that tells devices apart.
    pub device: String,
    /// The columns by whose values events and devices are counted.
    pub dimensions: Vec<String>,
}

/// A target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Tables of Redshift, for the loader.
    Redshift,
    /// COPY JOBs of Redshift, and the views over what they load.
    CopyJob,
    /// Tables of PostgreSQL, for the loader.
    Postgres,
    /// Views over the objects, in Athena.
    Athena,
    /// Views over the objects, in Redshift.
    Spectrum,
    /// Views over the objects, in DuckDB.
    Duckdb,
    /// A reader of the objects, in Python.
    Spark,
    /// A schema and a load command.
    Bigquery,
    /// A data source.
    Tableau,
}

impl Target {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 9] = [
        Self::Redshift,
        Self::CopyJob,
        Self::Postgres,
        Self::Athena,
        Self::Spectrum,
        Self::Duckdb,
        Self::Spark,
        Self::Bigquery,
        Self::Tableau,
    ];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redshift => "redshift",
            Self::CopyJob => "copy-job",
            Self::Postgres => "postgres",
            Self::Athena => "athena",
            Self::Spectrum => "spectrum",
            Self::Duckdb => "duckdb",
            Self::Spark => "spark",
            Self::Bigquery => "bigquery",
            Self::Tableau => "tableau",
        }
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Redshift => "tables of Amazon Redshift for `logweir load`, with encodings, keys and grants",
            Self::CopyJob => "a COPY JOB of Redshift for each stream that is loaded by one, and the views over it",
            Self::Postgres => "tables of PostgreSQL for `logweir load`, with indexes and grants",
            Self::Athena => "external tables and views of Amazon Athena over the objects",
            Self::Spectrum => "external tables and views of Redshift over the objects, by Athena's catalog",
            Self::Duckdb => "views of DuckDB over the objects",
            Self::Spark => "a reader of the objects for PySpark",
            Self::Bigquery => "a schema and a load command for BigQuery, and the view over what they load",
            Self::Tableau => "a data source of Tableau over a stream's table (.tds)",
        }
    }

    /// The target called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.as_str() == name)
    }

    /// The whole text.
    ///
    /// # Errors
    /// [`TargetError`] if the target cannot hold what is defined.
    pub fn write(self, definitions: &Definitions) -> Result<String, TargetError> {
        match self {
            Self::Redshift => redshift::write(definitions),
            Self::CopyJob => copy_job::write(definitions),
            Self::Postgres => postgres::write(definitions),
            Self::Athena => athena::write(definitions),
            Self::Spectrum => spectrum::write(definitions),
            Self::Duckdb => duckdb::write(definitions),
            Self::Spark => spark::write(definitions),
            Self::Bigquery => bigquery::write(definitions),
            Self::Tableau => tableau::write(definitions),
        }
    }

    /// What brings tables that are there to what `definitions` say, where `evolutions` are what has changed since `old`.
    /// `None` for a target without tables of its own: its whole text is written anew.
    ///
    /// # Errors
    /// [`TargetError`] if the target cannot hold what is defined.
    pub fn alter(
        self,
        old: &Definitions,
        definitions: &Definitions,
        evolutions: &[Evolution],
    ) -> Option<Result<String, TargetError>> {
        match self {
            Self::Redshift => Some(redshift::alter(definitions, evolutions)),
            Self::CopyJob => Some(copy_job::alter(old, definitions, evolutions)),
            Self::Postgres => Some(postgres::alter(definitions, evolutions)),
            Self::Spectrum => Some(spectrum::alter(old, definitions, evolutions)),
            _ => None,
        }
    }

    /// What a line of comment begins with; `None` where no line can be one.
    pub fn comment(self) -> Option<&'static str> {
        match self {
            Self::Spark | Self::Bigquery => Some("# "),
            Self::Tableau => None,
            _ => Some("-- "),
        }
    }

    /// In whose terms changes are told; where there are no tables, in those that take the fewest.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Postgres => Dialect::Postgres,
            _ => Dialect::Redshift,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A target cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot have a column.
    #[error("stream {stream}, column {column}: {why}")]
    Unsupported {
        /// The stream.
        stream: String,
        /// The column.
        column: String,
        /// Why, and what to do.
        why: String,
    },
    /// It cannot have a stream's tables.
    #[error("stream {stream}: {why}")]
    Stream {
        /// The stream.
        stream: String,
        /// Why, and what to do.
        why: String,
    },
    /// A setting stands in the way.
    #[error("{setting} {why}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it, as the rest of a sentence.
        why: String,
    },
    /// The objects are where the target does not read.
    #[error("{target} reads objects of S3, and these are in {root}")]
    Elsewhere {
        /// The target.
        target: &'static str,
        /// Where the objects are.
        root: String,
    },
    /// The objects are compressed as the target does not read them.
    #[error("{target} {why}: set codec = \"gzip\" for the sink, or for a second one that this is for (warehouse.sink)")]
    Compressed {
        /// The target.
        target: &'static str,
        /// What it reads, as the rest of a sentence.
        why: &'static str,
    },
    /// What is written is a file of one stream, and there are others.
    #[error("{target} is a file of one stream, and there are {streams}: name one with --stream")]
    OneStream {
        /// The target.
        target: &'static str,
        /// How many streams there are.
        streams: usize,
    },
    /// No stream has anything there.
    #[error("there is nothing to write: {0}")]
    Nothing(String),
}

impl Definitions {
    /// The tables that `takes` takes, and for each other one why not, as a comment.
    ///
    /// # Errors
    /// [`TargetError::Nothing`] if no table is left, [`TargetError::Stream`] if two have one name.
    fn chosen(&self, takes: impl Fn(&Table) -> Result<(), String>) -> Result<(Vec<&Table>, String), TargetError> {
        let (mut chosen, mut told): (Vec<&Table>, Vec<String>) = (Vec::new(), Vec::new());
        for table in &self.tables {
            match takes(table) {
                Ok(()) => chosen.push(table),
                Err(why) => told.push(format!("{}: {why}", table.stream)),
            }
        }
        if chosen.is_empty() {
            let none = || "no stream is declared".to_owned();
            return Err(TargetError::Nothing(if told.is_empty() { none() } else { told.join("; ") }));
        }
        let streams: Vec<&str> = chosen.iter().map(|table| table.stream.as_str()).collect();
        for table in &chosen {
            check_columns(table)?;
        }
        for &stream in &streams {
            if let Some(whose) = table_taken(stream, &streams) {
                let why = format!("its table would have {whose}: rename the stream");
                return Err(TargetError::Stream { stream: stream.to_owned(), why });
            }
        }
        let mut comment = String::new();
        for told in told {
            // Writing to a string cannot fail.
            let _ = writeln!(comment, "-- {told}");
        }
        Ok((chosen, comment))
    }
}

/// Whether the loader's targets have tables for `table`'s stream: not for one that a COPY JOB loads, which has others, nor
/// for one that declares nothing, which has no columns of its own.
fn is_for_the_loader(table: &Table) -> Result<(), String> {
    if is_free_form(table) {
        return Err(FREE_FORM.to_owned());
    }
    match table.load {
        Load::Loader | Load::None => Ok(()),
        Load::CopyJob => Err(format!("load is \"copy_job\": `logweir schema {}` has its tables", Target::CopyJob)),
    }
}

/// Whether nothing of `table` is declared.
fn is_free_form(table: &Table) -> bool {
    table.unknown == UnknownFields::Keep && !table.columns.iter().any(super::table::Column::is_of_event)
}

/// Refuses columns that every table has already.
fn check_columns(table: &Table) -> Result<(), TargetError> {
    let taken = table.columns.iter().find_map(|column| column_taken(&column.name).map(|why| (column, why)));
    let Some((column, why)) = taken else { return Ok(()) };
    Err(TargetError::Unsupported {
        stream: table.stream.to_string(),
        column: column.name.to_string(),
        why: format!("it is {why}: rename the field"),
    })
}

/// Why a stream of free form has no table.
const FREE_FORM: &str = "it declares no fields, so it has no columns: declare those that are asked for";

/// What is granted on, of the `kept` tables and those of the `chosen` streams.
fn loaders_tables(names: &Names, kept: &[&str], chosen: &[&Table]) -> Vec<(Purpose, Vec<String>)> {
    let each = |name: &dyn Fn(&str) -> String| chosen.iter().map(|table| name(table.stream.as_str())).collect();
    vec![
        (Purpose::Kept, kept.iter().map(|name| names.of(name)).collect()),
        (Purpose::Events, each(&|stream| names.of(stream))),
        (Purpose::Staging, each(&|stream| names.staging(stream))),
        (Purpose::Conflicts, each(&|stream| names.conflicts(stream))),
    ]
}

/// The tables of the `chosen` streams that have events of devices.
fn loaders_events<'t>(names: &Names, chosen: &[&'t Table]) -> Vec<(&'t str, Vec<String>)> {
    let of = |stream: &str| vec![names.of(stream), names.staging(stream), names.conflicts(stream)];
    chosen.iter().map(|table| (table.stream.as_str(), of(table.stream.as_str()))).collect()
}
