//! Up to when everything is stored, by the heartbeats of a place.

use std::{fs, sync::Arc, time::Duration};

use logweir::{
    batch::{InstanceId, Millis},
    ledger::Heartbeat,
    warehouse::{
        Place,
        completeness::{Completeness, MARGIN_MILLIS, completeness},
    },
};

use crate::{BUCKET, Fault, HOUR, Operation, PREFIX, RECEIVED, Site};

const MINUTE: i64 = 60_000;
/// The received time that everything here is told relative to: 2026-11-22T09:00:00.123Z.
const NOW: i64 = RECEIVED + 100 * HOUR;

fn at(millis: i64) -> Millis {
    Millis::new(millis).unwrap()
}

fn instance(number: u8) -> InstanceId {
    InstanceId::from_bytes([number; 16])
}

/// A heartbeat of `instance` at `beats`, whose oldest event that is not stored was received at `oldest`.
fn heartbeat(number: u8, started: i64, beats: i64, oldest: Option<i64>) -> Heartbeat {
    let mut heartbeat = Heartbeat::new(instance(number), at(started), Duration::from_mins(1));
    heartbeat.at = at(beats);
    heartbeat.oldest_unstored = oldest.map(at);
    heartbeat
}

fn ended(number: u8, started: i64, beats: i64) -> Heartbeat {
    let mut heartbeat = heartbeat(number, started, beats, None);
    heartbeat.ended = true;
    heartbeat
}

async fn ask(site: &Site, since: Option<i64>) -> Completeness {
    let place = Place {
        store: Arc::clone(&site.store),
        bucket: site.place.clone(),
        prefix: PREFIX.into(),
        timeout: Duration::from_secs(10),
    };
    completeness(&place, since.map(at), at(NOW)).await.unwrap()
}

fn held(until: i64, number: u8, silent: bool) -> Completeness {
    Completeness { until: Some(at(until)), held_back_by: Some((instance(number), silent)) }
}

#[tokio::test]
async fn without_a_heartbeat_nobody_knows() {
    for site in Site::both().await {
        for since in [None, Some(NOW - HOUR)] {
            let unknown = Completeness { until: None, held_back_by: None };
            assert_eq!(ask(&site, since).await, unknown, "{}", site.kind);
        }
    }
}

#[tokio::test]
async fn the_instance_that_has_stored_least_holds_back_and_a_dead_one_is_told_as_silent() {
    for site in Site::both().await {
        site.beat(&heartbeat(1, RECEIVED, NOW - MINUTE, None)).await;
        assert_eq!(ask(&site, None).await, held(NOW - 2 * MINUTE, 1, false), "{}", site.kind);
        site.beat(&heartbeat(2, RECEIVED, NOW, Some(NOW - 5 * MINUTE))).await;
        assert_eq!(ask(&site, None).await, held(NOW - 5 * MINUTE, 2, false), "{}", site.kind);
        // It died long ago with something in its spool, and an earlier heartbeat of it says less than its last.
        site.beat(&heartbeat(3, RECEIVED, RECEIVED + HOUR, None)).await;
        site.beat(&heartbeat(3, RECEIVED, RECEIVED + 3 * HOUR, Some(RECEIVED + 2 * HOUR))).await;
        let blocked = held(RECEIVED + 2 * HOUR, 3, true);
        assert_eq!(ask(&site, None).await, blocked, "{}", site.kind);
        // Whoever asks again from there finds it again, whatever has happened since.
        assert_eq!(ask(&site, Some(RECEIVED + 2 * HOUR)).await, blocked, "{}", site.kind);
        // Its next process takes the spool up, and somebody else's replay is one too.
        site.beat(&ended(3, NOW - 2 * MINUTE, NOW - MINUTE)).await;
        assert_eq!(ask(&site, Some(RECEIVED + 2 * HOUR)).await, held(NOW - 5 * MINUTE, 2, false), "{}", site.kind);
    }
}

