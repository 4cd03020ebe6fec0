//! What is counted of a line sink.

use std::sync::Arc;

use ::metrics::{Counter, Gauge, Histogram};

use super::delivery::CallOutcome;
use crate::{
    metrics::{self, Metrics},
    sink::{
        Failure,
        counts::{by_cause, register_skipped},
    },
};

/// Lines that are never taken and have no place are tried again: the cause's name.
const NO_PLACE: &str = "undelivered";

/// What is counted of a line sink. Every label's value is there from the start.
pub(super) struct Counts {
    pub(super) delivered: Counter,
    pub(super) repeated: Counter,
    pub(super) undelivered: Counter,
    pub(super) bytes: Counter,
    pub(super) seconds: Histogram,
    pub(super) delay: Histogram,
    pub(super) concurrency: Gauge,
    calls: [Counter; 5],
    retries: [(&'static str, Counter); 9],
}

impl Counts {
    pub(super) fn new(metrics: &Arc<Metrics>, sink: &str) -> Self {
        let lines = |outcome| metrics.counter(&metrics::SINK_LINES, &[sink, outcome]);
        let call = |outcome| metrics.counter(&metrics::SINK_CALLS, &[sink, outcome]);
        register_skipped(metrics, sink);
        Self {
            delivered: lines("delivered"),
            repeated: lines("repeated"),
            undelivered: lines("undelivered"),
            bytes: metrics.counter(&metrics::SINK_LINE_BYTES, &[sink]),
            seconds: metrics.histogram(&metrics::SINK_CALL_SECONDS, &[sink]),
            delay: metrics.histogram(&metrics::SINK_DELAY_SECONDS, &[sink]),
            concurrency: metrics.gauge(&metrics::SINK_CONCURRENCY, &[sink]),
            // In the order of the declaration.
            calls: ["delivered", "partial", "later", "undelivered", "unknown"].map(call),
            retries: by_cause(NO_PLACE, |cause| metrics.counter(&metrics::SINK_RETRIES, &[sink, cause])),
        }
    }

    pub(super) fn call(&self, outcome: CallOutcome) {
        self.calls[outcome as usize].increment(1);
    }

    /// Lines of a call are sent again, for this cause; without one, since there is no place for them.
    pub(super) fn retry(&self, cause: Option<Failure>) {
        let cause = cause.map_or(NO_PLACE, Failure::as_str);
        if let Some((_, counter)) = self.retries.iter().find(|(name, _)| *name == cause) {
            counter.increment(1);
        }
    }
}
