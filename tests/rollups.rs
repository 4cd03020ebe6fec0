//! The rollups on a real PostgreSQL, against the same figures counted in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::panic, reason = "a test fails by panicking")]

#[path = "rollups/analysts.rs"]
mod analysts;
#[path = "rollups/export.rs"]
mod export;
#[path = "rollups/model.rs"]
mod model;
#[path = "common/postgres.rs"]
mod postgres;
#[path = "rollups/session.rs"]
mod session;
#[path = "rollups/sql.rs"]
mod sql;
#[path = "rollups/world.rs"]
mod world;

use std::{fs, path::Path};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp, ToSpan, civil::date, tz::TimeZone};
use logweir::{
    batch::StreamName,
    schema::{FieldType, Load},
    warehouse::{
        Dialect,
        load::Session as _,
        rollup::{self, RollupError, Standing, Summary},
    },
};

use model::Event;
use postgres::{Postgres, is_installed};
use session::Db;
use world::{World, at, millis};

fn event(id: u64, instant: &str, device: Option<&str>, channel: Option<&str>) -> Event {
    Event {
        id,
        at: at(instant),
        received: at(instant),
        device: device.map(Into::into),
        values: vec![channel.map(Into::into)],
    }
}

const CHANNEL: [(&str, FieldType); 1] = [("channel", FieldType::String { max_bytes: 64 })];

#[tokio::test]
async fn a_day_is_a_day_of_seoul_and_a_device_counts_once_in_it() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 8, &CHANNEL).await;
    // Midnight in Seoul is 15:00 UTC.
    world
        .load(&[
            event(1, "2026-11-20T14:59:59.999Z", Some("a"), Some("mbc")),
            event(2, "2026-11-20T15:00:00Z", Some("a"), Some("mbc")),
            event(3, "2026-11-21T00:00:00Z", Some("a"), Some("kbs")),
            event(4, "2026-11-21T14:59:59.999Z", Some("b"), None),
            event(5, "2026-11-21T14:59:59.999Z", None, Some("kbs")),
            event(6, "2026-11-21T15:00:00Z", None, None),
        ])
        .await;
    world.through(Some(at("2026-11-21T15:00:00Z"))).await;
    let done = world.refresh("2026-11-21T15:10:00Z").await;
    assert_eq!(done, Summary { counted: 1, unchanged: 0, ..Summary::default() });
    let daily = "SELECT day, events, devices, is_complete, is_final FROM logweir.daily_active ORDER BY day";
    assert_eq!(
        world.db.lines(daily).await,
        ["2026-11-20|1|1|t|f", "2026-11-21|4|2|t|f", "2026-11-22|1|0|f|f"],
        "a null device is an event, and no device"
    );
    let counts = "SELECT value, events, devices FROM logweir.daily_counts WHERE day = '2026-11-21' ORDER BY value";
    assert_eq!(world.db.lines(counts).await, ["kbs|2|1", "mbc|1|1", "|1|1"]);
    let hours = "SELECT hour, events, is_complete FROM logweir.hourly_active ORDER BY hour";
    assert_eq!(
        world.db.lines(hours).await,
        [
            "2026-11-20 23:00:00|1|t",
            "2026-11-21 00:00:00|1|t",
            "2026-11-21 09:00:00|1|t",
            "2026-11-21 23:00:00|2|t",
            "2026-11-22 00:00:00|1|f"
        ]
    );
    world.compare().await;
    // Nothing was loaded, and nothing is counted.
    assert_eq!(world.refresh("2026-11-21T15:20:00Z").await, Summary { counted: 0, unchanged: 1, ..Summary::default() });
}

