//! What the target says of itself: its metrics, scraped while the rehearsal runs.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::timeout;

use super::{line::Line, report::Sample, target::Target};

/// How often the target is asked.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// How long an answer may take; a target that is too busy to tell leaves a gap.
const SAMPLE_PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer, in bytes.
const MAX_METRICS: usize = 8 * 1024 * 1024;

/// Asks for the metrics of a target, over one connection.
#[derive(Debug)]
pub(super) struct Sampler {
    target: Target,
    line: Line,
    /// What the counters stood at first: a report counts from its own beginning.
    first: Option<Sample>,
}

impl Sampler {
    pub(super) fn of(target: &Target) -> Self {
        Self { target: target.clone(), line: Line::to(target.address), first: None }
    }

    /// One sample, taken at the time `at`; `None` if the target did not tell.
    pub(super) async fn sample(&mut self, at: Duration) -> Option<Sample> {
        let path = if self.target.path.is_empty() { "/" } else { &self.target.path };
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.target.host);
        let Ok(reply) = timeout(SAMPLE_PATIENCE, self.line.exchange(request.as_bytes(), &[], MAX_METRICS)).await else {
            self.line.close();
            return None;
        };
        let reply = reply.ok().filter(|reply| reply.status == 200)?;
        let sample = read(std::str::from_utf8(&reply.body).ok()?, at)?;
        let first = self.first.get_or_insert_with(|| sample.clone());
        Some(since(first, sample))
    }
}

/// The metrics in `text`, the text format of Prometheus; `None` if there are none of an instance.
fn read(text: &str, at: Duration) -> Option<Sample> {
    let mut sample = Sample { at: at.as_secs_f64(), ..Sample::default() };
    let mut known = false;
    for line in text.lines().filter(|line| line.starts_with("logweir_")) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        // What is no number or endless has no place in a report: JSON cannot tell it.
        let Some(value) = value.parse::<f64>().ok().filter(|value| value.is_finite()) else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let gauge = match name {
            "logweir_queue_bytes" => &mut sample.backlog,
            "logweir_resident_bytes" => &mut sample.resident,
            "logweir_memory_ceiling_bytes" => &mut sample.ceiling,
            "logweir_capacity_bytes_per_second" => &mut sample.capacity,
            "logweir_demand_ratio" => &mut sample.demand,
            "logweir_refusing_ratio" => &mut sample.refusing,
            "logweir_worker_lag_seconds" => {
                *sample.workers.get_or_insert(0.0) += 1.0;
                continue;
            }
            "logweir_requests_total" if labels.starts_with("outcome=\"accepted\"") => &mut sample.accepted,
            "logweir_refusals_total" => {
                if let Some(cause) = labels.strip_prefix("cause=\"").and_then(|rest| rest.split('"').next()) {
                    sample.refusals.insert(cause.to_owned(), value);
                }
                continue;
            }
            _ => continue,
        };
        known = true;
        *gauge = Some(value);
    }
    known.then_some(sample)
}

/// `sample`, its counters counted from `first`.
fn since(first: &Sample, sample: Sample) -> Sample {
    let accepted = sample.accepted.map(|accepted| accepted - first.accepted.unwrap_or_default());
    let grown = |(cause, value): (String, f64)| {
        let before = first.refusals.get(&cause).copied().unwrap_or_default();
        (cause, value - before)
    };
    let refusals: BTreeMap<_, _> = sample.refusals.into_iter().map(grown).filter(|(_, value)| *value > 0.0).collect();
    Sample { accepted, refusals, ..sample }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP logweir_queue_bytes The byte reservation in use.
# TYPE logweir_queue_bytes gauge
logweir_queue_bytes 4096
logweir_queue_limit_bytes 1000000
logweir_resident_bytes 25165824
logweir_memory_ceiling_bytes 3e8
logweir_capacity_bytes_per_second 12345.5
logweir_demand_ratio 1.5
logweir_refusing_ratio 0.25
logweir_worker_lag_seconds{worker="0"} 0.001
logweir_worker_lag_seconds{worker="1"} 0.002
logweir_requests_total{outcome="accepted"} 17
logweir_requests_total{outcome="refused"} 40
logweir_refusals_total{cause="memory"} 30
logweir_refusals_total{cause="queue"} 10
other_metric 3
"#;

    #[test]
    fn a_sample_has_what_the_metrics_say() {
        let sample = read(TEXT, Duration::from_millis(1_500)).unwrap();
        let expected = Sample {
            at: 1.5,
            backlog: Some(4096.0),
            resident: Some(25_165_824.0),
            ceiling: Some(3e8),
            capacity: Some(12_345.5),
            demand: Some(1.5),
            refusing: Some(0.25),
            workers: Some(2.0),
            accepted: Some(17.0),
            refusals: BTreeMap::from([("memory".to_owned(), 30.0), ("queue".to_owned(), 10.0)]),
        };
        assert_eq!(sample, expected);
        let endless = TEXT.replace("queue\"} 10", "queue\"} +Inf").replace("bytes 4096", "bytes NaN");
        let sample = read(&endless, Duration::ZERO).unwrap();
        assert_eq!((sample.backlog, sample.refusals.len()), (None, 1));
        assert_eq!(read("<html>logweir_</html>\nprocess_cpu 1\n", Duration::ZERO), None);
    }

    #[test]
    fn counters_count_from_the_beginning_of_the_rehearsal() {
        let first = read(TEXT, Duration::ZERO).unwrap();
        let later = TEXT.replace("accepted\"} 17", "accepted\"} 20").replace("queue\"} 10", "queue\"} 12");
        let later = since(&first, read(&later, Duration::ZERO).unwrap());
        assert_eq!(later.accepted, Some(3.0));
        assert_eq!(later.refusals, BTreeMap::from([("queue".to_owned(), 2.0)]));
    }
}
