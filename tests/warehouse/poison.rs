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
        BoxFuture, FileStore, ObjectBody, ObjectPlan, ObjectReader, ObjectStore, Page, Placed, PutError, PutFailure,
        StoreError, Told,
    },
    warehouse::{
        Place,
        load::{Event, Failure, LoadError, Loader, MAX_SET_ASIDE, PostgresSession, Stop},
    },
};

use crate::{
    postgres::{self, Postgres},
    segments::{Batch, RECEIVED},
    world::{HOUR, World, address, batch, events, gzip},
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
    assert_eq!((report.streams[0].set_aside.len(), report.streams[0].set_aside_objects), (0, 6), "{report}");
    for (number, sound) in sound.iter().enumerate().filter(|(number, _)| *number != 5) {
        fs::write(world.path(&keys[number]), sound).unwrap();
    }
    // An operator has given one up.
    let given_up = format!("UPDATE {{}}.logweir_ledger SET state = 'given_up' WHERE object = '{}'", keys[1]);
    world.query(&postgres, &given_up);
    world.retry = true;
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    assert_eq!((stream.objects, stream.set_aside.len(), stream.set_aside_objects), (4, 1, 1), "{report}");
    let by_state = "SELECT state, count(*), count(DISTINCT object) FROM {}.logweir_ledger GROUP BY 1 ORDER BY 1";
    assert_eq!(world.query(&postgres, by_state), "given_up|1|1\nloaded|7|7\nset_aside|1|1");
    assert_eq!(world.query(&postgres, "SELECT count(*), count(DISTINCT event_id) FROM {}.heard"), "61|61");
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
    let mut expected: Vec<&str> = strangers.iter().map(String::as_str).chain([&*keys[1]]).collect();
    expected.push("raw/heard/dt=yesterday/");
    expected.sort_unstable();
    assert_eq!(named, expected, "{report}");
    assert_eq!((stream.objects, stream.waiting, stream.rows.loaded), (1, 1, 10), "{report}");
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
        let mut some = events(&format!("s{number}"), 5, RECEIVED);
        if number == 13 {
            some[2].n = 1_313;
        }
        segments.push(vec![batch(RECEIVED, &some)]);
    }
    world.store(segments).await;
    world.query(&postgres, "ALTER TABLE {}.heard ADD CONSTRAINT unlucky CHECK (n <> 1313)");
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    assert_eq!((stream.objects, stream.set_aside.len()), (19, 1), "{report}");
    let told = &stream.set_aside[0].error;
    assert!(told.contains("23514") && told.contains("unlucky") && !told.contains("1313"), "{told}");
    // A value that COPY refuses is found in its object and line.
    world.query(
        &postgres,
        "ALTER TABLE {}.heard DROP CONSTRAINT unlucky; ALTER TABLE {}.heard_staging ADD CHECK (n <> 1313)",
    );
    world.retry = true;
    let report = world.load(&postgres).await;
    let told = &report.streams[0].set_aside[0].error;
    assert!(told.starts_with("line 3: ") && !told.contains("1313"), "{told}");
    world.query(&postgres, "ALTER TABLE {}.heard_staging DROP CONSTRAINT heard_staging_n_check");
    assert_eq!(world.load(&postgres).await.streams[0].objects, 1);
    assert_eq!(world.query(&postgres, "SELECT count(*) FROM {}.heard"), "100");

    // If nothing loads it is not the objects.
    world.query(&postgres, "ALTER TABLE {}.heard ADD CONSTRAINT never CHECK (n < 0) NOT VALID");
    let many = MAX_SET_ASIDE + 5;
    let segments = (0..many).map(|number| vec![batch(RECEIVED, &events(&format!("m{number}"), 1, RECEIVED))]);
    world.store(segments.collect()).await;
    let report = world.load(&postgres).await;
    let problem = report.streams[0].problem.as_ref().unwrap();
    assert!(problem.contains("so it is not the objects") && problem.contains("never"), "{problem}");
    let set_aside = world.query(&postgres, "SELECT count(*) FROM {}.logweir_ledger WHERE state = 'set_aside'");
    assert_eq!(set_aside, MAX_SET_ASIDE.to_string());
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
    for (user, table) in [("loader", "heard"), ("stranger", "w")] {
        let error = world.try_load(as_user(user)).await.unwrap_err();
        assert!(error.is_standing(), "{error}");
        let told = error.to_string();
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
    StoreError { cause: PutFailure::Other, source: "it broke off".into() }
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
    let report = loader.round(true, &mut watcher).await.unwrap();
    assert_eq!((report.streams[0].objects, again), (1, 0), "{report}");
    assert!(cut.load(Ordering::Relaxed) >= 3, "{cut:?}");
    world.assert_once(&postgres, &lines, 1);
}
