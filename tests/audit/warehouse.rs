//! What the warehouse's ledger and tables tell, against the books and the objects: on a real PostgreSQL.

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use logweir::{
    batch::{Millis, StreamName},
    sink::BoxFuture,
    warehouse::{
        Dialect, Names, Place,
        audit::{self, AuditError, Range, Request, Summary, Warehouse},
        load::{Failure, Row, Script, Session},
    },
};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::{
    HOUR, LATER, PREFIX, RECEIVED, Site, batches,
    postgres::{Postgres, is_installed},
};

/// The tables of the contract between the loader and everybody else, as the audit needs them.
const TABLES: &str = r"
CREATE SCHEMA logweir;
CREATE TABLE logweir.logweir_ledger (stream text NOT NULL, object text NOT NULL, received_hour timestamptz NOT NULL,
    state text NOT NULL, load_id text NOT NULL, events bigint NOT NULL, bytes bigint NOT NULL, error text,
    changed_at timestamptz NOT NULL);
CREATE TABLE logweir.logweir_loads (load_id text, stream text, received_hour timestamptz, lines bigint, loaded bigint,
    duplicates bigint, conflicts bigint, late bigint, loaded_at timestamptz);
CREATE TABLE logweir.load_status (stream text, complete_through timestamptz, late_rows bigint, set_aside_objects bigint,
    set_aside_events bigint, held_back_by text, last_load timestamptz, last_load_id text, checked_at timestamptz);
CREATE TABLE logweir.heard (event_id text NOT NULL, received_at timestamptz NOT NULL);
";

/// Answers questions, and runs nothing.
struct Reader {
    client: tokio_postgres::Client,
}

impl Reader {
    async fn new(server: &Postgres) -> Self {
        let settings = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port);
        let (client, driver) = tokio_postgres::connect(&settings, NoTls).await.unwrap();
        tokio::spawn(driver);
        client.batch_execute("SET TIME ZONE 'UTC'").await.unwrap();
        Self { client }
    }
}

impl Session for Reader {
    fn run<'a>(&'a mut self, _: &'a Script) -> BoxFuture<'a, Result<(), Failure>> {
        panic!("an audit changes nothing")
    }

    fn rows<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            let refused = |error: tokio_postgres::Error| Failure::Refused {
                step: sql.to_owned(),
                why: error.as_db_error().map_or_else(|| error.to_string(), |told| told.message().to_owned()),
            };
            let messages = self.client.simple_query(sql).await.map_err(refused)?;
            let rows = messages.into_iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
                }
                _ => None,
            });
            Ok(rows.collect())
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }
}

/// A place with stored objects, and a warehouse that has loaded them.
struct World {
    site: Site,
    server: Postgres,
}

impl World {
    /// Everything of `heard` was loaded by one load an hour: of nine's 150 lines 2 are duplicates and 1 is a conflict.
    async fn loaded() -> Self {
        let site = Site::directory();
        site.store(batches()).await;
        let server = Postgres::start();
        let world = Self { site, server };
        world.sql(TABLES);
        for (hour, load, [lines, loaded, duplicates, conflicts]) in
            [("09", "a", [150, 147, 2, 1]), ("10", "b", [60, 60, 0, 0]), ("11", "c", [70, 70, 0, 0])]
        {
            let counts: &[u64] = if hour == "09" { &[100, 50] } else { &[lines] };
            let at = format!("'2026-11-22T{hour}:00:00Z'");
            for (key, events) in world.keys(hour).iter().zip(counts) {
                world.sql(&format!(
                    "INSERT INTO logweir.logweir_ledger VALUES ('heard', '{key}', {at}, 'loaded', '{load}', {events}, 1, \
                     NULL, now())"
                ));
            }
            world.sql(&format!(
                "INSERT INTO logweir.logweir_loads VALUES ('{load}', 'heard', {at}, {lines}, {loaded}, {duplicates}, \
                 {conflicts}, 0, now()); \
                 INSERT INTO logweir.heard SELECT '{load}-' || n, timestamptz {at} + n * interval '1 second' \
                 FROM generate_series(0, {loaded} - 1) n"
            ));
        }
        world
            .sql("INSERT INTO logweir.load_status (stream, complete_through) VALUES ('heard', '2026-11-22T12:00:00Z')");
        world
    }

