//! What operations people see, and who may see it.

use logweir::metrics::{ALL, Kind};

use crate::{protocol::STREAMS, request::Request, server::TestServer};

#[test]
fn every_metric_that_is_declared_is_there_after_a_few_requests() {
    let server = TestServer::start(&format!("ledger.heartbeats = true\n{STREAMS}\n[streams.safe]\nack = \"stored\""));
    let mut client = server.connect();
    for (stream, body, status) in [
        ("safe", r#"[{"a":"\u0000"}]"#, 200),
        ("heard", r#"[{"ad_id":"x"},{"ad_id":5}]"#, 200),
        ("heard", "[5]", 422),
        ("heard", "[", 400),
    ] {
        assert_eq!(client.ask(&Request::post(stream, body)).status, status);
    }
    // What is measured once a second is there after the first.
    server.until("the pulse has beaten", |metrics| metrics.get("logweir_spool_bytes") > 0);
    let text = server.ask_admin(&Request::new("GET", "/metrics"));
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let metrics = server.metrics();
    // What the loader measures is in a file of its own, and this server has neither a line sink nor one that may lag so
    // far only: tests/deploy/reference.rs has.
    let of_line_sinks = |name: &str| {
        let of_all =
            ["logweir_sink_info", "logweir_sink_lag_bytes", "logweir_sink_lag_seconds", "logweir_sink_skipped_"];
        name.starts_with("logweir_sink_") && !of_all.iter().any(|of_all| name.starts_with(of_all))
    };
    // What tells which configuration is in force is set by the command that reads it.
    let of_others = ["logweir_load_", "logweir_config_"];
    let is_served = |name: &str| !of_others.iter().any(|others| name.starts_with(others)) && !of_line_sinks(name);
    for metric in ALL.iter().filter(|metric| is_served(metric.name)) {
        let (kind, series) = match metric.kind {
            Kind::Counter => ("counter", metric.name.to_owned()),
            Kind::Gauge => ("gauge", metric.name.to_owned()),
            Kind::Histogram(_) => ("histogram", format!("{}_count", metric.name)),
        };
        assert!(metrics.has(&series), "{series} is missing");
        assert!(text.text().contains(&format!("# TYPE {} {kind}\n", metric.name)), "{}", metric.name);
        assert!(text.text().contains(&format!("# HELP {} {}\n", metric.name, metric.meaning)), "{}", metric.name);
    }
    assert_eq!(metrics.get("logweir_ready"), 1);
    assert!(metrics.get("logweir_resident_bytes") < metrics.get("logweir_memory_ceiling_bytes"));
    assert_eq!(metrics.get("logweir_request_seconds_count"), 3);
}

#[test]
fn outcomes_and_causes_are_shown_before_the_first_of_them() {
    let metrics = TestServer::start("").metrics();
    for problem in logweir::http::Problem::examples() {
        let name = problem.name().replace('-', "_");
        assert!(
            metrics.has(&format!("logweir_requests_total{{outcome=\"{name}\"}}")) || !is_of_a_batch(&name),
            "{name}"
        );
    }
    for cause in logweir::admission::Cause::ALL {
        assert!(metrics.has(&format!("logweir_refusals_total{{cause=\"{}\"}}", cause.as_str())), "{cause:?}");
    }
}

/// Whether a problem can be the outcome of a request to store a batch.
fn is_of_a_batch(name: &str) -> bool {
    name != "not_found"
}

#[test]
fn a_token_guards_the_metrics_and_not_the_health() {
    let token = "a-token-for-the-admin-port";
    let server = TestServer::start(&format!("admin.token = '{token}'"));
    let ask = |path: &str, bears: Option<&str>| {
        let request = Request::new("GET", path);
        server.ask_admin(&bears.map_or(request.clone(), |value| request.header("authorization", value)))
    };
    for (bears, problem) in [
        (None, "missing-key"),
        (Some(""), "unknown-key"),
        (Some("Bearer"), "unknown-key"),
        (Some(token), "unknown-key"),
        (Some("Bearer a-token-for-the-admin-por"), "unknown-key"),
        (Some("Bearer a-token-for-the-admin-portx"), "unknown-key"),
        (Some("Basic a-token-for-the-admin-port"), "unknown-key"),
    ] {
        let answer = ask("/metrics", bears);
        assert_eq!((answer.status, answer.problem().as_str()), (401, problem), "{bears:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let answer = ask("/metrics", Some(&format!("Bearer {token}")));
    assert!(answer.status == 200 && answer.text().contains("logweir_ready"), "{answer:?}");
    for path in ["/livez", "/readyz"] {
        assert_eq!(ask(path, None).status, 200, "a load balancer has no token");
    }
}

#[test]
fn clocks_of_clients_are_told_by_how_far_they_are_ahead_or_behind_and_by_thirty_days_at_most() {
    let server = TestServer::start("");
    let mut client = server.connect();
    let now = logweir::batch::Clock::default().now().get();
    let month = 30 * 24 * 3_600_000;
    for sent_at in [now + 100_000, now - 2_000_000, now - 10 * month] {
        let request = Request::post("heard", r#"[{"a":1}]"#).header("x-sent-at", &sent_at.to_string());
        assert_eq!(client.ask(&request).status, 200);
    }
    // A body tells of a clock only if it lies ahead; who tells nothing, and who tells what is no time, is not counted.
    for sent_at in [now + 100_000, now - 100_000] {
        let body = format!(r#"{{"sent_at":{sent_at},"events":[{{"a":1}}]}}"#);
        assert_eq!(client.ask(&Request::post("heard", body)).status, 200);
    }
    assert_eq!(client.ask(&Request::post("heard", "[{}]").header("x-sent-at", "soon")).status, 200);
    let metrics = server.metrics();
    let skew =
        |what: &str, labels: &str| metrics.get(&format!("logweir_clock_skew_seconds_{what}{{clock=\"{labels}}}"));
    for (labels, count) in [
        ("ahead\",le=\"60\"", 0),
        ("ahead\",le=\"300\"", 2),
        ("ahead\",le=\"+Inf\"", 2),
        ("behind\",le=\"1800\"", 0),
        ("behind\",le=\"3600\"", 1),
        ("behind\",le=\"604800\"", 1),
        ("behind\",le=\"2592000\"", 2),
        ("behind\",le=\"+Inf\"", 2),
    ] {
        assert_eq!(skew("bucket", labels), count, "{labels}");
    }
}

#[test]
fn requests_are_told_by_key_whatever_becomes_of_them_and_a_secret_is_no_label() {
    let keys =
        "[[keys]]\nname = 'sdk'\nkey = 'a-secret-of-the-sdk'\n[[keys]]\nname = 'web'\nkey = 'a-secret-of-the-web'";
    let server = TestServer::start(&format!("{keys}\n[[mute]]\nkey = 'web'\nretry_after = '1h'"));
    let mut client = server.connect();
    let mut send = |key: &str, body: &str| client.ask(&Request::post("heard", body).header("x-api-key", key)).status;
    assert_eq!(send("a-secret-of-the-sdk", "[{}]"), 200);
    assert_eq!(send("a-secret-of-the-sdk", "["), 400);
    assert_eq!(send("a-secret-of-the-web", "[{}]"), 429);
    assert_eq!(send("a-secret-of-nobody", "[{}]"), 401);
    let text = server.ask_admin(&Request::new("GET", "/metrics"));
    assert!(text.text().contains("logweir_key_requests_total{key=\"sdk\"} 2\n"), "{}", text.text());
    assert!(text.text().contains("logweir_key_requests_total{key=\"web\"} 1\n"), "{}", text.text());
    assert_eq!(server.metrics().sum("logweir_key_requests_total"), 3);
    assert!(!text.text().contains("a-secret"));
}

#[test]
fn a_batch_that_waits_for_its_sync_is_told_by_its_age_and_a_writer_without_work_by_none() {
    let server = TestServer::start_with("[streams.heard]\nack = \"memory\"", |config| {
        // A group that takes much longer than this test.
        config.spool.max_rate = logweir::config::Size::kib(1);
    });
    server.until("nothing waits", |metrics| metrics.has("logweir_oldest_unsynced_seconds"));
    let large = format!("[{{\"a\":\"{}\"}}]", "x".repeat(60_000));
    assert_eq!(server.ask(&Request::post("heard", large)).status, 200);
    let text = |name: &str| {
        let text = server.ask_admin(&Request::new("GET", "/metrics"));
        let line = text.text().lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned));
        line.unwrap().parse::<f64>().unwrap()
    };
    crate::client::until("its age is told", || Some(()).filter(|()| text("logweir_oldest_unsynced_seconds") > 2.0));
    assert!(text("logweir_writer_busy_ratio") < 0.1, "it has not settled anything yet");
}

#[test]
fn what_is_told_of_the_spool_of_a_server_that_has_stored_everything_adds_up() {
    let server = TestServer::start("spool.early_seal_interval = '10ms'\n[streams.safe]\nack = 'stored'");
    let sent = server.ask(&Request::post("safe", r#"[{"a":1},{"a":2},5]"#));
    assert_eq!(sent.status, 200);
    let metrics = server.until("all of it is told", |metrics| {
        metrics.sum("logweir_stored_events_total") == 3 && metrics.has("logweir_spool_room_bytes")
    });
    let stored = |verdict: &str| {
        metrics.get(&format!("logweir_stored_events_total{{sink=\"files\",stream=\"safe\",verdict=\"{verdict}\"}}"))
    };
    assert_eq!((stored("accepted"), stored("rejected")), (2, 1));
    assert_eq!(metrics.get("logweir_sink_info{sink=\"files\",kind=\"file\",required=\"true\"}"), 1);
    assert!(metrics.get("logweir_spool_room_bytes") <= metrics.get("logweir_spool_quota_bytes"));
    assert!(metrics.get("logweir_spool_room_bytes") > 0);
    assert!(metrics.get("logweir_connections_limit") > 0);
    assert_eq!(metrics.sum("logweir_unready"), 0);
    // Who serves says what time it is, and since when.
    let now = logweir::batch::Clock::default().now().get() as f64 / 1_000.0;
    let text = server.ask_admin(&Request::new("GET", "/metrics"));
    for name in ["logweir_time_seconds ", "logweir_start_time_seconds "] {
        let told: f64 = text.text().lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap();
        assert!((now - told).abs() < 60.0, "{name}{told} at {now}");
    }
}
