//! A warehouse of one stream, its bucket, and a load.

use std::{fs, io::Write, path::PathBuf};

use flate2::{Compression, write::GzEncoder};
use logweir::{
    schema::FieldType,
    sink::Codec,
    warehouse::load::{Copy, CopyColumn, CopyObject, CopySettings, Guard, Script, Step},
};

use crate::postgres::Postgres;

/// The tables, and the view of COPY's errors, which here is a table that the stub fills.
const TABLES: &str = "
CREATE SCHEMA logweir;
CREATE TABLE logweir.ledger (object text, load int);
CREATE TABLE logweir.heard (event_id text NOT NULL, n bigint);
CREATE TABLE logweir.heard_staging (event_id text, n bigint);
CREATE TABLE sys_load_error_detail (query_id bigint, session_id int, start_time timestamp DEFAULT clock_timestamp(),
    file_name char(256), line_number bigint, column_name char(127), column_type char(10), error_code int,
    error_message char(512));
";
/// The bucket.
pub(crate) const BUCKET: &str = "logs";
/// The lines of each object.
pub(crate) const LINES: u64 = 5;

pub(crate) struct Warehouse {
    pub(crate) postgres: Postgres,
    bucket: tempfile::TempDir,
}

impl Warehouse {
    pub(crate) fn start() -> Self {
        let postgres = Postgres::start();
        postgres.query(TABLES);
        Self { postgres, bucket: tempfile::tempdir().unwrap() }
    }

    /// The directory with the objects.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.bucket.path().to_owned()
    }

    /// Stores an object of [`LINES`] lines with ids of its own.
    pub(crate) fn store(&self, key: &str) {
        let line = |n| format!("{{\"event_id\":\"{key}/{n}\",\"n\":{n},\"more\":1}}\n");
        let lines = (0..LINES).map(line).collect::<Vec<_>>().concat();
        self.store_text(key, &lines);
    }

    pub(crate) fn store_text(&self, key: &str, lines: &str) {
        let bytes = if Codec::of_key(key) == Codec::Zstd {
            zstd::encode_all(lines.as_bytes(), 3).unwrap()
        } else {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(lines.as_bytes()).unwrap();
            gzip.finish().unwrap()
        };
        self.store_bytes(key, &bytes);
    }

    pub(crate) fn store_bytes(&self, key: &str, bytes: &[u8]) {
        let path = self.bucket.path().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The script that loads `keys` as the load of number `load`, with the manifest that it names.
    pub(crate) fn load(&self, keys: &[&str], load: u32) -> Script {
        let manifest = format!("manifests/{load}.json");
        let entries: Vec<_> = keys
            .iter()
            .map(|key| serde_json::json!({"url": format!("s3://{BUCKET}/{key}"), "mandatory": true}))
            .collect();
        self.store_bytes(&manifest, serde_json::json!({ "entries": entries }).to_string().as_bytes());
        let keys_of = keys.iter().map(|key| format!("'{key}'")).collect::<Vec<_>>().join(", ");
        let rows = keys.iter().map(|key| format!("('{key}', {load})")).collect::<Vec<_>>().join(", ");
        let column = |name: &str, kind| CopyColumn { name: name.into(), kind, required: false };
        let object = |key: &&str| CopyObject { key: (*key).to_owned(), bytes: 1, events: LINES, crc32: 0 };
        let sql = |what, sql: &str| Step::Sql { what, sql: sql.to_owned() };
        let guard = |what, holds: String| Step::Guard {
            what,
            sql: format!("SELECT 1 / (CASE WHEN {holds} THEN 1 ELSE 0 END)"),
        };
        Script {
            steps: vec![
                sql("lock the ledger", "LOCK TABLE logweir.ledger"),
                guard(
                    Guard::NotLoaded,
                    format!("(SELECT count(*) FROM logweir.ledger WHERE object IN ({keys_of})) = 0"),
                ),
                sql("empty the staging table", "DELETE FROM logweir.heard_staging"),
                Step::Copy(Copy {
                    table: "\"logweir\".\"heard_staging\"".to_owned(),
                    columns: vec![
                        column("event_id", FieldType::String { max_bytes: 100 }),
                        column("n", FieldType::Int),
                    ],
                    objects: keys.iter().map(object).collect(),
                    codec: keys.first().map(|key| Codec::of_key(key)).unwrap_or_default(),
                    manifest: format!("s3://{BUCKET}/{manifest}"),
                }),
                guard(
                    Guard::Counted,
                    format!("(SELECT count(*) FROM logweir.heard_staging) = {}", LINES * keys.len() as u64),
                ),
                sql("insert", "INSERT INTO logweir.heard SELECT * FROM logweir.heard_staging"),
                sql("ledger", &format!("INSERT INTO logweir.ledger VALUES {rows}")),
            ],
        }
    }

    /// How many rows the stream has, how many different ones, and how many objects the ledger has.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let count = |sql: &str| self.postgres.query(sql).parse().unwrap();
        (
            count("SELECT count(*) FROM logweir.heard"),
            count("SELECT count(DISTINCT event_id) FROM logweir.heard"),
            count("SELECT count(*) FROM logweir.ledger"),
        )
    }
}

/// What COPY is told.
pub(crate) fn copying() -> CopySettings {
    CopySettings { iam_role: "arn:aws:iam::123456789012:role/loader".to_owned(), region: Some("eu-west-1".to_owned()) }
}
