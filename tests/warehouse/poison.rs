//! What cannot be loaded is set aside by name, and everything else is loaded.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use logweir::{
    sink::{
        BoxFuture, Failure as SinkFailure, FileStore, ObjectBody, ObjectPlan, ObjectReader, ObjectStore, Page, Placed,
        PutError, StoreError, Told,
    },
    warehouse::{
        Place,
        load::{Event, Failure, LoadError, Loader, MAX_SET_ASIDE, PostgresSession, Report, Stop},
    },
};

use crate::{
    postgres::{self, Postgres},
    segments::{Batch, RECEIVED},
    world::{HOUR, World, address, batch, ddl, events, gzip},
};

/// An object for each of `names`: its key.
async fn objects(world: &World, names: &[&str]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for name in names {
        world.store(vec![vec![batch(RECEIVED, &events(name, 10, RECEIVED))]]).await;
        keys.push(world.keys().into_iter().find(|key| !keys.contains(key)).unwrap());
    }
    keys
}

#[tokio::test]
async fn bad_objects_are_set_aside_by_name_the_rest_is_loaded_and_retry_takes_them_again() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let mut world = World::new(&postgres, "w");
    world.limits.objects = 100;
    let keys = objects(&world, &["good", "text", "half", "two", "other", "typed", "empty", "fine"]).await;
    let path = |number: usize| world.path(&keys[number]);
    let sound: Vec<Vec<u8>> = (0..keys.len()).map(|number| fs::read(path(number)).unwrap()).collect();
    let lines = |number: usize| io::read_to_string(flate2::read::GzDecoder::new(&*sound[number])).unwrap();
    fs::write(path(1), "this is no gzip").unwrap();
    fs::write(path(2), &sound[2][..sound[2].len() / 2]).unwrap();
    fs::write(path(3), [&sound[3][..], &sound[3][..]].concat()).unwrap();
    gzip(&path(4), &lines(0));
    gzip(&path(5), &lines(5).replacen("\"n\":4,", "\"n\":\"secret\",", 1));
    fs::write(path(6), "").unwrap();

    let now = logweir::batch::Clock::starting_at(None).now().get();
    let instance = world.store(vec![vec![batch(RECEIVED - HOUR, &events("old", 1, RECEIVED - HOUR))]]).await;
    world.beat(instance, now, Some(RECEIVED + 5 * HOUR)).await;
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    for (number, why) in [
        (1, "it is not exactly one gzip member: "),
        (2, "it is not exactly one gzip member: it is truncated"),
        (3, "it is not exactly one gzip member: there is something behind"),
        (4, "its lines are others than those that the books tell of"),
        (5, "line 5, column n: it is of another type"),
        (6, "it is not exactly one gzip member: "),
    ] {
        let told = stream.set_aside.iter().find(|set_aside| set_aside.object == keys[number]).unwrap();
        assert!(told.error.starts_with(why) && !told.error.contains("secret"), "{number}: {}", told.error);
        let ledger = format!("SELECT state, error, events FROM {{}}.logweir_ledger WHERE object = '{}'", keys[number]);
        assert_eq!(world.query(&postgres, &ledger), format!("set_aside|{}|10", told.error));
    }
    assert_eq!((stream.objects, stream.rows.loaded, stream.set_aside.len()), (3, 21, 6), "{report}");
    assert!(report.needs_somebody());
    let status = "SELECT to_char(complete_through, 'HH24:MI'), held_back_by, set_aside_objects, set_aside_events FROM \
                  {}.load_status";
    assert_eq!(world.query(&postgres, status), "09:00|set aside|6|60");

    // They are not tried again unless it is asked for, and then those that are still bad stay where they are.
    let report = world.load(&postgres).await;
    assert_eq!((report.streams[0].set_aside.len(), report.streams[0].set_aside_objects), (0, Some(6)), "{report}");
    for (number, sound) in sound.iter().enumerate().filter(|(number, _)| *number != 5) {
        fs::write(world.path(&keys[number]), sound).unwrap();
    }
    // An operator has given one up.
    let given_up = format!("UPDATE {{}}.logweir_ledger SET state = 'given_up' WHERE object = '{}'", keys[1]);
    world.query(&postgres, &given_up);
    world.retry = true;
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    assert_eq!((stream.objects, stream.set_aside.len(), stream.set_aside_objects), (4, 1, Some(1)), "{report}");
    let by_state = "SELECT state, count(*), count(DISTINCT object) FROM {}.logweir_ledger GROUP BY 1 ORDER BY 1";
    assert_eq!(world.query(&postgres, by_state), "given_up|1|1\nloaded|7|7\nset_aside|1|1");
    assert_eq!(world.query(&postgres, "SELECT count(*), count(DISTINCT event_id) FROM {}.heard"), "61|61");
}

