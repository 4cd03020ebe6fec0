//! A device over hours and days: when it sends, what it sends, and what it counts.

use std::time::Duration;

use logweir::client::{Settings, Tally};

use crate::world::{Device, START, each_event_a_batch, heard, told};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const MILLI: Duration = Duration::from_millis(1);

/// Just before `time`.
fn before(time: Duration) -> Duration {
    time.saturating_sub(MILLI)
}

#[test]
fn events_become_a_batch_when_it_is_old_enough() {
    told(async {
        let mut settings = Settings::new("http://nobody.test");
        settings.context.insert("os".into(), "android".into());
        settings.key = Some("secret".into());
        let device = Device::start(settings);
        device.log(2);
        device.advance(before(30 * SECOND)).await;
        device.until_count(0).await;
        device.advance(MILLI).await;
        device.until_count(1).await;
        let came = &device.network.came.lock().unwrap()[0];
        let envelope = came.envelope();
        assert_eq!(envelope["context"]["os"], "android");
        assert_eq!(envelope["events"], serde_json::json!([{"n": 0}, {"n": 1}]));
        assert_eq!(came.header("authorization"), "Bearer secret");
        assert_eq!(envelope.get("sent_at"), None);
    });
}

#[test]
fn a_refused_device_comes_back_when_told_and_not_sooner_with_any_batch() {
    told(async {
        let device = Device::start(each_event_a_batch());
        device.network.tell(429, &[("retry-after", "10")], r#"{"retry_after_ms":9500}"#);
        device.log(3);
        device.until_count(1).await;
        device.advance(before(Duration::from_millis(9_500))).await;
        device.log(1);
        device.until_count(1).await;
        device.advance(MILLI).await;
        device.until_count(5).await;
        let came = device.network.came.lock().unwrap();
        assert_eq!(came[0].batch_id(), came[1].batch_id(), "the same batch first");
        assert_eq!(came[0].request.body(), came[1].request.body(), "byte by byte");
        let numbers: Vec<_> = came.iter().map(|came| came.envelope()["events"][0]["n"].clone()).collect();
        assert_eq!(numbers, [0, 0, 1, 2, 0]);
    });
}

#[test]
fn sent_at_is_fresh_on_each_attempt() {
    told(async {
        let device = Device::start(each_event_a_batch());
        device.network.tell(503, &[("retry-after", "7")], "");
        device.log(1);
        device.until_count(1).await;
        device.advance(7 * SECOND).await;
        device.until_count(2).await;
        let came = device.network.came.lock().unwrap();
        assert_eq!(START, 1_795_338_000_000);
        assert_eq!(came[0].header("x-sent-at"), "2026-11-22T09:00:00.000Z");
        assert_eq!(came[1].header("x-sent-at"), "2026-11-22T09:00:07.000Z");
    });
}

#[test]
fn a_key_that_is_not_good_is_tried_once_an_hour() {
    told(async {
        let device = Device::start(each_event_a_batch());
        for _ in 0..3 {
            device.network.tell(401, &[], "");
        }
        device.log(2);
        for hour in 1..=3 {
            device.until_count(hour).await;
            device.advance(before(HOUR)).await;
            device.until_count(hour).await;
            device.advance(MILLI).await;
        }
        device.until_count(5).await;
        let counts = device.client.counts();
        assert_eq!((counts.delivered.batches, counts.attempts, counts.retries), (2, 5, 3));
    });
}

#[test]
fn a_stream_that_the_key_may_not_write_to_waits_alone() {
    told(async {
        let device = Device::start(each_event_a_batch());
        device.network.tell(403, &[], "");
        device.log(1);
        device.until_count(1).await;
        let other = logweir::batch::StreamName::new("other").unwrap();
        device.client.log(&other, &serde_json::json!({}));
        device.until_count(2).await;
        device.advance(before(HOUR)).await;
        device.until_count(2).await;
        device.advance(MILLI).await;
        device.until_count(3).await;
        let came = device.network.came.lock().unwrap();
        let paths: Vec<_> = came.iter().map(|came| came.request.uri().path()).collect();
        assert_eq!(paths, ["/v1/logs/heard", "/v1/logs/other", "/v1/logs/heard"]);
    });
}

#[test]
fn without_an_answer_the_waits_double_up_to_a_quarter_of_an_hour() {
    told(async {
        let device = Device::start(each_event_a_batch());
        for _ in 0..40 {
            device.network.tell_nothing();
        }
        device.log(1);
        for attempt in 1..=14_usize {
            device.until_count(attempt).await;
            let bound = SECOND * (1 << (attempt - 1).min(10));
            // Full jitter: at the bound it has gone at the latest.
            device.advance(bound.min(15 * MINUTE)).await;
        }
        device.until_count(15).await;
        assert_eq!(device.client.counts().delivered, Tally::default());
    });
}

#[test]
fn what_can_never_be_taken_is_dropped_and_counted_by_its_cause() {
    told(async {
        let device = Device::start(each_event_a_batch());
        for status in [400, 404, 405, 413, 415, 431] {
            device.network.tell(status, &[], "");
        }
        device.network.tell(422, &[], r#"{"accepted":0,"rejected":[{"index":0}]}"#);
        device.network.tell(202, &[], r#"{"accepted":1,"rejected":[]}"#);
        device.log(8);
        device.until_count(8).await;
        device.clock.idle().await;
        let counts = device.client.counts();
        assert_eq!(counts.dropped_refused, Tally { batches: 6, events: 6 });
        assert_eq!((counts.accepted, counts.rejected), (1, 1));
        assert_eq!(device.client.waiting(), Tally::default());
    });
}

#[test]
fn a_device_that_is_muted_for_a_week_asks_daily_and_gives_a_batch_up_after_seven_days() {
    told(async {
        let device = Device::start(each_event_a_batch());
        for _ in 0..8 {
            device.network.tell(429, &[("retry-after", "604800")], "");
        }
        device.log(1);
        for requests in 1..=7 {
            device.until_count(requests).await;
            device.advance(before(24 * HOUR)).await;
            device.until_count(requests).await;
            device.advance(MILLI).await;
        }
        // In another day it would be eight days old.
        device.until_count(8).await;
        assert_eq!(device.client.counts().dropped_too_old, Tally { batches: 1, events: 1 });
        device.log(1);
        device.advance(before(24 * HOUR)).await;
        device.until_count(8).await;
        device.advance(MILLI).await;
        device.until_count(9).await;
    });
}

#[test]
fn the_send_interval_lies_between_requests_until_it_is_lifted() {
    told(async {
        let device = Device::start(each_event_a_batch());
        device.network.tell(200, &[("logweir-send-interval", "60")], "");
        device.network.tell(200, &[("logweir-send-interval", "60")], "");
        device.log(5);
        device.until_count(1).await;
        device.advance(before(MINUTE)).await;
        device.until_count(1).await;
        device.advance(MILLI).await;
        device.until_count(2).await;
        // The answer to the third has no such hint any more.
        device.advance(MINUTE).await;
        device.until_count(5).await;
    });
}

#[test]
fn a_time_that_the_server_names_stands_before_the_send_interval() {
    told(async {
        let device = Device::start(each_event_a_batch());
        device.network.tell(429, &[("logweir-send-interval", "60"), ("retry-after", "5")], "");
        device.network.tell_nothing();
        device.log(1);
        device.until_count(1).await;
        device.advance(5 * SECOND).await;
        device.until_count(2).await;
        // Without an answer the interval is the least.
        device.advance(before(MINUTE)).await;
        device.until_count(2).await;
        device.advance(MILLI).await;
        device.until_count(3).await;
    });
}

#[test]
fn a_longer_interval_makes_larger_batches_instead_of_more() {
    told(async {
        let device = Device::start(Settings::new("http://nobody.test"));
        for _ in 0..10 {
            device.network.tell(200, &[("logweir-send-interval", "300")], "");
        }
        device.log(1);
        device.advance(30 * SECOND).await;
        device.until_count(1).await;
        for _ in 0..24 {
            device.log(1);
            device.advance(30 * SECOND).await;
        }
        device.clock.idle().await;
        let came = device.network.came.lock().unwrap();
        let events: Vec<_> = came.iter().map(|came| came.envelope()["events"].as_array().unwrap().len()).collect();
        // Ten a batch, and one that is logged in the moment in which it is closed.
        assert_eq!(events, [1, 11, 11]);
    });
}

#[test]
fn a_batch_does_not_wait_for_an_interval_that_was_lifted() {
    told(async {
        let device = Device::start(Settings::new("http://nobody.test"));
        device.network.tell(200, &[("logweir-send-interval", "3600")], "");
        device.network.tell(200, &[], "");
        device.log(1);
        device.advance(30 * SECOND).await;
        device.until_count(1).await;
        device.log(1);
        device.advance(HOUR).await;
        device.until_count(2).await;
        device.log(1);
        device.advance(30 * SECOND).await;
        device.until_count(3).await;
    });
}

#[test]
fn an_interval_that_is_lifted_releases_what_is_gathered() {
    told(async {
        let device = Device::start(Settings::new("http://nobody.test"));
        device.network.tell(200, &[("logweir-send-interval", "3600")], "");
        device.network.tell(429, &[("logweir-send-interval", "1"), ("retry-after", "1")], "");
        device.log(1);
        device.advance(30 * SECOND).await;
        device.until_count(1).await;
        // One batch fills up and goes when the hour is over; the other has been open for half an hour then.
        let other = logweir::batch::StreamName::new("other").unwrap();
        (0..500).for_each(|_| device.client.log(&heard(), &serde_json::json!({})));
        device.advance(HOUR / 2).await;
        device.client.log(&other, &serde_json::json!({}));
        device.advance(HOUR / 2).await;
        device.until_count(2).await;
        // The refused one goes again, and its answer has no hint any more.
        device.advance(SECOND).await;
        device.until_count(4).await;
    });
}

#[test]
fn sampling_keeps_its_share_and_counts_the_rest() {
    told(async {
        let device = Device::start(each_event_a_batch());
        device.network.tell(200, &[("logweir-sampling", "0.25")], "");
        device.log(1);
        device.clock.idle().await;
        assert_eq!(device.client.hints().sampling, Some(0.25));
        // No answer without the hint comes before all is logged: the test does not wait, and it has the only thread.
        (0..10_000).for_each(|_| device.client.log(&heard(), &serde_json::json!({})));
        let counts = device.client.counts();
        assert_eq!(counts.logged, 10_001);
        assert!((7_200..=7_800).contains(&counts.sampled_out), "{counts:?}");
    });
}

#[test]
fn the_books_balance() {
    told(async {
        let mut settings = each_event_a_batch();
        settings.batch.bytes = 64 * 1024;
        settings.buffer_bytes = 256 * 1024;
        let device = Device::start(settings);
        device.network.tell(400, &[], "");
        device.network.tell(200, &[], "");
        device.network.tell(429, &[("retry-after", "60")], "");
        device.log(3);
        device.until_count(3).await;
        device.client.log(&heard(), &"no object");
        device.client.log(&heard(), &serde_json::json!({ "large": "x".repeat(64 * 1024) }));
        for _ in 0..200 {
            // Random text, which gzip cannot make small.
            let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(20_000).collect();
            device.client.log(&heard(), &serde_json::json!({ "text": text }));
            tokio::task::yield_now().await;
        }
        device.clock.idle().await;
        let (client, ..) = device.stop().await;
        let (counts, waiting) = (client.counts(), client.waiting());
        assert_eq!((counts.logged, counts.unfit), (3 + 2 + 200, 2));
        assert!(counts.dropped_full.events > 150, "{counts:?}");
        assert_eq!(
            counts.logged,
            counts.sampled_out + counts.unfit + counts.delivered.events + counts.dropped().events + waiting.events,
            "{counts:?} {waiting:?}"
        );
    });
}

#[test]
fn a_stopped_client_keeps_its_batches_and_the_next_one_sends_them_under_the_same_ids() {
    told(async {
        let dir = tempfile::tempdir().unwrap();
        let settings = || Settings { directory: Some(dir.path().join("logs")), ..each_event_a_batch() };
        let device = Device::start(settings());
        device.network.tell(429, &[("retry-after", "600")], "");
        device.log(3);
        device.until_count(1).await;
        assert_eq!(std::fs::read_dir(dir.path().join("logs")).unwrap().count(), 3 + 2);
        device.advance(MINUTE).await;
        let (client, clock, network) = device.stop().await;
        assert_eq!(client.waiting(), Tally { batches: 3, events: 3 });
        let refused = logweir::client::Client::with(settings(), network.clone(), clock.clone()).unwrap_err();
        assert!(matches!(refused, logweir::client::SetupError::InUse(_)), "{refused}");
        drop(client);

        let device = Device::start_in(settings(), clock, network);
        assert_eq!(device.client.counts().found, Tally { batches: 3, events: 3 });
        // The next one has not forgotten when it may come.
        device.advance(before(9 * MINUTE)).await;
        device.until_count(1).await;
        device.advance(MILLI).await;
        device.until_count(4).await;
        assert_eq!(device.client.counts().delivered.batches, 3);
        let came = device.network.came.lock().unwrap();
        assert_eq!(came[0].batch_id(), came[1].batch_id());
        let numbers: Vec<_> = came.iter().map(|came| came.envelope()["events"][0]["n"].clone()).collect();
        assert_eq!(numbers, [0, 0, 1, 2]);
    });
}

#[test]
fn closing_sends_what_there_is_but_not_before_its_time() {
    told(async {
        let device = Device::start(Settings::new("http://nobody.test"));
        device.log(2);
        device.clock.idle().await;
        let (client, clock, network) = device.stop().await;
        assert_eq!(network.count(), 0);
        assert_eq!(client.close(SECOND).await, Tally::default());
        assert_eq!((network.count(), client.counts().delivered), (1, Tally { batches: 1, events: 2 }));

        client.log(&heard(), &serde_json::json!({}));
        network.tell(429, &[("retry-after", "2")], "");
        // It returns at once: what is told lies behind its end.
        assert_eq!(client.close(SECOND).await, Tally { batches: 1, events: 1 });
        assert_eq!(network.count(), 2);
        clock.advance(2 * SECOND);
        assert_eq!(client.close(SECOND).await, Tally::default());
    });
}

#[test]
fn a_device_that_cannot_pay_for_retries_makes_them_late() {
    told(async {
        let device = Device::start(each_event_a_batch());
        // Each batch fails once: the tokens of the start last for 124 of them, and then each fifth is paid for.
        let mut late = 0;
        for n in 0..145_usize {
            device.network.tell_nothing();
            device.network.tell(200, &[], "");
            device.client.log(&heard(), &serde_json::json!({}));
            device.until_count(2 * n + 1).await;
            if n >= 140 {
                // The longest wait of who can pay is over.
                device.advance(before(450 * SECOND)).await;
                device.clock.idle().await;
                late += u32::from(device.network.count() == 2 * n + 1);
            }
            device.advance(15 * MINUTE).await;
            device.until_count(2 * n + 2).await;
            assert_eq!(device.client.counts().delivered.batches, n as u64 + 1);
        }
        assert_eq!(late, 4, "of 5");
    });
}

#[test]
fn closing_ends_in_time_while_the_client_still_runs() {
    told(async {
        let device = Device::start(each_event_a_batch());
        device.network.keep_silent();
        device.log(2);
        device.until_count(1).await;
        let client = std::sync::Arc::clone(&device.client);
        let closed = tokio::spawn(async move { client.close(SECOND).await });
        device.advance(before(SECOND)).await;
        device.clock.idle().await;
        assert!(!closed.is_finished());
        device.clock.advance(MILLI);
        device.clock.idle().await;
        assert!(closed.is_finished(), "it waits for what runs");
        assert_eq!(closed.await.unwrap(), Tally { batches: 2, events: 2 });
    });
}

#[test]
fn a_file_that_cannot_be_read_is_tried_again_and_the_others_go() {
    told(async {
        let dir = tempfile::tempdir().unwrap();
        let device = Device::start(Settings { directory: Some(dir.path().into()), ..each_event_a_batch() });
        device.network.tell(429, &[("retry-after", "600")], "");
        device.log(2);
        device.until_count(1).await;
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let first = files.filter(|path| path.extension().is_some_and(|end| end == "gz")).min().unwrap();
        let kept = dir.path().join("kept");
        std::fs::rename(&first, &kept).unwrap();
        std::fs::create_dir(&first).unwrap();
        device.advance(600 * SECOND).await;
        device.until_count(2).await;
        std::fs::remove_dir(&first).unwrap();
        std::fs::rename(&kept, &first).unwrap();
        device.advance(before(10 * SECOND)).await;
        device.until_count(2).await;
        device.advance(MILLI).await;
        device.until_count(3).await;
        let came = device.network.came.lock().unwrap();
        let numbers: Vec<_> = came.iter().map(|came| came.envelope()["events"][0]["n"].clone()).collect();
        assert_eq!(numbers, [0, 1, 0]);
    });
}

#[test]
fn a_stream_that_the_key_may_not_write_to_is_not_tried_again_at_every_start() {
    told(async {
        let dir = tempfile::tempdir().unwrap();
        let settings = || Settings { directory: Some(dir.path().into()), ..each_event_a_batch() };
        let mut device = Device::start(settings());
        device.network.tell(403, &[], "");
        device.log(1);
        for _ in 0..5 {
            device.until_count(1).await;
            device.advance(10 * MINUTE).await;
            let (client, clock, network) = device.stop().await;
            drop(client);
            device = Device::start_in(settings(), clock, network);
        }
        device.advance(before(10 * MINUTE)).await;
        device.until_count(1).await;
        device.advance(MILLI).await;
        device.until_count(2).await;
        // The other streams had nothing to wait for.
        let other = logweir::batch::StreamName::new("other").unwrap();
        device.client.log(&other, &serde_json::json!({}));
        device.until_count(3).await;
    });
}