#[tokio::test]
async fn a_silent_instance_that_kept_nothing_holds_back_for_ten_intervals_and_no_longer() {
    for site in Site::both().await {
        site.beat(&heartbeat(1, RECEIVED, NOW, None)).await;
        let mut kept_nothing = heartbeat(2, RECEIVED, NOW - 10 * MINUTE, Some(NOW - 12 * MINUTE));
        kept_nothing.keeps = false;
        site.beat(&kept_nothing).await;
        assert_eq!(ask(&site, None).await, held(NOW - 12 * MINUTE, 2, true), "{}", site.kind);
        // A moment later: the one before was its last.
        kept_nothing.at = at(NOW - 10 * MINUTE - 1);
        site.beat(&kept_nothing).await;
        assert_eq!(ask(&site, None).await, held(NOW - MINUTE, 1, false), "{}", site.kind);
        // It is heard of again.
        kept_nothing.at = at(NOW);
        kept_nothing.oldest_unstored = Some(at(NOW - 3 * MINUTE));
        site.beat(&kept_nothing).await;
        assert_eq!(ask(&site, Some(NOW - MINUTE)).await, held(NOW - 3 * MINUTE, 2, false), "{}", site.kind);
        // One that keeps a spool holds back however long it is silent.
        site.beat(&heartbeat(3, RECEIVED, NOW - 10 * MINUTE - 1, Some(NOW - 20 * MINUTE))).await;
        assert_eq!(ask(&site, None).await, held(NOW - 20 * MINUTE, 3, true), "{}", site.kind);
    }
}

#[tokio::test]
async fn an_instance_that_held_back_is_found_from_its_own_answer_on_however_its_last_hour_falls() {
    // Its heartbeat is within the hour that is complete, just behind it, and at the very beginning of an hour.
    for beats in [NOW - 10 * HOUR, NOW - 10 * HOUR - 123, NOW - 10 * HOUR + 59 * MINUTE] {
        let site = Site::directory();
        site.beat(&heartbeat(1, beats - 1, beats, None)).await;
        let first = ask(&site, None).await;
        assert_eq!(first, held(beats - MINUTE, 1, true));
        assert_eq!(ask(&site, Some(beats - MINUTE)).await, first);
    }
}

#[tokio::test]
async fn if_every_instance_has_ended_everything_is_complete_but_for_a_margin_however_long_ago() {
    for site in Site::both().await {
        site.beat(&heartbeat(1, RECEIVED, RECEIVED + HOUR, Some(RECEIVED))).await;
        site.beat(&ended(1, RECEIVED + 2 * HOUR, RECEIVED + 3 * HOUR)).await;
        site.beat(&ended(2, RECEIVED, RECEIVED + HOUR)).await;
        let complete = Completeness { until: Some(at(NOW - MARGIN_MILLIS)), held_back_by: None };
        // With the last answer as where it begins, no heartbeat is left to read.
        for since in [None, Some(RECEIVED), Some(NOW - MARGIN_MILLIS)] {
            assert_eq!(ask(&site, since).await, complete, "{} {since:?}", site.kind);
        }
    }
}

#[tokio::test]
async fn a_heartbeat_that_cannot_be_read_counts_as_one_that_has_stored_nothing() {
    let site = Site::directory();
    site.beat(&heartbeat(1, RECEIVED, RECEIVED + HOUR, Some(RECEIVED + 30 * MINUTE))).await;
    site.beat(&heartbeat(1, RECEIVED + 2 * HOUR, NOW, None)).await;
    site.beat(&heartbeat(2, NOW, NOW, None)).await;
    let last = site.keys("_ledger/heartbeats").into_iter().find(|key| {
        let started = (RECEIVED + 2 * HOUR).to_string();
        key.ends_with(&format!("-{started}.json"))
    });
    let last = site.path(&last.unwrap());
    let written = fs::read_to_string(&last).unwrap();
    fs::write(&last, written.replace("\"format\":1", "\"format\":2")).unwrap();
    // The process before it, whose spool it took up, had something left.
    assert_eq!(ask(&site, None).await, held(RECEIVED + 30 * MINUTE, 1, true));
    site.beat(&ended(1, RECEIVED, RECEIVED + HOUR)).await;
    assert_eq!(ask(&site, None).await, held(RECEIVED + 2 * HOUR, 1, true));
    fs::write(&last, written).unwrap();
    assert_eq!(ask(&site, None).await.until, Some(at(NOW - MINUTE)));
    // What is no heartbeat by its name tells nothing.
    fs::write(last.with_file_name("stranger.json"), "{}").unwrap();
    assert_eq!(ask(&site, None).await.until, Some(at(NOW - MINUTE)));
}

#[tokio::test]
async fn heartbeats_that_cannot_be_had_are_an_error_and_not_completeness() {
    let site = Site::bucket().await;
    site.beat(&heartbeat(1, RECEIVED, NOW, None)).await;
    site.server.as_ref().unwrap().fault(Operation::Other, 100, Fault::Answer(403, "AccessDenied"));
    let place = Place {
        store: Arc::clone(&site.store),
        bucket: BUCKET.into(),
        prefix: PREFIX.into(),
        timeout: Duration::from_secs(10),
    };
    let error = completeness(&place, None, at(NOW)).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot read raw/_ledger/heartbeats/"), "{error}");
}