#[tokio::test]
async fn an_hour_that_comes_twice_is_one_row_and_one_that_is_left_out_has_none() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    for (zone, schema) in
        [("America/New_York", "new_york"), ("Europe/Berlin", "berlin"), ("Australia/Lord_Howe", "howe")]
    {
        let mut world = World::new(&server, schema, zone, 2, &CHANNEL).await;
        let tz = TimeZone::get(zone).unwrap();
        // Every quarter of an hour around each change of the clocks of a year.
        let mut id = 0;
        let mut events = Vec::new();
        for change in tz.following(at("2026-01-01T00:00:00Z")).take(2) {
            for quarter in -120..120 {
                id += 1;
                let device = format!("d{}", id % 7);
                let mut event = event(id, "2026-01-01T00:00:00Z", Some(&device), Some("x"));
                event.at = change.timestamp() + SignedDuration::from_mins(15 * quarter + 7);
                event.received = event.at;
                events.push(event);
            }
        }
        world.load(&events).await;
        // The flags, too, at every step through the changes.
        let mut refreshes = 0;
        for change in tz.following(at("2026-01-01T00:00:00Z")).take(2) {
            for half in -8..60 {
                let through = change.timestamp() + SignedDuration::from_mins(30 * half);
                world.through(Some(through)).await;
                world.refresh(&through.to_string()).await;
                world.compare().await;
                refreshes += 1;
            }
        }
        assert_eq!(refreshes, 136);
    }
}

/// Events of some weeks that come when they come, some of them after their day is final.
fn arrivals(rng: &mut Rng, zone: &TimeZone, begin: Timestamp) -> Vec<Event> {
    let event = |id: u64| {
        let mut at = begin + SignedDuration::from_millis(rng.i64(0..16 * 86_400_000));
        if rng.bool() {
            // Around midnight.
            let day = at.to_zoned(zone.clone()).date().to_zoned(zone.clone()).unwrap().timestamp();
            at = day + SignedDuration::from_millis(rng.i64(-3..3));
        }
        let late = match rng.u8(0..10) {
            0 => rng.i64(0..30 * 86_400_000),
            1..3 => rng.i64(0..6 * 86_400_000),
            _ => rng.i64(0..600_000),
        };
        Event {
            id,
            at,
            received: at + SignedDuration::from_millis(late),
            device: (rng.u8(0..10) > 0).then(|| format!("d{}", rng.u8(0..9))),
            values: vec![
                (rng.u8(0..5) > 0).then(|| ["mbc", "kbs", "it's", "ü\\"][rng.usize(0..4)].to_owned()),
                (rng.u8(0..5) > 0).then(|| rng.bool().to_string()),
                (rng.u8(0..5) > 0).then(|| rng.i8(-2..3).to_string()),
            ],
        }
    };
    let mut events: Vec<_> = (0..400).map(event).collect();
    events.sort_by_key(|event| event.received);
    events
}

#[tokio::test]
async fn counting_anew_is_counting_everything_and_what_is_final_does_not_change() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let dimensions =
        [("channel", FieldType::String { max_bytes: 64 }), ("paid", FieldType::Bool), ("age", FieldType::Int)];
    let (mut late_for_final, mut refreshes, mut skipped) = (0, 0, 0);
    for seed in 0..16 {
        let mut rng = Rng::with_seed(seed);
        let zone = ["Asia/Seoul", "America/New_York", "Europe/Berlin", "UTC"][rng.usize(0..4)];
        let days = [1, 2, 3, 8][rng.usize(0..4)];
        let mut world = World::new(&server, &format!("seed{seed}"), zone, days, &dimensions).await;
        let begin = at(["2026-10-25T00:00:00Z", "2026-03-01T12:00:00Z"][rng.usize(0..2)]);
        let mut waiting = arrivals(&mut rng, &TimeZone::get(zone).unwrap(), begin);
        let (mut now, mut through) = (begin, None);
        while !waiting.is_empty() {
            let most = if rng.bool() { 7_200_000 } else { 8 * 86_400_000 };
            now += SignedDuration::from_millis(rng.i64(1..most));
            if rng.u8(0..4) > 0 {
                let from = through.unwrap_or(begin);
                through =
                    Some(from + SignedDuration::from_millis(rng.i64(0..=now.duration_since(from).as_millis() as i64)));
            }
            // What the loader promises is there, and of the rest some.
            let (loaded, left): (Vec<_>, _) = waiting.into_iter().partition(|event| {
                through.is_some_and(|through| event.received < through) || (event.received < now && rng.bool())
            });
            waiting = left;
            late_for_final += world.late_for_final(&loaded);
            world.load(&loaded).await;
            world.through(through).await;
            if rng.u8(0..3) > 0 && through.is_some() {
                skipped += world.refresh(&now.to_string()).await.unchanged;
                refreshes += 1;
                world.compare().await;
            }
        }
    }
    assert!(late_for_final > 50 && refreshes > 100 && skipped > 0, "{late_for_final} {refreshes} {skipped}");
}

