//! When the acceptor pauses: when refusing takes more of the workers' time than it may.

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
/// How long a pause is: less than a load balancer notices, and at least as long again connections are accepted.
const PAUSE: Duration = Duration::from_millis(40);
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

    /// Whether no connection should be accepted now.
    pub(super) fn paused(&self) -> bool {
        self.until.is_some()
    }

    /// Waits until a pause may begin or must end. Nothing is lost if this is dropped before it is ready.
    pub(super) async fn look(&mut self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
            self.until = None;
            return;
        }
        self.looks.tick().await;
        self.judge(Instant::now());
    }

    /// Begins a pause if refusing took too much since this was last asked.
    fn judge(&mut self, now: Instant) {
        let spent = self.workers.iter().map(|worker| worker.refusing()).sum();
        let (since, before) = std::mem::replace(&mut self.last, (now, spent));
        if exceeds(self.share, spent.saturating_sub(before), (now - since) * self.workers.len() as u32) {
            self.begin(now);
        }
    }

    fn begin(&mut self, now: Instant) {
        self.until = Some(tokio::time::Instant::now() + PAUSE);
        self.counter.increment(1);
        if self.told.is_none_or(|told| now - told >= TOLD_EVERY) {
            self.told = Some(now);
            let share = self.share;
            tracing::warn!(
                share,
                "refusing takes more than its share of the workers' time: accepting pauses, again and again"
            );
        }
    }
}

/// Whether `refusing` is more than the part `share` of `elapsed`. All of it never is.
fn exceeds(share: f64, refusing: Duration, elapsed: Duration) -> bool {
    share < 1.0 && refusing.as_secs_f64() > share * elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusing_may_take_its_share() {
        let millis = Duration::from_millis;
        assert!(!exceeds(0.5, millis(100), millis(200)) && exceeds(0.5, millis(101), millis(200)));
        assert!(!exceeds(1.0, millis(300), millis(200)), "1 is no limit");
    }

    #[tokio::test]
    async fn a_pause_ends_and_the_next_needs_a_reason_of_its_own() {
        let metrics = Metrics::new().unwrap();
        let worker = Arc::new(StrainGauges::default());
        let mut pauses = Pauses::new(vec![Arc::clone(&worker)], 0.5, &metrics);
        let begun = Instant::now();
        pauses.judge(begun + LOOK);
        assert!(!pauses.paused());
        worker.add_refusing(LOOK);
        pauses.judge(begun + 2 * LOOK);
        assert!(pauses.paused());
        pauses.look().await;
        assert!(!pauses.paused(), "a pause ends by itself");
        pauses.judge(begun + 4 * LOOK);
        assert!(!pauses.paused(), "nothing was refused since");
        assert!(metrics.render().contains("logweir_accept_pauses_total 1"));
    }
}
