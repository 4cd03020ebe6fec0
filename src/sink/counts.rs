//! What is counted of every sink, whatever its family: every series is there from the start, so that a rate over it sees
//! the first.

use ::metrics::Counter;

use super::Failure;
use crate::metrics::{self, Metrics};

/// How many causes there are, with one that is a family's own.
const CAUSES: usize = Failure::ALL.len() + 1;

/// A counter for each cause, and for one that is the family's `own`.
pub(super) fn by_cause(own: &'static str, counter: impl Fn(&str) -> Counter) -> [(&'static str, Counter); CAUSES] {
    std::array::from_fn(|number| {
        let cause = Failure::ALL.get(number).map_or(own, |cause| cause.as_str());
        (cause, counter(cause))
    })
}

/// Has what `sink` is skipped over shown before it is: the spool counts it.
pub(super) fn register_skipped(metrics: &Metrics, sink: &str) {
    for metric in [&metrics::SINK_SKIPPED_EVENTS, &metrics::SINK_SKIPPED_BYTES] {
        let _ = metrics.counter(metric, &[sink]);
    }
}
