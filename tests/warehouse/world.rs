//! A schema of a real PostgreSQL, and a directory of objects made by the real spool and the real driver.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use logweir::{
    batch::{InstanceId, Millis, SegmentId},
    config::{self, Source},
    ledger::Heartbeat,
    sink::{Backoff, FileStore, ObjectDriver, ObjectSettings, ObjectStore},
    spool::{Destination, Terms},
    warehouse::{
        Dialect, Names, Place, Table,
        load::{Address, Event, Limits, LoadError, Loader, PostgresSession, Report, Session, Settings, Stop},
    },
};
use tokio::time::timeout;

use crate::{
    postgres::Postgres,
    segments::{Batch, RECEIVED, SINK, Segments},
};

pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const PREFIX: &str = "raw/";
/// The schemas of the streams.
pub(crate) const STREAMS: &str = r#"
[streams.heard]
load = "loader"
time_field = "heard_at"
[streams.heard.fields]
heard_at = "timestamp"
device = { type = "string", max_bytes = 64, required = true }
n = "int"
"order" = { type = "json" }
price = { type = "decimal", precision = 8, scale = 2 }
"#;

/// An event as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) received: i64,
    pub(crate) device: String,
    pub(crate) n: i64,
}

impl Line {
    pub(crate) fn new(id: impl Into<String>, received: i64, n: i64) -> Self {
        Self { id: id.into(), received, device: "a\tb\\c".into(), n }
    }

    pub(crate) fn json(&self) -> String {
        let at = Millis::new(self.received).unwrap();
        let line = serde_json::json!({
            "event_id": self.id, "event_time": at.to_string(), "received_at": at.to_string(), "batch_id": "b",
            "heard_at": at.to_string(), "device": self.device, "n": self.n, "order": {"user": [1, "x"]},
            "price": "12.50", "extra": {"k": "v"},
        });
        format!("{line}\n")
    }
}

/// A batch of lines that were received at one time.
pub(crate) fn batch(received: i64, lines: &[Line]) -> Batch {
    let text = lines.iter().map(Line::json).collect::<String>();
    Batch { received, ..Batch::accepted("heard", text) }
}

/// `count` events that no other call with another `name` has, received at `received`.
pub(crate) fn events(name: &str, count: usize, received: i64) -> Vec<Line> {
    (0..count).map(|number| Line::new(format!("{name}-{number}"), received, number as i64)).collect()
}

/// A schema, and objects that are to be loaded into it.
pub(crate) struct World {
    pub(crate) names: Names,
    pub(crate) table: Table,
    /// What is loaded.
    pub(crate) tables: Vec<Table>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) limits: Limits,
    pub(crate) retry: bool,
    /// How objects are compressed that are stored from now on.
    pub(crate) codec: &'static str,
}

