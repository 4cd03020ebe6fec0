//! What is said of calls that fail: the first of an outage, and its end.

use std::{fmt::Display, time::Duration};

use tokio::time::Instant;

/// How often the beginning and the end of an outage are said at the most: a service that fails now and then would fill
/// the log.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Whether calls fail, since when and how often.
#[derive(Debug, Default)]
pub(super) struct Outage {
    began: Option<Instant>,
    calls: u64,
    /// Whether its beginning was said.
    said: bool,
    last_said: Option<Instant>,
}

impl Outage {
    /// Whether calls fail.
    pub(super) fn is_on(&self) -> bool {
        self.began.is_some()
    }

    /// A call failed; its lines are sent again after `wait`.
    pub(super) fn failed(&mut self, sink: &str, error: &dyn Display, wait: Duration, now: Instant) {
        self.calls += 1;
        if self.began.is_none() {
            self.began = Some(now);
            self.said = self.last_said.is_none_or(|last| now.saturating_duration_since(last) >= SAID_EVERY);
            if self.said {
                self.last_said = Some(now);
                tracing::warn!(sink, %error, ?wait, "lines could not be delivered; trying again");
                return;
            }
        }
        tracing::debug!(sink, %error, ?wait, calls = self.calls, "lines could not be delivered; trying again");
    }

    /// Nothing waits to be sent again any more.
    pub(super) fn ended(&mut self, sink: &str, now: Instant) {
        let Some(began) = self.began.take() else { return };
        let (lasted, calls) = (now.saturating_duration_since(began), std::mem::take(&mut self.calls));
        if self.said {
            tracing::info!(sink, ?lasted, calls, "lines are delivered again");
        } else {
            tracing::debug!(sink, ?lasted, calls, "lines are delivered again");
        }
    }
}
