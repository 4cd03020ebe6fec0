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