impl World {
    /// A world in a schema of its own.
    pub(crate) fn new(postgres: &Postgres, schema: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = configuration(dir.path(), postgres.port, schema);
        let loaded = config::load(Source::Text { name: "the test".into(), text }, std::iter::empty());
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        let world = Self {
            names: Names::new(schema),
            table: Table::new(&loaded.streams[0]),
            tables: vec![Table::new(&loaded.streams[0])],
            dir,
            limits: Limits { objects: 3, bytes: 1 << 30 },
            retry: false,
            codec: "gzip",
        };
        postgres.query(&ddl(&world.names, &world.table));
        world
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("objects")
    }

    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.root().join(key)
    }

    fn destination(&self) -> Destination {
        Destination {
            sink: SINK.into(),
            kind: "file".into(),
            place: self.root().to_str().unwrap().into(),
            prefix: PREFIX.into(),
            codec: self.codec.into(),
            level: 1,
            streams: Vec::new(),
        }
    }

    pub(crate) fn place(&self) -> Arc<Place> {
        Arc::new(Place {
            store: Arc::new(FileStore::default()),
            bucket: self.root().to_str().unwrap().into(),
            prefix: PREFIX.into(),
            timeout: Duration::from_secs(10),
        })
    }

    /// Stores segments of a new instance, with their books.
    pub(crate) async fn store(&self, segments: Vec<Vec<Batch>>) -> InstanceId {
        let destination = self.destination();
        let segments = Segments::each(&destination, segments);
        let settings = ObjectSettings {
            destination,
            concurrency: 2,
            attempt_timeout: Duration::from_secs(10),
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(20)),
        };
        let _keeper = segments.shelf.consumer("tests", Terms::KEPT);
        let store: Arc<dyn ObjectStore> = Arc::new(FileStore::default());
        let driver = ObjectDriver::new(settings, store, segments.consumer(), &segments.metrics);
        timeout(Duration::from_mins(1), driver.run()).await.unwrap();
        let consumer = segments.shelf.consumer("others", Terms::KEPT);
        let segment = consumer.open(SegmentId(1), &[]);
        segment.unwrap().unwrap().footer.instance().unwrap()
    }

    /// A heartbeat of `instance` at `at`, that has stored everything but what was received since `oldest`.
    pub(crate) async fn beat(&self, instance: InstanceId, at: i64, oldest: Option<i64>) {
        let millis = |at| Millis::new(at).unwrap();
        let mut heartbeat = Heartbeat::new(instance, millis(RECEIVED - HOUR), Duration::from_mins(1));
        heartbeat.at = millis(at);
        heartbeat.oldest_unstored = oldest.map(millis);
        let (bucket, key) = (self.root(), heartbeat.key(PREFIX));
        let store = FileStore::default();
        store.overwrite(bucket.to_str().unwrap(), &key, heartbeat.write()).await.unwrap();
    }

    /// The keys of all objects of the stream.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut dirs = vec![self.path(&format!("{PREFIX}heard"))];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    keys.push(path.strip_prefix(self.root()).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            names: self.names.clone(),
            tables: self.tables.clone(),
            limits: self.limits,
            window: Duration::from_hours(7 * 24),
            retry: self.retry,
        }
    }

    pub(crate) fn session(&self, port: u16) -> PostgresSession {
        PostgresSession::new(address(port, "postgres"), self.place())
    }

    pub(crate) fn loader(&self, session: Box<dyn Session>) -> Loader {
        Loader::new(session, self.place(), self.settings(), Stop::default())
    }

    /// What a round of a new loader does.
    pub(crate) async fn try_load(&self, session: Box<dyn Session>) -> Result<Report, LoadError> {
        let mut report = Report::default();
        let mut watcher = |event: Event<'_>| match event {
            Event::Again { why, .. } => crate::tell(&format!("again: {why}")),
            Event::SetAside { .. } | Event::Loaded { .. } => {}
        };
        self.loader(session).round(true, &mut report, &mut watcher).await.map(|()| report)
    }

    pub(crate) async fn load(&self, postgres: &Postgres) -> Report {
        self.try_load(Box::new(self.session(postgres.port))).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a query answers, with `{}` for the schema.
    pub(crate) fn query(&self, postgres: &Postgres, sql: &str) -> String {
        postgres.query(&sql.replace("{}", self.names.schema()))
    }

    /// Every one of `lines` is in the table once, with its value, or was a duplicate; nothing else is; and the ledger and
    /// the loads say so.
    pub(crate) fn assert_once(&self, postgres: &Postgres, lines: &[Line], objects: usize) {
        let mut expected: BTreeMap<&str, &Line> = BTreeMap::new();
        for line in lines {
            let known = expected.entry(&line.id).or_insert(line);
            if line.received < known.received {
                *known = line;
            }
        }
        let expected: Vec<String> = expected.values().map(|line| format!("{}|{}", line.id, line.n)).collect();
        // A round trip for all of it.
        let counts = "SELECT count(*), count(DISTINCT object), coalesce(sum(events), 0) FROM {}.logweir_ledger WHERE state \
                      = 'loaded';
                      SELECT coalesce(sum(lines), 0), coalesce(sum(loaded), 0), coalesce(sum(lines - loaded - duplicates - \
                      conflicts), 0), bool_and(duplicates >= 0 AND loaded >= 0) FROM {}.logweir_loads;
                      SELECT (SELECT coalesce(sum(conflicts), 0) FROM {}.logweir_loads) - (SELECT count(*) FROM \
                      {}.heard_conflicts);
                      SELECT count(*) FROM {}.logweir_loads WHERE load_id NOT IN (SELECT load_id FROM {}.logweir_ledger);
                      SELECT count(*) FROM {}.heard_staging;
                      SELECT event_id, n FROM {}.heard ORDER BY event_id COLLATE \"C\"";
        let answer = self.query(postgres, counts);
        let mut answer = answer.lines();
        let mut next = || answer.next().unwrap_or_default().to_owned();
        let (ledger, loads, conflicts, orphans, staged) = (next(), next(), next(), next(), next());
        let rows: Vec<&str> = answer.collect();
        let distinct: BTreeSet<&str> = rows.iter().copied().collect();
        let lost = expected.iter().filter(|line| !distinct.contains(line.as_str())).count();
        assert_eq!((lost, rows.len() - distinct.len()), (0, 0), "lost and doubled");
        assert_eq!(rows, expected);
        assert_eq!(ledger, format!("{objects}|{objects}|{}", lines.len()), "the ledger");
        assert_eq!(loads, format!("{}|{}|0|t", lines.len(), rows.len()), "the loads");
        assert_eq!(
            (&*conflicts, &*orphans, &*staged),
            ("0", "0", "0"),
            "conflicts, loads without objects, staged lines"
        );
    }
}

