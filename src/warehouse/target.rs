//! What each warehouse is told of the streams: tables, views, readers, made from the schema that validates.

use std::time::Duration;

use super::{Names, Table};

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
