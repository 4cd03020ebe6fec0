//! When new connections pause: when refusing takes more of the workers' time than it may.
//!
//! Refusing is measured from look to look. A pause is as long as refusing needs to have no more than its share of the
//! look and the pause together, but no longer than [`MAX_PAUSE`]; then the next look begins, without a pause in it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::metrics::Counter;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use super::strain::StrainGauges;
use crate::metrics::{self, Metrics};

/// How often the workers' time is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The longest pause: a client may think that its request is on its way.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// At most so often it is told in the log.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Looks at the workers, and says when to pause.
#[derive(Debug)]
pub(super) struct Pauses {
    workers: Vec<Arc<StrainGauges>>,
    share: f64,
    looks: Interval,
    last: (Instant, Duration),
    until: Option<tokio::time::Instant>,
    told: Option<Instant>,
    counter: Counter,
}

impl Pauses {
    /// Of the time of `workers` the part `share` may go into refusing; 1 is no limit.
    pub(super) fn new(workers: Vec<Arc<StrainGauges>>, share: f64, metrics: &Metrics) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let counter = metrics.counter(&metrics::ACCEPT_PAUSES, &[]);
        Self { workers, share, looks, last: (Instant::now(), Duration::ZERO), until: None, told: None, counter }
    }

    /// Whether no connection should be given to a worker now.
    pub(super) fn paused(&self) -> bool {
        self.until.is_some()
    }

    /// Waits until a pause may begin or must end. Nothing is lost if this is dropped before it is ready.
    pub(super) async fn look(&mut self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
            self.end(Instant::now());
        } else {
            self.looks.tick().await;
            self.judge(Instant::now());
        }
    }

    /// Begins a pause if refusing took too much since this was last asked.
    fn judge(&mut self, now: Instant) {
        let ((since, before), spent) = (self.last, self.refusing());
        self.last = (now, spent);
        let pause = pause(self.share, spent.saturating_sub(before), now - since);
        if !pause.is_zero() {
            self.begin(now, pause);
        }
    }

    /// What refusing has taken of a worker's time so far, in the mean.
    fn refusing(&self) -> Duration {
        let all: Duration = self.workers.iter().map(|worker| worker.refusing()).sum();
        all / self.workers.len().max(1) as u32
    }

    fn end(&mut self, now: Instant) {
        self.until = None;
        self.last = (now, self.refusing());
        self.looks.reset();
    }

    fn begin(&mut self, now: Instant, pause: Duration) {
        self.until = Some(tokio::time::Instant::now() + pause);
        self.counter.increment(1);
        if self.told.is_none_or(|told| now - told >= TOLD_EVERY) {
            self.told = Some(now);
            let share = self.share;
            tracing::warn!(
                share,
                "refusing takes more than its share of the workers' time: new connections wait, again and again"
            );
        }
    }
}

/// How long to pause, so that `refusing` within `elapsed` is no more than the part `share` of both. All of it is no limit.
fn pause(share: f64, refusing: Duration, elapsed: Duration) -> Duration {
    if share >= 1.0 {
        return Duration::ZERO;
    }
    let excess = refusing.as_secs_f64() / share - elapsed.as_secs_f64();
    // What is negative is no duration.
    Duration::try_from_secs_f64(excess).unwrap_or_default().min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_the_share_needs() {
        let millis = Duration::from_millis;
        assert_eq!(pause(0.5, millis(50), millis(100)), Duration::ZERO);
        assert_eq!(pause(0.5, millis(60), millis(100)), millis(20));
        assert_eq!(pause(0.5, millis(100), millis(100)), millis(100));
        assert_eq!(pause(0.25, millis(100), millis(100)), millis(300));
        assert_eq!(pause(0.01, millis(100), millis(100)), MAX_PAUSE);
        assert_eq!(pause(1.0, millis(300), millis(100)), Duration::ZERO, "1 is no limit");
    }

    #[tokio::test]
    async fn a_pause_ends_and_the_next_needs_a_reason_of_its_own() {
        let metrics = Metrics::new().unwrap();
        let worker = Arc::new(StrainGauges::default());
        let mut pauses = Pauses::new(vec![Arc::clone(&worker)], 0.5, &metrics);
        let begun = pauses.last.0;
        pauses.judge(begun + LOOK);
        assert!(!pauses.paused());
        worker.add_refusing(LOOK);
        pauses.judge(begun + 2 * LOOK);
        assert!(pauses.paused());
        // What is refused in a pause came before it.
        worker.add_refusing(LOOK);
        pauses.look().await;
        assert!(!pauses.paused(), "a pause ends by itself");
        let ended = pauses.last.0;
        pauses.judge(ended + LOOK);
        assert!(!pauses.paused(), "nothing was refused since");
        assert!(metrics.render().contains("logweir_accept_pauses_total 1"));
    }
}
