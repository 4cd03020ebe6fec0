//! What each warehouse is told of the streams: tables, views, readers, made from the schema that validates.

pub mod athena;
pub mod bigquery;
pub mod duckdb;
mod lake;
pub mod spark;
pub mod spectrum;
pub mod tableau;

use std::time::Duration;

use super::{Names, Table};

/// Why a target cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The target cannot have a column that the stream has.
    #[error("stream {stream}, column {column}: {why}")]
    Unsupported {
        /// The stream.
        stream: String,
        /// The column.
        column: String,
        /// What is in the way.
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
    /// What is written is a file of one stream, and there are others.
    #[error("{target} is a file of one stream, and there are {streams}: name one")]
    OneStream {
        /// The target.
        target: &'static str,
        /// How many streams there are.
        streams: usize,
    },
}

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