pub(crate) fn address(port: u16, user: &str) -> Address {
    Address {
        host: "127.0.0.1".into(),
        port,
        database: "postgres".into(),
        user: user.into(),
        password: String::new(),
        roots: None,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_mins(1),
    }
}

/// A configuration of the loader.
pub(crate) fn configuration(dir: &Path, port: u16, schema: &str) -> String {
    let dir = dir.display();
    format!(
        "sinks = [{{ name = \"{SINK}\", kind = \"file\", dir = \"{dir}/objects\", prefix = \"{PREFIX}\" }}]\n\
         spool.dir = \"{dir}/spool\"\n\
         [warehouse]\nkind = \"postgres\"\nschema = \"{schema}\"\nmax_objects = 3\n\
         metrics_file = \"{dir}/load.prom\"\n\
         [warehouse.connection]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"postgres\"\nuser = \"postgres\"\n\
         tls = \"off\"\n{STREAMS}"
    )
}

/// The tables that the loader needs, without any index or constraint beyond NOT NULL that could help it.
pub(crate) fn ddl(names: &Names, table: &Table) -> String {
    let stream = table.stream.as_str();
    let columns = |required: bool| {
        let mut text = String::new();
        for column in &table.columns {
            let comma = if text.is_empty() { "" } else { ", " };
            let null = if required && column.required { " NOT NULL" } else { "" };
            write!(text, "{comma}\"{}\" {}{null}", column.name, Dialect::Postgres.column_type(column.kind)).unwrap();
        }
        text
    };
    format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {ledger} (stream text NOT NULL, object text NOT NULL, received_hour timestamptz NOT NULL, state text \
         NOT NULL, load_id text NOT NULL, events bigint NOT NULL, bytes bigint NOT NULL, error text, changed_at timestamptz \
         NOT NULL);
         CREATE TABLE {loads} (load_id text NOT NULL, stream text NOT NULL, received_hour timestamptz NOT NULL, lines bigint \
         NOT NULL, loaded bigint NOT NULL, duplicates bigint NOT NULL, conflicts bigint NOT NULL, late bigint NOT NULL, \
         loaded_at timestamptz NOT NULL);
         CREATE TABLE {status} (stream text NOT NULL, complete_through timestamptz, late_rows bigint NOT NULL, \
         set_aside_objects bigint NOT NULL, set_aside_events bigint NOT NULL, held_back_by text, last_load timestamptz, \
         last_load_id text, checked_at timestamptz);
         CREATE TABLE {target} ({required});
         CREATE TABLE {staging} ({nullable});
         CREATE TABLE {conflicts} ({nullable}, load_id text NOT NULL, found_at timestamptz NOT NULL);",
        schema = names.schema(),
        ledger = names.of(Names::LEDGER),
        loads = names.of(Names::LOADS),
        status = names.of(Names::STATUS),
        target = names.of(stream),
        staging = names.staging(stream),
        conflicts = names.conflicts(stream),
        required = columns(true),
        nullable = columns(false),
    )
}

pub(crate) fn gzip(path: &Path, lines: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    fs::write(path, encoder.finish().unwrap()).unwrap();
}
