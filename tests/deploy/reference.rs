//! The reference of the metrics: `deploy/METRICS.md` is what the declarations say, and a running server shows no other.

use std::{collections::BTreeMap, fmt::Write};

use logweir::{
    admission::Cause,
    batch::{Mending, Reason},
    http::Problem,
    metrics::{ALL, Declared, Kind, RELIED_ON},
    sink::Failure,
};

use crate::{
    running::Running,
    tools::{read, root},
};

/// Where the reference stands.
const REFERENCE: &str = "deploy/METRICS.md";

/// The first metric of each section, its heading, and what is to be said of all in it.
const SECTIONS: [(&str, &str, &str); 10] = [
    ("logweir_build_info", "The instance", ""),
    ("logweir_connections", "Connections", ""),
    ("logweir_requests_total", "Requests", ""),
    ("logweir_backlog_seconds", "Workers", ""),
    ("logweir_events_received_total", "Events", "A stream is shown from its first batch on."),
    ("logweir_queue_bytes", "The queue", ""),
    ("logweir_group_bytes", "The spool", ""),
    (
        "logweir_sink_info",
        "Sinks that make objects",
        "Of kinds `file` and `s3`; `logweir_sink_info` and those of `_lag_` and `_skipped_` of all sinks, those of \
         `_lag_limit_` of best-effort ones only.",
    ),
    ("logweir_sink_lines_total", "Sinks that take lines", "Of kind `firehose`."),
    (
        "logweir_load_rounds_total",
        "The loader",
        "Not at an instance's `/metrics`: `logweir load` writes them into `warehouse.metrics_file` after each round, for a \
         collector of text files such as node_exporter's. They count since that process began.",
    ),
];

/// What stands before the sections.
const INTRODUCTION: &str = "# Metrics

<!-- Made from src/metrics.rs by tests/deploy/reference.rs; LOGWEIR_UPDATE_GOLDEN=1 makes it anew. -->

What `GET /metrics` on the admin port (127.0.0.1:9090, with `admin.token` as a bearer token where one is set) tells
Prometheus, in the order of a batch's path. All are of one instance and begin anew with its process; what is slow is
measured once a second.

**Fixed** names (✓), their types, labels and values are what other people's tools may rely on: they stay as they are within a major
version, and values may be added to a label. The alerts and the dashboard beside this file use no others. The rest may
change with any version, and the changelog says so. Units are base units; ratios are 1 for the whole.

Labels are bounded: a stream is one of at most `limits.streams`, a sink or a key is one of the configuration, a worker one
of `server.workers`. No label holds anything that a client has made up, but for the names of streams where
`ingest.undeclared_streams` is `accept`.
";

