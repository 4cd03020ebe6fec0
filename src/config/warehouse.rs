//! `[warehouse]`: what loads the objects, for those who use SQL.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{connection::Connection, period::Period, report::Report, size::Size};

/// The warehouse that the streams' objects are loaded into, by `logweir load`; serving does not touch it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Warehouse {
    /// What it is. Default `none`.
    pub kind: WarehouseKind,
    /// Its schema (in the sense of SQL) in which all tables are: `[a-z_][a-z0-9_]*`, up to 63 bytes. Default `logweir`.
    pub schema: String,
    /// The sink whose objects are loaded. Default: the first required one.
    pub sink: Option<String>,
    /// How far apart two copies of an event may be received and still be found to be one, an hour to 90 days. Default
    /// 7 days: the longest that a client may retry.
    pub dedupe_window: Period,
    /// How long a loop (`logweir load --every` without a time) waits between two rounds, 1 s to a day. Default 5 min.
    pub interval: Period,
    /// Objects that one transaction loads at most, 1 to 10,000. Default 500.
    pub max_objects: usize,
    /// Their compressed bytes, 1 MiB to 1 TiB, unless a single one has more. Default 1 GiB.
    pub max_bytes: Size,
    /// How long one statement may take, 1 s to a day. Default 1 h.
    pub statement_timeout: Period,
    /// Where metrics are written after each round, for a collector of text files. Default none.
    pub metrics_file: Option<PathBuf>,
    /// How it is reached, unless it is Redshift by its Data API.
    pub connection: Connection,
    /// Kind `redshift`: how statements get there. Default `wire`.
    pub api: Option<RedshiftApi>,
    /// Kind `redshift`: the ARN of the role with which COPY reads the bucket.
    pub iam_role: Option<String>,
    /// Kind `redshift`: the bucket's region, if it is not the warehouse's; and that of the Data API, if it is not the
    /// environment's.
    pub region: Option<String>,
    /// Kind `redshift`, Data API: the workgroup of a serverless warehouse.
    pub workgroup: Option<String>,
    /// Kind `redshift`, Data API: the identifier of a provisioned cluster.
    pub cluster: Option<String>,
    /// Kind `redshift`, Data API: the database.
    pub database: Option<String>,
    /// Kind `redshift`, Data API: the ARN of the secret with the user and the password. Default none: the credentials of
    /// the environment are the user's.
    pub secret_arn: Option<String>,
    /// Kind `redshift`, Data API: the URL of what answers instead of AWS.
    pub endpoint: Option<String>,
}

/// What a warehouse is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WarehouseKind {
    /// There is none, or somebody else loads it.
    #[default]
    None,
    /// PostgreSQL.
    Postgres,
    /// Amazon Redshift.
    Redshift,
}

/// How statements get to Redshift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RedshiftApi {
    /// Over a connection, as to PostgreSQL.
    #[default]
    Wire,
    /// Over HTTPS, by the Data API: no connection, no network of the warehouse's own.
    Data,
}

impl Default for Warehouse {
    fn default() -> Self {
        Self {
            kind: WarehouseKind::None,
            schema: "logweir".to_owned(),
            sink: None,
            dedupe_window: Period::days(7),
            interval: Period::minutes(5),
            max_objects: 500,
            max_bytes: Size::gib(1),
            statement_timeout: Period::hours(1),
            metrics_file: None,
            connection: Connection::default(),
            api: None,
            iam_role: None,
            region: None,
            workgroup: None,
            cluster: None,
            database: None,
            secret_arn: None,
            endpoint: None,
        }
    }
}

impl Warehouse {
    pub(super) fn check(&self, report: &mut Report) {
        report.within("warehouse.dedupe_window", &self.dedupe_window, &(Period::hours(1)..=Period::days(90)));
        report.within("warehouse.interval", &self.interval, &(Period::seconds(1)..=Period::days(1)));
        report.within("warehouse.max_objects", &self.max_objects, &(1..=10_000));
        report.within("warehouse.max_bytes", &self.max_bytes, &(Size::mib(1)..=Size::gib(1024)));
        report.within("warehouse.statement_timeout", &self.statement_timeout, &(Period::seconds(1)..=Period::days(1)));
        self.connection.check(&"warehouse.connection".into(), report);
        self.check_schema(report);
        self.check_kind(report);
    }

    fn check_schema(&self, report: &mut Report) {
        let first = self.schema.bytes().next();
        let sound = first.is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
            && self.schema.len() <= 63
            && self.schema.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !sound {
            report.wrong(
                "warehouse.schema",
                format!("is {:?}, which is no name of a schema", self.schema),
                "use [a-z_][a-z0-9_]*, at most 63 bytes",
            );
        }
    }

    /// What each kind needs, and what it has no use for.
    fn check_kind(&self, report: &mut Report) {
        if self.kind == WarehouseKind::None {
            return;
        }
        let redshift = self.kind == WarehouseKind::Redshift;
        let data = redshift && self.api == Some(RedshiftApi::Data);
        let key = |key: &str| super::setting::Setting::from("warehouse").key(key);
        for (name, given, fits, whose) in [
            ("api", self.api.is_some(), redshift, "Redshift"),
            ("iam_role", self.iam_role.is_some(), redshift, "Redshift"),
            ("region", self.region.is_some(), redshift, "Redshift"),
            ("workgroup", self.workgroup.is_some(), data, "Redshift's Data API"),
            ("cluster", self.cluster.is_some(), data, "Redshift's Data API"),
            ("database", self.database.is_some(), data, "Redshift's Data API"),
            ("secret_arn", self.secret_arn.is_some(), data, "Redshift's Data API"),
            ("endpoint", self.endpoint.is_some(), data, "Redshift's Data API"),
        ] {
            if given && !fits {
                report.wrong(key(name), format!("is a setting of {whose} alone"), "leave it out");
            }
        }
        if data {
            if self.database.is_none() {
                report.wrong(key("database"), "is missing, and the Data API needs it", "name the database");
            }
            if self.workgroup.is_some() == self.cluster.is_some() {
                report.wrong(
                    key("workgroup"),
                    "or warehouse.cluster must be given, and not both",
                    "name the one that you have",
                );
            }
        } else if !self.connection.is_given() {
            report.wrong(key("connection").key("host"), "is missing", "name the host of the warehouse");
        }
        if redshift && self.iam_role.is_none() {
            report.wrong(key("iam_role"), "is missing, and COPY reads the bucket with it", "name the role's ARN");
        }
    }
}