#[tokio::test]
async fn two_refreshes_at_once_double_nothing() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 3, &CHANNEL).await;
    let mut other = Db::connect(server.port).await;
    let mut rng = Rng::with_seed(1);
    let begin = at("2026-11-01T00:00:00Z");
    for round in 0..40 {
        let now = begin + SignedDuration::from_hours(round * 12);
        let events: Vec<_> = (0..30)
            .map(|n| {
                let mut event = event(round as u64 * 30 + n, "2026-11-01T00:00:00Z", Some("d"), Some("mbc"));
                event.at = now - SignedDuration::from_hours(rng.i64(0..48));
                event.received = now - SignedDuration::from_mins(1);
                event
            })
            .collect();
        world.load(&events).await;
        world.through(Some(now)).await;
        let definitions = world.definitions.clone();
        let (one, two) = tokio::join!(
            rollup::run(&mut world.db, None, &definitions, None, millis(now)),
            // By another clock, as loaders on two machines have.
            rollup::run(&mut other, None, &definitions, None, millis(now + SignedDuration::from_millis(rng.i64(0..2)))),
        );
        assert!(one.unwrap().counted + two.unwrap().counted >= 1);
        world.refreshed();
        world.compare().await;
    }
}

#[tokio::test]
async fn a_script_written_before_somebody_began_anew_counts_nothing() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 1, &CHANNEL).await;
    world
        .load(&[event(1, "2026-11-10T00:00:00Z", Some("a"), None), event(2, "2026-11-20T00:00:00Z", Some("a"), None)])
        .await;
    world.through(Some(at("2026-11-15T00:00:00Z"))).await;
    world.refresh("2026-11-20T00:00:00Z").await;
    world.load(&[event(3, "2026-11-20T00:00:00Z", Some("b"), None)]).await;
    let standing = Standing::read(&mut world.db, &world.definitions.names).await.unwrap();
    let stale =
        rollup::refresh(Dialect::Postgres, &world.definitions, &standing, millis(at("2026-11-20T01:00:00Z"))).unwrap();
    assert_eq!(stale.len(), 1);
    world.db.execute("UPDATE logweir.rollup_status SET final_before = NULL").await;
    let before = world.db.lines("SELECT * FROM logweir.daily_active ORDER BY day").await;
    world.db.run(&stale[0]).await.unwrap();
    assert_eq!(world.db.lines("SELECT * FROM logweir.daily_active ORDER BY day").await, before);
    world.refresh("2026-11-20T02:00:00Z").await;
    assert_eq!(
        world.db.lines("SELECT day, devices FROM logweir.daily_active ORDER BY day").await,
        ["2026-11-10|1", "2026-11-20|2"]
    );
}

#[tokio::test]
async fn where_nobody_knows_what_is_loaded_the_last_days_are_counted_and_nothing_is_final() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 3, &CHANNEL).await;
    let daily = "SELECT day, events, is_complete, is_final FROM logweir.daily_active ORDER BY day";
    world
        .load(&[event(1, "2026-11-01T00:00:00Z", Some("a"), None), event(2, "2026-11-10T00:00:00Z", Some("a"), None)])
        .await;
    world.through(None).await;
    world.refresh("2026-11-10T03:00:00Z").await;
    assert_eq!(world.db.lines(daily).await, ["2026-11-01|1|f|f", "2026-11-10|1|f|f"]);
    // The 1st is left as it is, the 8th ended not two days before the last refresh.
    let more = [3, 4, 5].map(|id| {
        event(id, ["2026-11-01T00:00:00Z", "2026-11-08T00:00:00Z", "2026-11-10T00:00:00Z"][id as usize - 3], None, None)
    });
    world.load(&more).await;
    world.refresh("2026-11-11T03:00:00Z").await;
    assert_eq!(world.db.lines(daily).await, ["2026-11-01|1|f|f", "2026-11-08|1|f|f", "2026-11-10|2|f|f"]);
    // Once it is known, everything is counted that was not final.
    world.through(Some(at("2026-11-11T00:00:00Z"))).await;
    world.refresh("2026-11-11T04:00:00Z").await;
    assert_eq!(world.db.lines(daily).await, ["2026-11-01|2|t|t", "2026-11-08|1|t|t", "2026-11-10|2|t|f"]);
}