#[tokio::test]
async fn bad_frames_are_set_aside_by_name_and_the_rest_is_loaded() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let mut world = World::new(&postgres, "w");
    world.codec = "zstd";
    world.limits.objects = 100;
    let keys = objects(&world, &["good", "text", "cut", "two", "other", "empty", "sum", "fine"]).await;
    assert!(keys.iter().all(|key| key.ends_with(".ndjson.zst")), "{keys:?}");
    let path = |number: usize| world.path(&keys[number]);
    let sound = |number: usize| fs::read(path(number)).unwrap();
    gzip(&path(1), "{}\n");
    fs::write(path(2), &sound(2)[..sound(2).len() - 1]).unwrap();
    fs::write(path(3), [sound(3), sound(3)].concat()).unwrap();
    fs::write(path(4), sound(0)).unwrap();
    fs::write(path(5), "").unwrap();
    let mut wrong = sound(6);
    *wrong.last_mut().unwrap() ^= 1;
    fs::write(path(6), wrong).unwrap();
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    for (number, why) in [
        (1, "it is not exactly one zstd frame: it does not begin as a zstd frame does"),
        (2, "it is not exactly one zstd frame: it is truncated"),
        (3, "it is not exactly one zstd frame: there is something behind its zstd frame"),
        (4, "its lines are others than those that the books tell of"),
        (5, "it is not exactly one zstd frame: it is empty"),
        (6, "it is not exactly one zstd frame: "),
    ] {
        let told = stream.set_aside.iter().find(|set_aside| set_aside.object == keys[number]).unwrap();
        assert!(told.error.starts_with(why), "{number}: {}", told.error);
    }
    assert_eq!((stream.objects, stream.rows.loaded, stream.set_aside.len()), (2, 20, 6), "{report}");
}

#[tokio::test]
async fn what_stands_among_the_objects_and_is_none_is_named_and_an_object_without_a_page_waits() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let keys = objects(&world, &["good", "unnamed"]).await;
    let hour = keys[0].rsplit_once('/').unwrap().0.to_owned();
    let page = keys[1].replace("raw/heard/", "raw/_ledger/segments/");
    fs::remove_file(world.path(&page)).unwrap();
    let now = logweir::batch::Clock::starting_at(None).now().get();
    world.store(vec![vec![batch(now, &events("now", 3, now))]]).await;
    let fresh = world.keys().into_iter().find(|key| !keys.contains(key)).unwrap();
    let fresh_page = world.path(&fresh.replace("raw/heard/", "raw/_ledger/segments/"));
    let kept = fs::read(&fresh_page).unwrap();
    fs::remove_file(&fresh_page).unwrap();
    let strangers = [
        format!("{hour}/part-0.ndjson.gz"),
        keys[0].replace(".ndjson.gz", "-1.ndjson.gz"),
        "raw/heard/other.json".to_owned(),
        "raw/heard/dt=2026-11-22/readme".to_owned(),
    ];
    for stranger in &strangers {
        gzip(&world.path(stranger), "{}\n");
    }
    fs::create_dir_all(world.path("raw/heard/dt=yesterday/hour=09")).unwrap();
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    let mut named: Vec<&str> = stream.strangers.iter().map(|named| named.key.as_str()).collect();
    named.sort_unstable();
    let mut expected: Vec<&str> = strangers.iter().map(String::as_str).collect();
    expected.push("raw/heard/dt=yesterday/");
    expected.sort_unstable();
    assert_eq!(named, expected, "{report}");
    assert_eq!((stream.objects, stream.waiting, stream.rows.loaded), (1, 1, 10), "{report}");
    assert_eq!((stream.unbooked_in_all, stream.unbooked[0].key.as_str()), (1, &*keys[1]), "{report}");
    assert!(report.needs_somebody());
    fs::write(&fresh_page, kept).unwrap();
    let report = world.load(&postgres).await;
    assert_eq!((report.streams[0].objects, report.streams[0].waiting), (1, 0), "{report}");
}

