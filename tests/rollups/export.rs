//! The figures are copied to another PostgreSQL.

use fastrand::Rng;
use jiff::{SignedDuration, civil::date};
use logweir::{
    schema::FieldType,
    warehouse::{
        Dialect,
        load::Session as _,
        rollup::{self, Exported, export},
    },
};

use crate::{
    event,
    model::Event,
    postgres::{Postgres, is_installed},
    session::Db,
    world::{World, at, millis, read},
};

const CHANNEL: [(&str, FieldType); 1] = [("channel", FieldType::String { max_bytes: 64 })];

/// A database of its own on the same server, whose user may not be who owns the warehouse.
async fn other_database(world: &World, server: &Postgres) -> Db {
    world.db.execute("CREATE DATABASE figures").await;
    Db::connect_to(server.port, "figures").await
}

#[tokio::test]
async fn the_copy_is_what_the_warehouse_holds_after_every_refresh() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 2, &CHANNEL).await;
    let mut to = other_database(&world, &server).await;
    let mut rng = Rng::with_seed(7);
    let begin = at("2026-10-01T00:00:00Z");
    let definitions = world.definitions.clone();
    let mut copied = Vec::new();
    for round in 0..30_u64 {
        let now = begin + SignedDuration::from_hours(17 * round as i64);
        let events: Vec<Event> = (0..25)
            .map(|n| {
                let channel = ["mbc", "it's", "C:\\new", "\"ü\""][rng.usize(0..4)];
                let mut event = event(round * 25 + n, "2026-10-01T00:00:00Z", Some("d"), Some(channel));
                event.at = now - SignedDuration::from_hours(rng.i64(0..200));
                event.received = now;
                event
            })
            .collect();
        world.load(&events).await;
        world.through(Some(now)).await;
        if round == 20 {
            // A day that was final long ago is counted anew by hand.
            world.db.execute("DELETE FROM logweir.heard WHERE event_time < '2026-10-03'").await;
            let (from, to, now) = (date(2026, 9, 20), date(2026, 10, 2), millis(now - SignedDuration::from_secs(1)));
            for script in rollup::restate(Dialect::Postgres, &definitions, from, to, now).unwrap() {
                world.db.run(&script).await.unwrap();
            }
        }
        let done = rollup::run(&mut world.db, Some(&mut to), &definitions, None, millis(now)).await.unwrap();
        copied.push(done.exported.unwrap());
        assert_eq!(read(&mut to, &definitions.names).await, read(&mut world.db, &definitions.names).await, "{round}");
    }
    assert!(copied.iter().all(|copied| copied.streams == 1 && copied.rows > 0));
    // Not all of it each time, but when all may have changed.
    let all = world.db.lines("SELECT count(*) FROM logweir.hourly_counts").await[0].parse::<usize>().unwrap();
    assert!(copied[29].rows < all / 2 && copied[20].rows > copied[19].rows, "{all} {copied:?}");
    // Nothing has changed, and nothing is copied.
    assert_eq!(export(&mut world.db, &mut to, &definitions).await, Ok(Exported::default()));
    // Later refreshes find the copy where it was left.
    let stood = "SELECT stream, final_before, counted_at FROM logweir.rollup_status";
    assert_eq!(to.lines(stood).await, world.db.lines(stood).await);
}

#[tokio::test]
async fn a_copy_that_was_broken_off_is_finished_by_the_next() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 1, &CHANNEL).await;
    let mut to = other_database(&world, &server).await;
    let begin = at("2026-10-01T00:00:00Z");
    let events: Vec<Event> = (0..400)
        .map(|n| {
            let mut event = event(n, "2026-10-01T00:00:00Z", Some("d"), Some("mbc"));
            event.at = begin + SignedDuration::from_hours(n as i64);
            event
        })
        .collect();
    world.load(&events).await;
    world.through(Some(at("2026-10-18T00:00:00Z"))).await;
    world.refresh("2026-10-18T00:10:00Z").await;
    let definitions = world.definitions.clone();
    assert!(export(&mut world.db, &mut to, &definitions).await.is_ok());
    // The second of several transactions fails: what was before it stands, and nobody says that it is all.
    to.execute("TRUNCATE logweir.daily_active, logweir.hourly_active, logweir.rollup_status").await;
    to.execute("ALTER TABLE logweir.daily_active ADD CHECK (day < '2026-10-08')").await;
    assert!(export(&mut world.db, &mut to, &definitions).await.is_err());
    assert_eq!(to.lines("SELECT count(*) > 0 FROM logweir.daily_active").await, ["t"]);
    assert_eq!(to.lines("SELECT count(*) FROM logweir.rollup_status").await, ["0"]);
    to.execute("ALTER TABLE logweir.daily_active DROP CONSTRAINT daily_active_day_check").await;
    let done = export(&mut world.db, &mut to, &definitions).await.unwrap();
    assert_eq!(done.streams, 1);
    assert_eq!(read(&mut to, &definitions.names).await, read(&mut world.db, &definitions.names).await);
}

#[tokio::test]
async fn who_may_only_write_rows_can_copy_into_tables_that_are_there() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 8, &CHANNEL).await;
    world.load(&[event(1, "2026-11-20T00:00:00Z", Some("a"), None)]).await;
    world.through(None).await;
    world.refresh("2026-11-20T01:00:00Z").await;
    let owner = other_database(&world, &server).await;
    let ddl = rollup::ddl(Dialect::Postgres, &world.definitions);
    owner
        .execute(&format!(
            "CREATE SCHEMA logweir; {ddl} CREATE ROLE copier LOGIN; GRANT USAGE ON SCHEMA logweir TO copier; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA logweir TO copier"
        ))
        .await;
    let mut to = Db::connect_to(server.port, "figures").await;
    to.execute("SET ROLE copier").await;
    let definitions = world.definitions.clone();
    assert_eq!(export(&mut world.db, &mut to, &definitions).await, Ok(Exported { streams: 1, rows: 4 }));
    // Somebody who may do nothing is told what he may not.
    to.execute("RESET ROLE; CREATE ROLE stranger; SET ROLE stranger").await;
    let error = export(&mut world.db, &mut to, &definitions).await.unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");
}