#[tokio::test]
async fn days_are_restated_by_hand_and_another_definition_counts_everything() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 1, &CHANNEL).await;
    let first = [1, 2, 3].map(|id| event(id, &format!("2026-11-0{id}T18:00:00Z"), Some("a"), Some("mbc")));
    world.load(&first).await;
    world.through(Some(at("2026-11-20T00:00:00Z"))).await;
    world.refresh("2026-11-20T00:10:00Z").await;
    let daily = "SELECT day, events, is_complete, is_final FROM logweir.daily_active ORDER BY day";
    assert_eq!(world.db.lines(daily).await, ["2026-11-02|1|t|t", "2026-11-03|1|t|t", "2026-11-04|1|t|t"]);
    // Later than final: the figures stand, until somebody asks.
    let late = [4, 5, 6].map(|id| event(id, &format!("2026-11-0{}T18:00:00Z", id - 3), Some("b"), Some("kbs")));
    world.load(&late).await;
    world.refresh("2026-11-20T00:20:00Z").await;
    assert_eq!(world.db.lines(daily).await, ["2026-11-02|1|t|t", "2026-11-03|1|t|t", "2026-11-04|1|t|t"]);
    let (from, to, now) = (date(2026, 11, 3), date(2026, 11, 3), millis(at("2026-11-20T00:30:00Z")));
    for script in rollup::restate(Dialect::Postgres, &world.definitions, from, to, now).unwrap() {
        world.db.run(&script).await.unwrap();
    }
    assert_eq!(world.db.lines(daily).await, ["2026-11-02|1|t|t", "2026-11-03|2|t|t", "2026-11-04|1|t|t"]);
    let hourly = "SELECT hour, events FROM logweir.hourly_counts WHERE value = 'kbs' ORDER BY hour";
    assert_eq!(world.db.lines(hourly).await, ["2026-11-03 03:00:00|1"]);
    // In another zone everything is another day.
    world.definitions.timezone = "UTC".to_owned();
    world.refresh("2026-11-20T00:40:00Z").await;
    assert_eq!(world.db.lines(daily).await, ["2026-11-01|2|t|t", "2026-11-02|2|t|t", "2026-11-03|2|t|t"]);
}