    fn sql(&self, sql: &str) {
        self.server.query(sql);
    }

    /// The keys of the objects of `heard` in an hour of the day.
    fn keys(&self, hour: &str) -> Vec<String> {
        self.site.keys(&format!("heard/dt=2026-11-22/hour={hour}"))
    }

    async fn try_audit(&self, now: i64) -> Result<(Summary, String), AuditError> {
        let place = Arc::new(Place {
            store: Arc::clone(&self.site.store),
            bucket: self.site.place.clone(),
            prefix: PREFIX.into(),
            timeout: Duration::from_secs(10),
        });
        let range = Range::parse("2026-11-22", "2026-11-23").unwrap();
        let request = Request { range, quick: false, required: true, now: Millis::new(now).unwrap() };
        let mut session = Reader::new(&self.server).await;
        let warehouse = Warehouse {
            session: &mut session,
            names: Names::new("logweir"),
            streams: BTreeSet::from([StreamName::new("heard").unwrap()]),
        };
        let mut out = Vec::new();
        let summary = audit::run(&place, request, Some(warehouse), &mut out).await?;
        Ok((summary, String::from_utf8(out).unwrap()))
    }

    async fn audit(&self) -> (Summary, String) {
        self.try_audit(LATER).await.unwrap()
    }
}

/// Loaded, duplicates, set aside, to load.
fn loads<'a>(report: &'a str, hour: &str, stream: &str) -> Vec<&'a str> {
    crate::row(report, hour, stream).split_off(5)
}

#[tokio::test]
async fn what_was_loaded_as_it_was_stored_adds_up() {
    if !is_installed() {
        return;
    }
    let world = World::loaded().await;
    let (summary, report) = world.audit().await;
    assert_eq!(summary, Summary::default(), "{report}");
    assert_eq!(loads(&report, "2026-11-22T09", "heard"), ["147", "2", "1", "0"], "{report}");
    assert_eq!(loads(&report, "2026-11-22T10", "heard"), ["60", "0", "0", "0"]);
    // Nothing loads this one.
    assert_eq!(loads(&report, "2026-11-22T09", "seen"), ["-"; 4]);
    assert!(report.lines().any(|line| line.starts_with("total") && line.ends_with(" 0")), "{report}");

    // Erased rows are told, and no difference.
    world.sql("DELETE FROM logweir.heard WHERE event_id = 'b-7'");
    let (summary, report) = world.audit().await;
    assert_eq!(summary, Summary::default(), "{report}");
    assert!(report.contains("1 rows, heard of dt=2026-11-22/hour=10 are not in the table: erased"), "{report}");
}

#[tokio::test]
async fn an_object_that_is_neither_loaded_nor_set_aside_is_named_once_its_hour_is_complete() {
    if !is_installed() {
        return;
    }
    let world = World::loaded().await;
    let key = world.keys("11").remove(0);
    world.sql(
        "DELETE FROM logweir.logweir_ledger WHERE load_id = 'c'; DELETE FROM logweir.logweir_loads WHERE load_id = 'c'; \
         DELETE FROM logweir.heard WHERE event_id LIKE 'c-%'; \
         UPDATE logweir.load_status SET complete_through = '2026-11-22T11:59:59.999Z'",
    );
    let (summary, report) = world.audit().await;
    assert_eq!(summary, Summary::default(), "{report}");
    assert_eq!(loads(&report, "2026-11-22T11", "heard"), ["0", "0", "0", "70"], "{report}");
    world.sql("UPDATE logweir.load_status SET complete_through = '2026-11-22T12:00:00Z'");
    let (summary, report) = world.audit().await;
    assert_eq!(summary.differences, 1, "{report}");
    assert!(report.contains(&format!("not loaded: {key} (70 events")), "{report}");
    for state in ["set_aside", "given_up"] {
        world.sql(&format!(
            "DELETE FROM logweir.logweir_ledger WHERE load_id = 'd'; INSERT INTO logweir.logweir_ledger VALUES \
             ('heard', '{key}', '2026-11-22T11:00:00Z', '{state}', 'd', 70, 1, 'not gzip', now())"
        ));
        let (summary, report) = world.audit().await;
        assert_eq!(summary, Summary::default(), "{report}");
        assert_eq!(loads(&report, "2026-11-22T11", "heard"), ["0", "0", "70", "0"], "{report}");
    }
    // A status that nobody has written holds nobody to anything.
    world.sql("DELETE FROM logweir.logweir_ledger WHERE load_id = 'd'; UPDATE logweir.load_status SET complete_through = NULL");
    assert_eq!(world.audit().await.0, Summary::default());
}

