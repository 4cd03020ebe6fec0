//! When events happened, by clocks that are wrong.

use logweir::batch::Millis;

use crate::{protocol::STREAMS, request::Request, server::TestServer, stored::Stored};

const DAY: i64 = 24 * 3_600_000;
/// 2025-01-01T00:00:00Z, an instant that lies more than the window's 30 days in the past.
const LONG_AGO: i64 = 1_735_689_600_000;

fn millis(line: &Stored, key: &str) -> Option<i64> {
    line.get(key).as_str().map(|text| Millis::parse(text).unwrap().get())
}

fn now() -> i64 {
    logweir::batch::Clock::default().now().get()
}

/// What is stored of one event that says `at`, sent with the header and in the envelope.
fn stored(at: &str, header: Option<&str>, sent_at: &str) -> (Stored, u64) {
    let server = TestServer::start(STREAMS);
    let request = Request::post("timed", format!(r#"{{"events":[{{"at":{at}}}],"sent_at":{sent_at}}}"#));
    let request = header.map_or(request.clone(), |value| request.header("X-Sent-At", value));
    assert_eq!(server.ask(&request).status, 200);
    let mended = server.metrics().sum("logweir_mended_total");
    (server.stop().remove(0), mended)
}

#[test]
fn the_header_corrects_a_clock_whatever_the_body_says() {
    for header in [LONG_AGO.to_string(), "2025-01-01T09:00:00+09:00".to_owned(), (LONG_AGO / 1_000).to_string()] {
        let (line, mended) = stored(&(LONG_AGO - 10_000).to_string(), Some(&header), "\"2035-01-01T00:00:00Z\"");
        let received = millis(&line, "received_at").unwrap();
        assert_eq!(millis(&line, "event_time"), Some(received - 10_000), "{header}");
        assert_eq!(millis(&line, "client_time"), Some(LONG_AGO - 10_000));
        assert_eq!(mended, 0);
    }
}

#[test]
fn the_body_corrects_a_clock_only_if_that_is_ahead() {
    let ahead = now() + 40 * DAY;
    let (line, _) = stored(&(ahead - 1_000).to_string(), None, &ahead.to_string());
    let received = millis(&line, "received_at").unwrap();
    assert_eq!(millis(&line, "event_time"), Some(received - 1_000));

    // A body that waited for two days on the device was sent two days ago: its clock is not wrong.
    let waited = now() - 2 * DAY;
    let (line, _) = stored(&(waited - 1_000).to_string(), None, &waited.to_string());
    assert_eq!((millis(&line, "event_time"), millis(&line, "client_time")), (Some(waited - 1_000), None));
}

#[test]
fn clocks_from_1970_and_2100_are_held_in_the_window_and_kept_beside_it() {
    for (at, told, edge) in [
        ("\"1970-01-01T00:00:01Z\"", 1_000, -30 * DAY),
        ("1.5", 1_500, -30 * DAY),
        ("\"2100-01-01T00:00:00Z\"", 4_102_444_800_000, 5 * 60_000),
        ("4102444800", 4_102_444_800_000, 5 * 60_000),
    ] {
        let (line, mended) = stored(at, None, "null");
        let received = millis(&line, "received_at").unwrap();
        assert_eq!(millis(&line, "event_time"), Some(received + edge), "{at}");
        assert_eq!(millis(&line, "client_time"), Some(told), "{at}");
        assert_eq!(mended, 1, "{at}: the clamping is counted");
    }
}

#[test]
fn a_sent_at_that_is_no_instant_is_ignored_and_counted() {
    let server = TestServer::start(STREAMS);
    let mut client = server.connect();
    let at = now() - 5_000;
    let bodies = [("X-Sent-At", "yesterday", "null"), ("X-Sent-At", "", "null"), ("X-Other", "", "\"soon\"")];
    for (header, value, sent_at) in bodies {
        let request = Request::post("timed", format!(r#"{{"events":[{{"at":{at}}}],"sent_at":{sent_at}}}"#));
        assert_eq!(client.ask(&request.header(header, value)).status, 200);
    }
    let series = "logweir_mended_total{stream=\"timed\",mending=\"ignored_sent_at\"}";
    assert_eq!(server.metrics().get(series), 3);
    assert!(server.stop().iter().all(|line| millis(line, "event_time") == Some(at)));
}