#[tokio::test]
async fn an_object_that_only_the_table_refuses_is_found_by_halving() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let mut world = World::new(&postgres, "w");
    world.limits.objects = 100;
    let mut segments = Vec::new();
    for number in 0..20 {
        let some = events(&format!("s{number}"), 5, RECEIVED);
        let mut some = batch(RECEIVED, &some);
        if number == 13 {
            some.lines = some.lines.replacen("\"n\":2,", "\"n\":null,", 1);
        }
        segments.push(vec![some]);
    }
    world.store(segments).await;
    world.query(&postgres, "ALTER TABLE {}.heard ALTER COLUMN n SET NOT NULL");
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    assert_eq!((stream.objects, stream.set_aside.len()), (19, 1), "{report}");
    let told = &stream.set_aside[0].error;
    assert!(told.contains("23502") && told.contains("column n"), "{told}");
    // A value that COPY refuses is found in its object and line.
    world.query(
        &postgres,
        "ALTER TABLE {}.heard ALTER COLUMN n DROP NOT NULL; ALTER TABLE {}.heard_staging ALTER COLUMN n SET NOT NULL",
    );
    world.retry = true;
    let report = world.load(&postgres).await;
    let told = &report.streams[0].set_aside[0].error;
    assert!(told.starts_with("line 3: "), "{told}");
    world.query(&postgres, "ALTER TABLE {}.heard_staging ALTER COLUMN n DROP NOT NULL");
    assert_eq!(world.load(&postgres).await.streams[0].objects, 1);
    assert_eq!(world.query(&postgres, "SELECT count(*) FROM {}.heard"), "100");

    // If nothing loads it is not the objects: the next round sets no more of them aside, and what is set aside holds
    // back what is complete, whichever way the round ended.
    world.retry = false;
    let now = logweir::batch::Clock::starting_at(None).now().get();
    let instance = world.store(vec![vec![batch(RECEIVED, &events("old", 1, RECEIVED))]]).await;
    world.beat(instance, now, Some(RECEIVED + 5 * HOUR)).await;
    assert_eq!(world.load(&postgres).await.streams[0].objects, 1);
    world.query(&postgres, "ALTER TABLE {}.heard_staging ADD CONSTRAINT never CHECK (n < 0) NOT VALID");
    let many = MAX_SET_ASIDE + 5;
    let segments = (0..many).map(|number| vec![batch(RECEIVED, &events(&format!("m{number}"), 1, RECEIVED))]);
    world.store(segments.collect()).await;
    for round in 0..2 {
        let report = world.load(&postgres).await;
        let stream = &report.streams[0];
        assert_eq!(stream.set_aside.len(), if round == 0 { MAX_SET_ASIDE } else { 0 }, "{report}");
        let problem = stream.problem.as_ref().unwrap();
        assert!(problem.contains("so it is not the objects") && problem.contains("never"), "{problem}");
        assert_eq!(
            (stream.set_aside_objects, stream.held_back_by.as_deref(), stream.looked_through),
            (Some(MAX_SET_ASIDE as u64), Some("set aside"), false),
            "{report}"
        );
        let status = "SELECT to_char(complete_through, 'HH24:MI'), held_back_by, set_aside_objects FROM {}.load_status";
        assert_eq!(world.query(&postgres, status), format!("09:00|set aside|{MAX_SET_ASIDE}"));
    }
}