/// Which values a label has.
pub(crate) enum Values {
    /// One of these.
    Fixed(Vec<String>),
    /// Any; this says which.
    Open(&'static str),
}

/// Which values `label` of `metric` has.
pub(crate) fn values(metric: &str, label: &str) -> Values {
    let fixed = |values: &[&str]| Values::Fixed(values.iter().map(ToString::to_string).collect());
    let failures = |own: &str| {
        Values::Fixed(Failure::ALL.iter().map(|cause| cause.as_str().to_owned()).chain([own.to_owned()]).collect())
    };
    match (label, metric) {
        ("version", _) => Values::Open("such as 0.1.0"),
        ("commit", _) => Values::Open("of the source, or `unknown`"),
        ("worker", _) => Values::Open("from 0"),
        ("key", _) => Values::Open("its name; empty without keys"),
        ("stream" | "sink", _) => Values::Open("its name"),
        ("kind", _) => fixed(&["file", "s3", "firehose"]),
        ("required", _) => fixed(&["true", "false"]),
        ("verdict", _) => fixed(&["accepted", "rejected"]),
        ("clock", _) => fixed(&["ahead", "behind"]),
        ("what", _) => fixed(&["place", "segment", "missing", "cursor"]),
        ("reason", _) => Values::Fixed(Reason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect()),
        ("mending", _) => Values::Fixed(Mending::ALL.iter().map(|mending| mending.as_str().to_owned()).collect()),
        ("cause", "logweir_unready") => fixed(&["draining", "disk_failed", "workers_stuck"]),
        ("cause", "logweir_connections_cut_total") => fixed(&["idle", "head", "malformed_head", "head_too_large"]),
        ("cause", "logweir_refusals_total") => {
            Values::Fixed(Cause::ALL.iter().map(|cause| cause.as_str().to_owned()).collect())
        }
        ("cause", "logweir_seals_total") => fixed(&["size", "age", "request", "stop", "failure"]),
        ("cause", "logweir_upload_retries_total") => failures("spool"),
        ("cause", "logweir_sink_retries_total") => failures("undelivered"),
        ("outcome", "logweir_requests_total") => Values::Fixed(outcomes()),
        ("outcome", "logweir_handovers_total") => fixed(&["failed", "taken_over"]),
        ("outcome", "logweir_reloads_total") => fixed(&["taken_over", "refused"]),
        ("outcome", "logweir_objects_total" | "logweir_ledger_pages_total") => {
            fixed(&["stored", "existed", "occupied"])
        }
        ("outcome", "logweir_heartbeats_total") => fixed(&["written", "failed"]),
        ("outcome", "logweir_sink_lines_total") => fixed(&["delivered", "repeated", "undelivered"]),
        ("outcome", "logweir_sink_calls_total") => fixed(&["delivered", "partial", "later", "undelivered", "unknown"]),
        ("outcome", "logweir_load_rounds_total") => fixed(&["ended", "interrupted", "failed"]),
        ("outcome", "logweir_load_rows_total") => fixed(&["loaded", "duplicate", "conflict"]),
        _ => panic!("say in tests/deploy/reference.rs which values {label} of {metric} has"),
    }
}

/// What comes of requests: 2xx and 422 first, then problems by their names.
fn outcomes() -> Vec<String> {
    let mut outcomes =
        ["accepted", "pending", "all_rejected", "gone", "abandoned", "refused"].map(str::to_owned).to_vec();
    for problem in Problem::examples() {
        let name = problem.name().replace('-', "_");
        if !outcomes.contains(&name) {
            outcomes.push(name);
        }
    }
    outcomes
}

/// What a declaration's unit is called.
fn unit(metric: &Declared) -> &'static str {
    match metric.unit {
        metrics::Unit::Bytes if metric.name.ends_with("_per_second") => "bytes/s",
        metrics::Unit::Bytes => "bytes",
        metrics::Unit::Seconds => "seconds",
        _ if metric.name.ends_with("_ratio") => "ratio",
        _ if metric.name.ends_with("_info") => "",
        _ => "count",
    }
}

fn kind(metric: &Declared) -> &'static str {
    match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}

/// Whether other people's tools may rely on it.
pub(crate) fn is_fixed(metric: &Declared) -> bool {
    RELIED_ON.iter().any(|fixed| fixed.name == metric.name)
}

fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut sections = SECTIONS.iter().peekable();
    for metric in ALL {
        if let Some((_, heading, said)) = sections.next_if(|(first, ..)| *first == metric.name) {
            let said = if said.is_empty() { String::new() } else { format!("{said}\n\n") };
            write!(
                text,
                "\n## {heading}\n\n{said}| | name | type | unit | labels | meaning |\n|---|---|---|---|---|---|\n"
            )
            .unwrap();
        }
        let labels = metric.labels.iter().map(|label| match values(metric.name, label) {
            Values::Open(which) => format!("`{label}` ({which})"),
            Values::Fixed(values) => format!("`{label}`: {}", values.join(", ")),
        });
        let labels: Vec<_> = labels.collect();
        let bounds = match metric.kind {
            Kind::Histogram(buckets) => {
                let bounds: Vec<_> = buckets.bounds().iter().map(ToString::to_string).collect();
                format!(" Buckets: {}.", bounds.join(", "))
            }
            _ => String::new(),
        };
        let fixed = if is_fixed(metric) { "✓" } else { "" };
        let (name, kind, unit, labels) = (metric.name, kind(metric), unit(metric), labels.join("; "));
        writeln!(text, "| {fixed} | `{name}` | {kind} | {unit} | {labels} | {}{bounds} |", metric.meaning).unwrap();
    }
    assert!(sections.next().is_none(), "a section begins with a metric that is not there, or not in this order");
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is not the server that reads the environment")]
fn the_reference_is_what_the_declarations_say() {
    let made = reference();
    if std::env::var_os("LOGWEIR_UPDATE_GOLDEN").is_some() {
        std::fs::write(root().join(REFERENCE), &made).unwrap();
    }
    let there = read(REFERENCE);
    for (there, made) in there.lines().zip(made.lines()) {
        assert_eq!(there, made, "{REFERENCE} is not as src/metrics.rs says; make it with LOGWEIR_UPDATE_GOLDEN=1");
    }
    assert_eq!(there.lines().count(), made.lines().count(), "{REFERENCE}: make it with LOGWEIR_UPDATE_GOLDEN=1");
}

/// Every series of `text`, as name and labels.
pub(crate) fn series(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let series = lines.map(|line| {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let Some((name, labels)) = series.split_once('{') else { return (series.to_owned(), BTreeMap::new()) };
        // No value in these tests has a comma.
        let labels = labels.strip_suffix('}').unwrap().split(',').map(|label| {
            let (label, value) = label.split_once('=').unwrap();
            (label.to_owned(), value.trim_matches('"').to_owned())
        });
        (name.to_owned(), labels.collect())
    });
    series.collect()
}

#[test]
fn a_running_server_shows_every_metric_of_the_reference_and_no_label_or_value_that_it_does_not_name() {
    let running = Running::start();
    running.post("heard", r#"[{"ad_id":"x"},{"ad_id":5}]"#, &[("X-Sent-At", "1600000000")]);
    running.post("heard", r#"[{"ad_id":"\u0000"}]"#, &[("X-Sent-At", "4000000000")]);
    // What is sealed is stored, what is slow is measured, and what the sinks lack is looked at.
    let text = running.until("everything is shown", |text| {
        let mut stored = series(text).into_iter();
        let shown = |name: &str| text.lines().any(|line| line.starts_with(name));
        stored.any(|(name, labels)| name == "logweir_stored_events_total" && labels["verdict"] == "rejected")
            && shown("logweir_sink_lag_limit_bytes")
            && shown("logweir_time_seconds")
    });
    let shown = series(&text);
    for metric in ALL.iter().filter(|metric| !metric.name.starts_with("logweir_load_")) {
        let name = match metric.kind {
            Kind::Histogram(_) => format!("{}_bucket", metric.name),
            _ => metric.name.to_owned(),
        };
        assert!(shown.iter().any(|(other, _)| *other == name), "{name} is in the reference, and not shown");
    }
    for (name, labels) in &shown {
        let metric = declared(name).unwrap_or_else(|| panic!("{name} is shown, and not declared"));
        for (label, value) in labels.iter().filter(|(label, _)| *label != "le") {
            assert!(metric.labels.contains(&label.as_str()), "{name} has a label {label}");
            if let Values::Fixed(values) = values(metric.name, label) {
                assert!(values.contains(value), "{label} of {name} is {value}");
            }
        }
    }
}

/// The metric of which `name` is a series, with the ending that histograms have.
pub(crate) fn declared(name: &str) -> Option<&'static Declared> {
    let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    ALL.iter().find(|metric| match metric.kind {
        Kind::Histogram(_) => Some(metric.name) == stem,
        Kind::Counter | Kind::Gauge => metric.name == name,
    })
}
