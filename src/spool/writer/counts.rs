//! The writer's metrics.

use std::{collections::HashMap, sync::Arc};

use ::metrics::{Counter, Histogram};

use super::sealing::SealCause;
use crate::{
    batch::{Book, FrameHeader, StreamName},
    metrics::{self, Metrics},
};

/// The writer's metrics.
pub(super) struct Counts {
    metrics: Arc<Metrics>,
    pub(super) sync_seconds: Histogram,
    pub(super) group_bytes: Histogram,
    pub(super) group_batches: Histogram,
    pub(super) sync_errors: Counter,
    /// Each stream's counters: accepted, rejected.
    events: HashMap<StreamName, [Counter; 2]>,
}

impl Counts {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        for cause in SealCause::ALL {
            let _ = metrics.counter(&metrics::SEALS, &[cause.as_str()]);
        }
        Self {
            sync_seconds: metrics.histogram(&metrics::SYNC_SECONDS, &[]),
            group_bytes: metrics.histogram(&metrics::GROUP_BYTES, &[]),
            group_batches: metrics.histogram(&metrics::GROUP_BATCHES, &[]),
            sync_errors: metrics.counter(&metrics::SYNC_ERRORS, &[]),
            events: HashMap::new(),
            metrics,
        }
    }

    pub(super) fn events(&mut self, frame: &FrameHeader) {
        let counters = if let Some(counters) = self.events.get(&frame.stream) {
            counters
        } else {
            let counter = |book: Book| self.metrics.counter(&metrics::EVENTS, &[frame.stream.as_str(), book.as_str()]);
            let counters = [counter(Book::Accepted), counter(Book::Rejected)];
            self.events.entry(frame.stream.clone()).or_insert(counters)
        };
        let [accepted, rejected] = counters;
        match frame.book {
            Book::Accepted => accepted.increment(u64::from(frame.events)),
            Book::Rejected => rejected.increment(u64::from(frame.events)),
        }
    }

    pub(super) fn seal(&self, cause: SealCause) {
        self.metrics.counter(&metrics::SEALS, &[cause.as_str()]).increment(1);
    }
}