#[tokio::test]
async fn a_table_that_takes_no_row_has_no_object_set_aside_and_the_next_stream_is_loaded() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let mut world = World::new(&postgres, "w");
    world.store(vec![vec![batch(RECEIVED, &events("a", 5, RECEIVED))]]).await;
    // The first of two streams has a table that is sick, and the second is the one of the world.
    let mut sick = world.table.clone();
    sick.stream = logweir::batch::StreamName::new("aa").unwrap();
    let tables = ddl(&world.names, &sick);
    let tables: Vec<&str> = tables.split(';').filter(|sql| sql.contains("\"aa")).collect();
    world.query(&postgres, &tables.join(";"));
    world.store(vec![vec![Batch { stream: "aa", ..batch(RECEIVED, &events("b", 5, RECEIVED)) }]]).await;
    world.tables = vec![sick, world.table.clone()];
    let problems = [
        (
            "ALTER TABLE {}.aa ADD CONSTRAINT no_partition CHECK (n < 0) NOT VALID",
            "ALTER TABLE {}.aa DROP CONSTRAINT no_partition",
            "insert: 23514: ",
        ),
        ("REVOKE INSERT ON {}.aa FROM loader", "GRANT INSERT ON {}.aa TO loader", "insert: 42501: "),
    ];
    postgres.query("CREATE USER loader");
    world.query(
        &postgres,
        "GRANT USAGE ON SCHEMA {} TO loader; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO loader",
    );
    for (number, (sick, back, told)) in problems.into_iter().enumerate() {
        world.query(&postgres, sick);
        let session = PostgresSession::new(address(postgres.port, "loader"), world.place());
        let report = world.try_load(Box::new(session)).await.unwrap();
        let [first, second] = &report.streams[..] else { panic!("{report}") };
        assert!(first.problem.as_ref().is_some_and(|problem| problem.starts_with(told)), "{report}");
        assert_eq!((first.set_aside_objects, first.looked_through, first.objects), (Some(0), false, 0), "{report}");
        assert_eq!((&second.problem, second.looked_through, second.objects), (&None, true, 1 - number as u64));
        assert!(report.has_problem() && !report.needs_somebody(), "{report}");
        assert!(report.to_string().contains("not known, since the stream was not looked through"), "{report}");
        world.query(&postgres, back);
    }
    assert_eq!(world.load(&postgres).await.streams[0].objects, 1);
}

#[tokio::test]
async fn an_object_without_a_page_that_can_be_read_holds_back_what_is_complete_until_it_is_given_up() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let now = logweir::batch::Clock::starting_at(None).now().get();
    let instance = world.store(vec![vec![batch(RECEIVED - HOUR, &events("old", 1, RECEIVED - HOUR))]]).await;
    world.beat(instance, now, Some(RECEIVED + 5 * HOUR)).await;
    let mut loader = world.loader(Box::new(world.session(postgres.port)));
    let mut known = world.keys();
    for (why, at) in [("page unreadable", RECEIVED + 2 * HOUR), ("not in the books", RECEIVED)] {
        world.store(vec![vec![batch(at, &events(why, 10, at))]]).await;
        let key = world.keys().into_iter().find(|key| !known.contains(key)).unwrap();
        let page = world.path(&key.replace("raw/heard/", "raw/_ledger/segments/"));
        if why == "page unreadable" {
            gzip(&page, "of another version\n");
        } else {
            fs::remove_file(&page).unwrap();
        }
        known.push(key);
    }
    let status = "SELECT to_char(complete_through, 'HH24:MI'), held_back_by FROM {}.load_status";
    // Between sweeps, too.
    for (sweep, held) in [(true, "09:00|not in the books"), (false, "09:00|not in the books")] {
        let mut report = Report::default();
        loader.round(sweep, &mut report, &mut |_| ()).await.unwrap();
        assert_eq!((report.streams[0].unbooked_in_all, report.streams[0].strangers_in_all), (2, 0), "{report}");
        assert!(report.needs_somebody(), "{report}");
        assert_eq!(world.query(&postgres, status), held, "{report}");
    }
    // As the documentation of the loader says it.
    for (key, hour, then) in [(&known[2], "09", "11:00|page unreadable"), (&known[1], "11", "14:00|")] {
        world.query(
            &postgres,
            &format!(
                "SET TimeZone = 'UTC'; INSERT INTO {{}}.logweir_ledger (stream, object, received_hour, state, load_id, events, \
                 bytes, changed_at) VALUES ('heard', '{key}', TIMESTAMP '2026-11-22 {hour}:00:00', 'given_up', '', 0, 0, \
                 CURRENT_TIMESTAMP)"
            ),
        );
        let mut report = Report::default();
        loader.round(false, &mut report, &mut |_| ()).await.unwrap();
        assert_eq!(world.query(&postgres, status), then, "{report}");
    }
}

