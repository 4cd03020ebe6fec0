//! Whether what an expression names exists: metrics, labels and their values.

use std::collections::BTreeSet;

use logweir::metrics::Kind;

use crate::{
    promql::{Names, Selector, names},
    reference::{Values, declared, is_fixed, values},
};

/// What Prometheus and its configuration add to every series.
const TARGET_LABELS: [&str; 3] = ["job", "instance", "cluster"];
/// What Prometheus has of its own.
const FOREIGN: [&str; 1] = ["up"];

/// Every metric and label that `expression` names exists, and may be relied on. `recorded` are names of recording rules.
pub(crate) fn assert_known(place: &str, expression: &str, recorded: &BTreeSet<String>) {
    if let Err(problem) = known(expression, recorded) {
        panic!("{place}: {problem}, in\n{expression}");
    }
}

fn known(expression: &str, recorded: &BTreeSet<String>) -> Result<(), String> {
    let Names { selectors, labels: grouped } = names(expression);
    let mut labels: BTreeSet<&str> = TARGET_LABELS.into();
    if selectors.iter().any(|selector| recorded.contains(&selector.name)) {
        // A recorded series has the labels that its rule leaves it.
        labels.insert("cause");
    }
    for selector in &selectors {
        if recorded.contains(&selector.name) || FOREIGN.contains(&selector.name.as_str()) {
            continue;
        }
        labels.extend(of(selector)?);
    }
    match grouped.iter().find(|label| !labels.contains(label.as_str())) {
        Some(label) => Err(format!("none of its metrics has a label {label}")),
        None => Ok(()),
    }
}

/// The labels of the metric that `selector` selects.
fn of(selector: &Selector) -> Result<Vec<&'static str>, String> {
    let name = &selector.name;
    let metric = declared(name).ok_or_else(|| format!("there is no metric {name}"))?;
    if !is_fixed(metric) {
        return Err(format!("{name} may change: it is not among metrics::RELIED_ON"));
    }
    let is_bucket = matches!(metric.kind, Kind::Histogram(_)) && name.ends_with("_bucket");
    let mut labels = metric.labels.to_vec();
    labels.extend(is_bucket.then_some("le"));
    for (label, operator, value) in &selector.matchers {
        if TARGET_LABELS.contains(&label.as_str()) {
            continue;
        }
        if !labels.contains(&label.as_str()) {
            return Err(format!("{name} has no label {label}"));
        }
        if label == "le" {
            is_bound(metric.kind, value)?;
        } else if let Values::Fixed(known) = values(metric.name, label) {
            let told: Vec<&str> = if operator.contains('~') { value.split('|').collect() } else { vec![value] };
            if let Some(unknown) =
                told.iter().find(|told| !told.starts_with('$') && !known.iter().any(|it| it == *told))
            {
                return Err(format!("{label} of {name} is never {unknown}"));
            }
        }
    }
    Ok(labels)
}

fn is_bound(kind: Kind, value: &str) -> Result<(), String> {
    let Kind::Histogram(buckets) = kind else { return Ok(()) };
    let is_bound = buckets.bounds().iter().any(|bound| bound.to_string() == value) || value == "+Inf";
    if is_bound { Ok(()) } else { Err(format!("no bucket ends at {value}")) }
}

#[test]
fn what_does_not_exist_is_found() {
    let recorded = BTreeSet::from(["job:x:y".to_owned()]);
    for (expression, found) in [
        ("logweir_ready == 0 or up or job:x:y", ""),
        ("sum by (job, cause) (rate(logweir_refusals_total{cause=~\"disk|cpu\"}[5m]))", ""),
        ("rate(logweir_sync_seconds_bucket{le=\"0.5\"}[5m]) / on (le) logweir_sync_seconds_count", ""),
        ("logweir_reddy", "there is no metric logweir_reddy"),
        ("logweir_sync_seconds", "there is no metric logweir_sync_seconds"),
        ("logweir_ready_count", "there is no metric logweir_ready_count"),
        ("logweir_mended_total", "may change"),
        ("logweir_ready{sink=\"s\"}", "logweir_ready has no label sink"),
        ("logweir_refusals_total{cause=\"disc\"}", "cause of logweir_refusals_total is never disc"),
        ("logweir_refusals_total{cause!~\"mute|quotas\"}", "is never quotas"),
        ("logweir_sync_seconds_bucket{le=\"0.3\"}", "no bucket ends at 0.3"),
        ("sum by (sink) (logweir_ready)", "none of its metrics has a label sink"),
    ] {
        let told = known(expression, &recorded).err().unwrap_or_default();
        assert!(told.contains(found) && told.is_empty() == found.is_empty(), "{expression}: {told}");
    }
}
