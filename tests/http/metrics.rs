//! What operations people see, and who may see it.

use logweir::metrics::{ALL, Kind};

use crate::{protocol::STREAMS, request::Request, server::TestServer};

/// Metrics of what goes wrong on disks, and of clients that are cut: they appear with the first of these.
const OF_MISHAPS: [&str; 4] = [
    "logweir_connections_cut_total",
    "logweir_torn_tails_total",
    "logweir_quarantined_total",
    "logweir_quarantined_bytes_total",
];

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
    // What the loader measures is in a file of its own.
    // And this server has no line sink.
    let of_line_sinks = |name: &str| {
        let of_all = ["logweir_sink_lag_", "logweir_sink_skipped_"];
        name.starts_with("logweir_sink_") && !of_all.iter().any(|of_all| name.starts_with(of_all))
    };
    let is_served =
        |name: &str| !OF_MISHAPS.contains(&name) && !name.starts_with("logweir_load_") && !of_line_sinks(name);
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