#[tokio::test]
async fn another_definition_leaves_the_days_whose_events_were_deleted() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 1, &CHANNEL).await;
    // Two events in each day of Seoul from the 1st to the 5th, before noon and after it.
    let events: Vec<_> = (1..=5)
        .flat_map(|day| [(day, "00", "a"), (day, "12", "b")])
        .zip(1..)
        .map(|((day, hour, device), id)| event(id, &format!("2026-11-0{day}T{hour}:00:00Z"), Some(device), Some("mbc")))
        .collect();
    world.load(&events).await;
    world.through(Some(at("2026-11-20T00:00:00Z"))).await;
    world.refresh("2026-11-20T00:10:00Z").await;
    let daily = "SELECT day, events, devices, is_final FROM logweir.daily_active ORDER BY day";
    let whole: Vec<_> = (1..=5).map(|day| format!("2026-11-0{day}|2|2|t")).collect();
    assert_eq!(world.db.lines(daily).await, whole);
    let counts = "SELECT day, count(*), max(value) FROM logweir.daily_counts GROUP BY day ORDER BY day";
    let hours = "SELECT count(*), count(DISTINCT hour) FROM logweir.hourly_active";
    // Of the 3rd only a part was deleted: what is counted of it would be less than what is known.
    world.db.execute("DELETE FROM logweir.heard WHERE event_time < '2026-11-03T06:00:00Z'").await;
    world.definitions.rollups[0].dimensions = vec!["ad_id".into()];
    world.refresh("2026-11-20T00:20:00Z").await;
    assert_eq!(world.db.lines(daily).await, whole);
    assert_eq!(
        world.db.lines(counts).await,
        ["2026-11-01|1|mbc", "2026-11-02|1|mbc", "2026-11-03|1|mbc", "2026-11-04|2|b", "2026-11-05|2|b"]
    );
    assert_eq!(world.db.lines(hours).await, ["10|10"]);
    // By another clock, too. The events at noon of UTC are of the same day in Seoul, and those at midnight of another.
    world.definitions.timezone = "America/New_York".into();
    world.refresh("2026-11-20T00:30:00Z").await;
    assert_eq!(
        world.db.lines("SELECT day, events FROM logweir.daily_active ORDER BY day").await,
        ["2026-11-01|2", "2026-11-02|2", "2026-11-03|2", "2026-11-04|2", "2026-11-05|1"]
    );
    // Where no event is left nothing can be counted, and nothing is deleted.
    world.db.execute("DELETE FROM logweir.heard").await;
    world.definitions.rollups[0].device = "event_id".into();
    world.refresh("2026-11-20T00:40:00Z").await;
    assert_eq!(world.db.lines("SELECT count(*) FROM logweir.daily_active").await, ["5"]);
}

#[tokio::test]
async fn another_zone_counts_the_first_day_anew_where_nothing_was_deleted() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "America/New_York", 1, &CHANNEL).await;
    world
        .load(&[event(1, "2026-11-02T00:00:00Z", Some("a"), None), event(2, "2026-11-02T20:00:00Z", Some("a"), None)])
        .await;
    world.through(Some(at("2026-11-20T00:00:00Z"))).await;
    world.refresh("2026-11-20T00:10:00Z").await;
    let daily = "SELECT day, events FROM logweir.daily_active ORDER BY day";
    assert_eq!(world.db.lines(daily).await, ["2026-11-01|1", "2026-11-02|1"]);
    // The first event's day is a later one in Seoul, though nothing was deleted.
    world.definitions.timezone = "Asia/Seoul".into();
    world.refresh("2026-11-20T00:20:00Z").await;
    assert_eq!(world.db.lines(daily).await, ["2026-11-02|1", "2026-11-03|1"]);
}

#[tokio::test]
async fn values_of_each_type_are_text_and_long_ones_are_cut() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let dimensions = [
        ("name", FieldType::String { max_bytes: 65_535 }),
        ("paid", FieldType::Bool),
        ("age", FieldType::Int),
        ("level", FieldType::Double),
        ("heard_at", FieldType::Timestamp),
        ("born", FieldType::Date),
        ("tone", FieldType::Uuid),
        ("price", FieldType::Decimal { precision: 10, scale: 2 }),
    ];
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 8, &dimensions).await;
    let mut whole = event(1, "2026-11-20T00:00:00Z", Some("a"), None);
    let texts = [
        "ä".repeat(300),
        "false".into(),
        "-7".into(),
        "0.25".into(),
        "2026-11-19 23:00:00.125".into(),
        "2001-02-03".into(),
        "6f2c1a52-5a0e-4f0e-9b5c-0d4c2f5f0d10".into(),
        "3.50".into(),
    ];
    whole.values = texts.iter().cloned().map(Some).collect();
    let mut null = whole.clone();
    (null.id, null.values) = (2, vec![None; texts.len()]);
    world.load(&[whole, null]).await;
    world.through(None).await;
    world.refresh("2026-11-20T01:00:00Z").await;
    let sql = "SELECT value FROM logweir.daily_counts WHERE value IS NOT NULL ORDER BY dimension";
    let mut expected: Vec<_> = dimensions.iter().map(|(name, _)| *name).zip(texts).collect();
    expected.sort();
    let expected: Vec<_> = expected.into_iter().map(|(_, text)| text.chars().take(256).collect::<String>()).collect();
    assert_eq!(world.db.lines(sql).await, expected);
    assert_eq!(world.db.lines("SELECT count(*) FROM logweir.daily_counts WHERE value IS NULL").await, ["8"]);
}

