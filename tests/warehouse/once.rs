//! Each event is in the table once.

use logweir::batch::Millis;

use crate::{
    postgres::{self, Postgres},
    segments::RECEIVED,
    world::{HOUR, Line, World, batch, events},
};

#[test]
fn a_server_is_there_and_survives_a_crash() {
    if !postgres::is_installed() {
        return;
    }
    let mut server = Postgres::start();
    server.query("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    server.kill();
    assert!(server.try_query("SELECT 1").is_err());
    server.resume();
    assert_eq!(server.query("SELECT count(*) FROM t"), "1");
}

#[tokio::test]
async fn what_is_stored_is_loaded_once_with_every_value_as_it_was_and_a_second_round_finds_nothing() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "first");
    let mut all = Vec::new();
    let mut segments = Vec::new();
    for segment in 0..5 {
        let at = RECEIVED + segment * HOUR;
        let (one, two) = (events(&format!("a{segment}"), 40, at), events(&format!("b{segment}"), 30, at + HOUR));
        segments.push(vec![batch(at, &one), batch(at + HOUR, &two)]);
        all.extend(one.into_iter().chain(two));
    }
    world.store(segments).await;
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    assert_eq!((stream.objects, stream.loads, stream.rows.loaded), (10, 4, 350), "{report}");
    assert!(!report.needs_somebody(), "{report}");
    world.assert_once(&postgres, &all, 10);
    let row = "SELECT event_time, received_at, batch_id, client_time IS NULL, device, n, \"order\", price, extra, heard_at \
               FROM {}.heard WHERE event_id = 'a0-7'";
    assert_eq!(
        world.query(&postgres, row),
        "2026-11-22 09:00:00.123+00|2026-11-22 09:00:00.123+00|b|t|a\tb\\c|7|{\"user\": [1, \"x\"]}|12.50|{\"k\": \"v\"}|\
         2026-11-22 09:00:00.123+00"
    );
    let again = world.load(&postgres).await;
    assert_eq!((again.streams[0].objects, again.streams[0].loads), (0, 0), "{again}");
    world.assert_once(&postgres, &all, 10);
}

#[tokio::test]
async fn a_bucket_of_both_codecs_is_loaded_once_each_codec_by_loads_of_its_own() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let mut world = World::new(&postgres, "w");
    world.limits.objects = 100;
    let mut all = Vec::new();
    // The codec is changed and changed back, in one day; copies lie in objects of either.
    for (name, codec) in ["gzip", "zstd", "gzip", "zstd", "zstd"].into_iter().enumerate() {
        world.codec = codec;
        let at = RECEIVED + name as i64 * 1_000;
        let lines = [events(&format!("a{name}"), 30, at), events("copies", 5, at)].concat();
        world.store(vec![vec![batch(at, &lines)]]).await;
        all.extend(lines);
    }
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    assert_eq!((stream.objects, stream.loads, stream.rows.loaded), (5, 2, 155), "{report}");
    assert!(!report.needs_somebody(), "{report}");
    world.assert_once(&postgres, &all, 5);
    let mixed = "SELECT count(*) FROM (SELECT load_id FROM {}.logweir_ledger GROUP BY load_id HAVING count(DISTINCT \
                 object LIKE '%.zst') > 1) m";
    assert_eq!(world.query(&postgres, mixed), "0", "no load mixes codecs");
    assert_eq!(world.load(&postgres).await.streams[0].objects, 0);
}

