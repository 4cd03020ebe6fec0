//! How hard a worker works, and for what: how late it is, and how much of its time goes into refusing.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::{self, sleep};

/// How often it is measured how late the worker is.
const PROBE: Duration = Duration::from_millis(20);
/// A worker that has not run for so long is not late but stuck: no flood makes one turn of it take seconds.
const STUCK: Duration = Duration::from_secs(30);

/// What one worker knows of itself.
#[derive(Debug)]
pub(super) struct Strain {
    refused: Cell<bool>,
    /// When the poll of a connection began that goes on, or was the last.
    polled: Cell<time::Instant>,
    gauges: Arc<StrainGauges>,
}

/// What it lets others see.
#[derive(Debug)]
pub(super) struct StrainGauges {
    refusing_nanos: AtomicU64,
    lag_nanos: AtomicU64,
    began: Instant,
    /// When it was last seen to run, from `began`.
    turned_nanos: AtomicU64,
}

impl Default for StrainGauges {
    fn default() -> Self {
        let [refusing_nanos, lag_nanos, turned_nanos] = [const { AtomicU64::new(0) }; 3];
        Self { refusing_nanos, lag_nanos, began: Instant::now(), turned_nanos }
    }
}

impl StrainGauges {
    /// Whether it has run within [`STUCK`]: a thread that hangs, or has ended, has not.
    pub(super) fn turns(&self, now: Instant) -> bool {
        let turned = Duration::from_nanos(self.turned_nanos.load(Ordering::Relaxed));
        now.saturating_duration_since(self.began + turned) < STUCK
    }

    fn turn(&self, now: Instant) {
        let turned = now.saturating_duration_since(self.began);
        self.turned_nanos.store(turned.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The time that it has spent on refusals since it started.
    pub(super) fn refusing(&self) -> Duration {
        Duration::from_nanos(self.refusing_nanos.load(Ordering::Relaxed))
    }

    /// How long a task of this worker that is ready waits for its turn.
    pub(super) fn lag(&self) -> Duration {
        Duration::from_nanos(self.lag_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn add_refusing(&self, time: Duration) {
        self.refusing_nanos.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

impl Strain {
    pub(super) fn new(gauges: Arc<StrainGauges>) -> Self {
        Self { refused: Cell::new(false), polled: Cell::new(time::Instant::now()), gauges }
    }

    /// What time it is, as a connection that is being polled by [`Self::time`] need know it: the time at which that began.
    /// Asking the clock takes longer than much of what a request needs. Requests that are served in one poll, because they
    /// came together, have all begun with it.
    pub(super) fn now(&self) -> time::Instant {
        self.polled.get()
    }

    /// How long a task of this worker that is ready waits for its turn.
    pub(super) fn lag(&self) -> Duration {
        self.gauges.lag()
    }

    /// A request is not taken, for whatever reason, within the poll that is being timed.
    pub(super) fn refuse(&self) {
        self.refused.set(true);
    }

    /// Counts all of `work` as refusing.
    pub(super) async fn refusing<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.refuse();
            work.as_mut().poll(context)
        })
        .await
    }

    /// Polls `connection`, and notes how long that took if a request was refused in it: reading the head, deciding and
    /// writing the answer, as far as they are done in one go. What else the same poll did is counted with it.
    pub(super) async fn time<F: Future + Unpin>(&self, connection: &mut F) -> F::Output {
        poll_fn(|context| {
            let began = time::Instant::now();
            self.polled.set(began);
            let polled = Pin::new(&mut *connection).poll(context);
            if self.refused.take() {
                self.gauges.add_refusing(began.elapsed());
            }
            polled
        })
        .await
    }

    /// Measures how late the worker is, again and again: the runtime runs its tasks in turn, so that a timer is as late
    /// as anything else.
    pub(super) async fn probe(&self) {
        loop {
            let due = Instant::now() + PROBE;
            sleep(PROBE).await;
            let now = Instant::now();
            self.gauges.lag_nanos.store(now.saturating_duration_since(due).as_nanos() as u64, Ordering::Relaxed);
            self.gauges.turn(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_turns_for_as_long_as_it_is_probed() {
        let gauges = Arc::new(StrainGauges::default());
        let began = gauges.began;
        assert!(gauges.turns(began), "one that has only begun is not stuck");
        assert!(!gauges.turns(began + STUCK));
        let strain = Strain::new(Arc::clone(&gauges));
        let _ = time::timeout(3 * PROBE, strain.probe()).await;
        assert!(gauges.turns(began + STUCK));
        assert!(!gauges.turns(began + 2 * STUCK));
    }
    #[tokio::test]
    async fn the_time_is_that_at_which_the_poll_began() {
        let strain = Strain::new(Arc::default());
        let before = strain.now();
        let connection = poll_fn(|_| {
            let began = strain.now();
            std::thread::sleep(Duration::from_millis(2));
            std::task::Poll::Ready((began, strain.now()))
        });
        std::thread::sleep(Duration::from_millis(2));
        let (began, later) = strain.time(&mut Box::pin(connection)).await;
        assert!(began > before, "each poll asks the clock");
        assert_eq!(began, later, "once");
    }
}