#[test]
fn what_cannot_be_counted_is_named() {
    let definitions = |device: &str, dimension: &str, zone: &str| {
        let json = [("channel", FieldType::String { max_bytes: 9 }), ("payload", FieldType::Json { max_bytes: 99 })];
        let mut definitions = world::definitions("logweir", zone, 8, &json);
        (definitions.rollups[0].device, definitions.rollups[0].dimensions) = (device.into(), vec![dimension.into()]);
        rollup::refresh(Dialect::Redshift, &definitions, &Standing::default(), millis(at("2026-11-20T00:00:00Z")))
    };
    assert!(definitions("ad_id", "channel", "Asia/Seoul").is_ok());
    let (stream, column) = ("heard".to_owned(), "payload".to_owned());
    assert_eq!(
        definitions("ad_id", "payload", "Asia/Seoul"),
        Err(RollupError::Json { stream: stream.clone(), column })
    );
    let column = "model".to_owned();
    assert_eq!(definitions("model", "channel", "Asia/Seoul"), Err(RollupError::NoColumn { stream, column }));
    assert_eq!(definitions("ad_id", "channel", "Asia/Soul"), Err(RollupError::NoZone("Asia/Soul".into())));
}

#[tokio::test]
async fn what_nothing_loads_is_not_counted() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let mut world = World::new(&server, "logweir", "Asia/Seoul", 8, &CHANNEL).await;
    let mut other = world.definitions.rollups[0].clone();
    other.stream = "other".into();
    let mut table = world.definitions.tables[0].clone();
    (table.stream, table.load) = (StreamName::new("other").unwrap(), Load::None);
    world.definitions.rollups.insert(0, other.clone());
    world.definitions.tables.push(table);
    world.load(&[event(1, "2026-11-20T00:00:00Z", Some("a"), None)]).await;
    world.through(None).await;
    assert_eq!(world.refresh("2026-11-20T01:00:00Z").await, Summary { counted: 1, unchanged: 0, ..Summary::default() });
    world.definitions.rollups = vec![other];
    assert_eq!(world.refresh("2026-11-20T02:00:00Z").await, Summary::default());
}

#[tokio::test]
async fn the_visitors_of_a_real_access_log_are_counted() {
    if !is_installed() {
        return;
    }
    let server = Postgres::start();
    let dimensions = [("method", FieldType::String { max_bytes: 16 }), ("status", FieldType::Int)];
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/apache_access.log")).unwrap();
    let hit = |(id, line): (u64, &str)| {
        let (ip, rest) = line.split_once(" - - [").unwrap();
        let (time, rest) = rest.split_once("] \"").unwrap();
        let (request, rest) = rest.split_once("\" ").unwrap();
        let at = Timestamp::strptime("%d/%b/%Y:%H:%M:%S %z", time).unwrap();
        let values = [request, rest].map(|text| text.split(' ').next().map(Into::into)).to_vec();
        Event { id, at, received: at, device: Some(ip.into()), values }
    };
    let events: Vec<_> = (1..).zip(text.lines()).map(hit).collect();
    assert_eq!(events.len(), 10_000);
    let end = events.iter().map(|event| event.at).max().unwrap();
    for (zone, schema) in [("Asia/Seoul", "seoul"), ("America/New_York", "new_york")] {
        let mut world = World::new(&server, schema, zone, 2, &dimensions).await;
        world.load(&events).await;
        world.through(Some(end)).await;
        world.refresh(&(end + 1.hour()).to_string()).await;
        world.compare().await;
        let figures = world.db.lines(&format!("SELECT sum(events), max(devices) FROM {schema}.daily_active")).await;
        assert!(figures[0].starts_with("10000|"), "{figures:?}");
    }
}
