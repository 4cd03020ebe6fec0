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

use tokio::time::sleep;

/// How often it is measured how late the worker is.
const PROBE: Duration = Duration::from_millis(20);

/// What one worker knows of itself.
#[derive(Debug, Default)]
pub(super) struct Strain {
    refused: Cell<bool>,
    gauges: Arc<StrainGauges>,
}

/// What it lets others see.
#[derive(Debug, Default)]
pub(super) struct StrainGauges {
    refusing_nanos: AtomicU64,
    lag_nanos: AtomicU64,
}

impl StrainGauges {
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
        Self { gauges, ..Self::default() }
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
            let began = Instant::now();
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
            self.gauges.lag_nanos.store(due.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
    }
}