#[tokio::test]
async fn what_the_ledger_and_the_table_tell_otherwise_is_named() {
    if !is_installed() {
        return;
    }
    let world = World::loaded().await;
    let (nine, ten) = (world.keys("09").remove(0), world.keys("10").remove(0));
    world.sql(&format!(
        "UPDATE logweir.logweir_ledger SET events = 101 WHERE object = '{nine}'; \
         UPDATE logweir.logweir_loads SET duplicates = 1 WHERE load_id = 'b'; \
         INSERT INTO logweir.logweir_ledger VALUES ('heard', 'raw/strange', '2026-11-22T10:00:00Z', 'loaded', 'x', 5, 1, \
         NULL, now()); \
         INSERT INTO logweir.heard VALUES ('twice', '2026-11-22T11:00:00Z'), ('twice', '2026-11-22T11:59:59.999Z')"
    ));
    // A day after the hour, so that nothing may have left by a rule.
    let (summary, report) = world.try_audit(RECEIVED + 24 * HOUR).await.unwrap();
    for named in [
        format!("loaded otherwise: {nine} (101 events by the ledger, 100 by the books)"),
        "bad load: load a, heard of dt=2026-11-22/hour=09 (150 lines, but the ledger's objects of it have 151 events)"
            .to_owned(),
        "bad load: load b, heard of dt=2026-11-22/hour=10 (60 lines, but 60 loaded, 1 duplicates, 0 conflicts)"
            .to_owned(),
        "loaded otherwise: raw/strange (5 events by the ledger, and no page names it)".to_owned(),
        "bad load: load x, heard of dt=2026-11-22/hour=10 (the ledger's objects of it have 5 events, and nothing"
            .to_owned(),
        "more rows: rows, heard of dt=2026-11-22/hour=11 (72 in the table, 70 by the ledger)".to_owned(),
    ] {
        assert!(report.contains(&named), "{named}\n{report}");
    }
    assert_eq!(summary.differences, 6, "{report}");
    assert!(!report.contains(&ten), "{report}");
}

#[tokio::test]
async fn an_object_that_was_loaded_may_leave_after_a_day_and_no_other_may() {
    if !is_installed() {
        return;
    }
    let world = World::loaded().await;
    let loaded = world.keys("10").remove(0);
    fs::remove_file(world.site.path(&loaded)).unwrap();
    let (summary, report) = world.audit().await;
    assert_eq!(summary, Summary::default(), "{report}");
    assert!(
        report.contains("1 objects, heard of dt=2026-11-22/hour=10 were loaded and are not stored any more"),
        "{report}"
    );
    let (summary, report) = world.try_audit(RECEIVED + 2 * HOUR).await.unwrap();
    assert_eq!(summary.differences, 1, "{report}");
    assert!(report.contains(&format!("missing: {loaded} (60 events)")), "{report}");
    // What was set aside has not been loaded.
    world.sql(&format!("UPDATE logweir.logweir_ledger SET state = 'set_aside' WHERE object = '{loaded}'"));
    let (_, report) = world.audit().await;
    assert!(report.contains(&format!("missing: {loaded} (60 events)")), "{report}");
    // Of rejected events the warehouse knows nothing.
    let rejected = world.site.keys("_rejected/heard/dt=2026-11-22/hour=09").remove(0);
    fs::remove_file(world.site.path(&rejected)).unwrap();
    assert!(world.audit().await.1.contains(&format!("missing: {rejected} (3 events)")));
}

#[tokio::test]
async fn a_warehouse_that_cannot_be_asked_is_told() {
    if !is_installed() {
        return;
    }
    let world = World::loaded().await;
    world.sql("DROP TABLE logweir.heard");
    let error = world.try_audit(LATER).await.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read the warehouse: ") && error.contains("\"logweir.heard\" does not"),
        "{error}"
    );
}