#[tokio::test]
async fn an_object_that_the_ledger_has_under_another_hour_is_left_out_and_the_rest_is_loaded() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let keys = objects(&world, &["known", "new"]).await;
    world.query(
        &postgres,
        &format!(
            "INSERT INTO {{}}.logweir_ledger SELECT 'other', '{}', TIMESTAMP '2020-01-01', 'loaded', '', 0, 0, NULL, now()",
            keys[0]
        ),
    );
    let report = world.load(&postgres).await;
    assert_eq!((report.streams[0].objects, &report.streams[0].problem), (1, &None), "{report}");
    assert_eq!(world.query(&postgres, "SELECT count(*) FROM {}.heard"), "10");
}

#[tokio::test]
async fn a_line_that_was_received_in_another_hour_than_its_object_stands_in_is_set_aside() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let lines = events("a", 2, RECEIVED + 2 * HOUR).iter().map(crate::world::Line::json).collect::<String>();
    world.store(vec![vec![Batch::accepted("heard", lines)], vec![batch(RECEIVED, &events("b", 2, RECEIVED))]]).await;
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    assert_eq!((stream.objects, stream.set_aside.len()), (1, 1), "{report}");
    assert!(stream.set_aside[0].error.contains("another hour"), "{report}");
}

#[tokio::test]
async fn a_table_that_was_altered_or_is_missing_and_a_missing_permission_are_told_with_a_remedy() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let keys = objects(&world, &["good"]).await;
    for (altered, back, told) in [
        (
            "ALTER TABLE {}.heard DROP COLUMN price",
            "ALTER TABLE {}.heard ADD COLUMN price numeric(8,2)",
            "ALTER TABLE \"w\".\"heard\" ADD COLUMN \"price\" numeric(8, 2)",
        ),
        (
            "ALTER TABLE {}.heard_staging ALTER COLUMN n TYPE text",
            "ALTER TABLE {}.heard_staging ALTER COLUMN n TYPE bigint USING n::bigint",
            "the column \"n\" of \"w\".\"heard_staging\" is of type text, and by the schema of heard it is bigint",
        ),
        (
            "ALTER TABLE {}.heard ADD COLUMN mine int NOT NULL",
            "ALTER TABLE {}.heard DROP COLUMN mine",
            "\"mine\" of \"w\".\"heard\" is none of the schema of heard, and does not take null",
        ),
        (
            "ALTER TABLE {}.heard_conflicts RENAME TO x",
            "ALTER TABLE {}.x RENAME TO heard_conflicts",
            "there is no table \"w\".\"heard_conflicts\": run `logweir schema`",
        ),
    ] {
        world.query(&postgres, altered);
        let report = world.load(&postgres).await;
        let problem = report.streams[0].problem.clone().unwrap_or_default();
        assert!(problem.contains(told), "{altered}: {problem}");
        assert!(report.has_problem());
        world.query(&postgres, back);
    }
    postgres.query("CREATE USER loader; CREATE USER stranger");
    world.query(
        &postgres,
        "GRANT USAGE ON SCHEMA {} TO loader; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO loader; \
         REVOKE INSERT ON {}.heard FROM loader",
    );
    let as_user = |user: &str| Box::new(PostgresSession::new(address(postgres.port, user), world.place()));
    let report = world.try_load(as_user("loader")).await.unwrap();
    let problem = report.streams[0].problem.clone().unwrap_or_default();
    let error = world.try_load(as_user("stranger")).await.unwrap_err();
    assert!(error.is_standing(), "{error}");
    for (told, table) in [(problem, "heard"), (error.to_string(), "w")] {
        assert!(told.contains("42501") && told.contains(table) && told.contains("grant the loader's user"), "{told}");
    }
    let error = world.try_load(as_user("nobody")).await.unwrap_err();
    assert!(error.is_standing() && error.to_string().contains("check warehouse.connection.user"), "{error}");
    assert_eq!(world.query(&postgres, "SELECT count(*) FROM {}.logweir_ledger"), "0");
    world.query(&postgres, "GRANT INSERT ON {}.heard TO loader");
    let report = world.try_load(as_user("loader")).await.unwrap();
    assert_eq!(report.streams[0].objects, 1, "what logweir schema grants is enough: {report}");
    assert_eq!(world.query(&postgres, "SELECT object FROM {}.logweir_ledger"), keys[0]);
    world.query(&postgres, "DROP TABLE {}.logweir_ledger");
    let error = world.try_load(Box::new(world.session(postgres.port))).await.unwrap_err();
    assert!(matches!(&error, LoadError::Tables(why) if why.contains("logweir_ledger")), "{error}");
    assert!(error.is_standing() && !LoadError::from(Failure::Unreachable(String::new())).is_standing());
}