#[tokio::test]
async fn copies_are_found_within_an_object_between_objects_and_between_loads_and_conflicts_are_kept_apart() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let mut world = World::new(&postgres, "w");
    let first = [events("a", 10, RECEIVED), events("a", 3, RECEIVED), events("b", 10, RECEIVED)].concat();
    // Another event under the id of the first: in the same object, received later.
    let mut other = Line::new("b-0", RECEIVED + 5, 99);
    world.store(vec![vec![batch(RECEIVED, &first), batch(RECEIVED + 5, std::slice::from_ref(&other))]]).await;
    let report = world.load(&postgres).await;
    let stream = &report.streams[0];
    let rows = |report: &logweir::warehouse::load::StreamReport| {
        let rows = report.rows;
        (rows.lines, rows.loaded, rows.duplicates, rows.conflicts)
    };
    assert_eq!(rows(stream), (24, 20, 3, 1), "{report}");
    assert!(report.needs_somebody(), "a conflict is told");
    assert_eq!(world.query(&postgres, "SELECT event_id, n FROM {}.heard_conflicts"), "b-0|99");
    let mut all = [first, vec![other.clone()]].concat();
    world.assert_once(&postgres, &all, 1);

    // In a later load, of other hours: copies with another event time, a conflict of the table, and one within the load;
    // the copy that was received first is kept, in whichever object it is.
    world.limits.objects = 10;
    other.received = RECEIVED + 3 * HOUR;
    let later = [events("a", 10, RECEIVED + HOUR), vec![other]].concat();
    let new = [events("c", 5, RECEIVED + 2 * HOUR + 9), events("c", 5, RECEIVED + 2 * HOUR)].concat();
    let within = vec![Line::new("d", RECEIVED + 2 * HOUR, 1), Line::new("d", RECEIVED + 2 * HOUR + 1, 2)];
    for lines in [&later[..10], &later[10..], &new[..5], &new[5..], &within[..1], &within[1..]] {
        world.store(vec![vec![batch(lines[0].received, lines)]]).await;
    }
    let report = world.load(&postgres).await;
    assert_eq!(rows(&report.streams[0]), (23, 6, 15, 2), "{report}");
    all.extend(later.into_iter().chain(new).chain(within));
    world.assert_once(&postgres, &all, 7);
    let received = world.query(&postgres, "SELECT DISTINCT received_at FROM {}.heard WHERE event_id LIKE 'c-%'");
    assert_eq!(received, "2026-11-22 11:00:00.123+00");
    let loads = "SELECT to_char(received_hour, 'HH24'), sum(lines), sum(loaded), sum(duplicates), sum(conflicts) FROM \
                 {}.logweir_loads GROUP BY 1 ORDER BY 1";
    assert_eq!(world.query(&postgres, loads), "09|24|20|3|1\n10|10|0|10|0\n11|12|6|5|1\n12|1|0|0|1");
}

#[tokio::test]
async fn a_copy_outside_of_the_window_is_another_event() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    for hours in [0, 7 * 24, 14 * 24 + 2] {
        world.store(vec![vec![batch(RECEIVED + hours * HOUR, &events("a", 1, RECEIVED + hours * HOUR))]]).await;
        world.load(&postgres).await;
    }
    assert_eq!(
        world.query(&postgres, "SELECT sum(loaded), sum(duplicates) FROM {}.logweir_loads"),
        "2|1",
        "seven days apart are one, and what is further from all that is kept is another"
    );
}

#[tokio::test]
async fn the_status_tells_up_to_when_all_is_loaded_who_holds_it_back_and_what_came_late() {
    if !postgres::is_installed() {
        return;
    }
    let postgres = Postgres::start();
    let world = World::new(&postgres, "w");
    let status = || {
        let sql = "SELECT to_char(complete_through, 'HH24:MI'), held_back_by, late_rows, set_aside_objects FROM \
                   {}.load_status";
        world.query(&postgres, sql)
    };
    world.store(vec![vec![batch(RECEIVED, &events("a", 5, RECEIVED))]]).await;
    let report = world.load(&postgres).await;
    assert_eq!((report.streams[0].complete_through.as_deref(), status().as_str()), (None, "||0|0"), "nobody knows");
    // Live instances: the heartbeats are of now, as those that hold nothing back.
    let now = logweir::batch::Clock::starting_at(None).now().get();
    let instance = world.store(vec![vec![batch(RECEIVED + HOUR, &events("b", 5, RECEIVED + HOUR))]]).await;
    world.beat(instance, now, Some(RECEIVED + 3 * HOUR)).await;
    let report = world.load(&postgres).await;
    assert_eq!(status(), "12:00||0|0", "{report}");
    // What came late is found by the sweep, and counted.
    world.store(vec![vec![batch(RECEIVED + 2 * HOUR, &events("c", 7, RECEIVED + 2 * HOUR))]]).await;
    let report = world.load(&postgres).await;
    assert_eq!((report.streams[0].rows.late, status().as_str()), (7, "12:00||7|0"), "{report}");
    // Another loader that is behind does not turn it back; a silent instance does, and is named.
    world.beat(instance, now, Some(RECEIVED + 2 * HOUR)).await;
    world.load(&postgres).await;
    assert_eq!(status(), "12:00||7|0");
    world.beat(instance, now - HOUR, Some(RECEIVED + 2 * HOUR)).await;
    world.beat(instance, now, Some(RECEIVED + 5 * HOUR)).await;
    world.load(&postgres).await;
    assert_eq!(status(), "14:00||7|0");
    let dead = world.store(vec![vec![batch(RECEIVED + HOUR, &events("e", 1, RECEIVED + HOUR))]]).await;
    world.beat(dead, now - HOUR, Some(RECEIVED + 4 * HOUR)).await;
    world.load(&postgres).await;
    assert_eq!(status(), format!("13:00|{dead}|8|0"));
    assert!(Millis::new(now).is_some());
}