/// A store whose objects break off in the middle, and which at last does not answer at all.
struct Breaking {
    inner: FileStore,
    /// How many readers break off.
    readers: AtomicUsize,
    broken: Arc<AtomicUsize>,
}

struct BreakingReader(Box<dyn ObjectReader>, usize, Arc<AtomicUsize>);

fn broken() -> StoreError {
    StoreError { cause: SinkFailure::Other, source: "it broke off".into() }
}

impl ObjectReader for BreakingReader {
    fn next_piece(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            if self.1 == 0 {
                self.2.fetch_add(1, Ordering::Relaxed);
                return Err(broken());
            }
            self.1 -= 1;
            self.0.next_piece().await
        })
    }
}

impl ObjectStore for Breaking {
    fn put<'a>(&'a self, plan: &'a ObjectPlan, body: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>> {
        self.inner.put(plan, body)
    }

    fn overwrite<'a>(&'a self, place: &'a str, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.overwrite(place, key, bytes)
    }

    fn list<'a>(
        &'a self,
        place: &'a str,
        directory: &'a str,
        after: Option<String>,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.inner.list(place, directory, after)
    }

    fn get<'a>(
        &'a self,
        place: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Box<dyn ObjectReader>>, StoreError>> {
        Box::pin(async move {
            let reader = self.inner.get(place, key).await?;
            let Some(reader) = reader.filter(|_| key.starts_with("raw/heard/")) else {
                return self.inner.get(place, key).await;
            };
            let less = |left: usize| left.checked_sub(1);
            Ok(Some(match self.readers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
                Ok(left) => Box::new(BreakingReader(reader, left % 3, Arc::clone(&self.broken))),
                Err(_) => reader,
            }))
        })
    }

    fn told<'a>(&'a self, place: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Told>, StoreError>> {
        self.inner.told(place, key)
    }
}

#[tokio::test]
async fn an_object_that_breaks_off_is_read_on_where_it_broke_and_no_line_comes_twice() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let mut lines = events("a", 30_000, RECEIVED);
    for line in &mut lines {
        line.device = format!("{:032x}", fastrand::u128(..));
    }
    world.store(vec![vec![batch(RECEIVED, &lines)]]).await;
    let bytes = fs::metadata(world.path(&world.keys()[0])).unwrap().len();
    assert!(bytes > 3 * 256 * 1024, "it comes in pieces: {bytes}");
    let cut = Arc::new(AtomicUsize::new(0));
    let store = Breaking { inner: FileStore::default(), readers: AtomicUsize::new(3), broken: Arc::clone(&cut) };
    let old = world.place();
    let place = Arc::new(Place {
        store: Arc::new(store),
        bucket: old.bucket.clone(),
        prefix: old.prefix.clone(),
        timeout: old.timeout,
    });
    let session = PostgresSession::new(address(postgres.port, "postgres"), Arc::clone(&place));
    let mut loader = Loader::new(Box::new(session), place, world.settings(), Stop::default());
    let mut again = 0;
    let mut watcher = |event: Event<'_>| again += usize::from(matches!(event, Event::Again { .. }));
    let mut report = Report::default();
    loader.round(true, &mut report, &mut watcher).await.unwrap();
    assert_eq!((report.streams[0].objects, again), (1, 0), "{report}");
    assert!(cut.load(Ordering::Relaxed) >= 3, "{cut:?}");
    world.assert_once(&postgres, &lines, 1);
}
