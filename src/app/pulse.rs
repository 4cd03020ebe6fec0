//! The pulse: once a second what is slow is measured, learned and shown.

use std::{sync::Arc, time::Duration};

use ::metrics::Gauge;
use tokio::{
    runtime::RuntimeMetrics,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    admission::{Offered, Work},
    config::Config,
    http::Service,
    metrics::{self, Metrics},
    queue::Published,
    spool::Shelf,
};

/// How often.
const BEAT: Duration = Duration::from_secs(1);
/// Every how many beats the histograms are tidied.
const UPKEEP_BEATS: u64 = 5;
/// How much a new second counts in the demand: a burst of one second is not yet a trend.
const DEMAND_WEIGHT: f64 = 0.3;

/// How busy a stage counts as while everything is refused: that too is demand.
const MIN_BUSY: f64 = 0.01;
/// The largest demand that is told.
const MAX_DEMAND: f64 = 1_000.0;

/// What beats.
pub(super) struct Pulse {
    service: Arc<Service>,
    published: Arc<Published>,
    shelf: Arc<Shelf>,
    gauges: Gauges,
    beats: u64,
    workers: Vec<RuntimeMetrics>,
    last: Look,
    demand: f64,
}

/// The counters at one look.
#[derive(Debug, Clone)]
struct Look {
    at: Instant,
    spool: Work,
    workers: Vec<Duration>,
    offered: Offered,
}

struct Gauges {
    ready: Gauge,
    resident: Gauge,
    demand: Gauge,
    capacity: Gauge,
    queue_bytes: Gauge,
    spool_bytes: Gauge,
    spool_segments: Gauge,
    oldest_unstored: Gauge,
}

impl Gauges {
    fn new(metrics: &Metrics) -> Self {
        let gauge = |metric| metrics.gauge(metric, &[]);
        Self {
            ready: gauge(&metrics::READY),
            resident: gauge(&metrics::RESIDENT),
            demand: gauge(&metrics::DEMAND),
            capacity: gauge(&metrics::CAPACITY),
            queue_bytes: gauge(&metrics::QUEUE_BYTES),
            spool_bytes: gauge(&metrics::SPOOL_BYTES),
            spool_segments: gauge(&metrics::SPOOL_SEGMENTS),
            oldest_unstored: gauge(&metrics::OLDEST_UNSTORED),
        }
    }
}

impl Pulse {
    pub(super) fn new(
        config: &Config,
        service: Arc<Service>,
        published: Arc<Published>,
        shelf: Arc<Shelf>,
        workers: Vec<RuntimeMetrics>,
    ) -> Self {
        let metrics = &service.metrics;
        metrics.gauge(&metrics::BUILD_INFO, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        metrics.gauge(&metrics::QUEUE_LIMIT, &[]).set(config.queue.bytes.get() as f64);
        metrics.gauge(&metrics::SPOOL_QUOTA, &[]).set(config.spool.disk_quota.get() as f64);
        let last = look(&service, &published, &workers);
        Self { gauges: Gauges::new(&service.metrics), service, published, shelf, beats: 0, workers, last, demand: 0.0 }
    }

    /// Beats until it is dropped.
    pub(super) async fn run(mut self) {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            self.run_once();
        }
    }

    fn run_once(&mut self) {
        let (service, published, gauges) = (&self.service, &self.published, &self.gauges);
        let now = look(service, published, &self.workers);
        let before = std::mem::replace(&mut self.last, now.clone());
        service.gate.capacity().learn(before.spool, now.spool);
        self.demand += DEMAND_WEIGHT * (demand(&before, &now) - self.demand);
        gauges.capacity.set(service.gate.capacity().bytes_per_second());
        gauges.demand.set(self.demand);
        gauges.ready.set(if service.health.unready(published).is_none() { 1.0 } else { 0.0 });
        gauges.queue_bytes.set(service.gate.budget().used() as f64);
        gauges.spool_bytes.set(published.spool_bytes() as f64);
        gauges.spool_segments.set(self.shelf.sealed().0 as f64);
        let age = self.shelf.oldest_unstored().map_or(0, |since| service.clock.now().get() - since.get());
        gauges.oldest_unstored.set(age as f64 / 1_000.0);
        if let Some(resident) = resident_bytes() {
            gauges.resident.set(resident);
        }
        if self.beats.is_multiple_of(UPKEEP_BEATS) {
            service.metrics.upkeep();
        }
        self.beats += 1;
    }
}

fn look(service: &Service, published: &Published, workers: &[RuntimeMetrics]) -> Look {
    Look {
        at: Instant::now(),
        spool: published.work(),
        workers: workers.iter().map(|worker| worker.worker_total_busy_duration(0)).collect(),
        offered: service.demand.offered(),
    }
}

/// What was offered between two looks, for each byte that could have been taken: how busy the busiest stage was with
/// what was taken, times what was offered for each byte taken. Not capped at 1.
fn demand(before: &Look, now: &Look) -> f64 {
    let elapsed = (now.at - before.at).as_secs_f64().max(1e-3);
    let share = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() / elapsed;
    let spool = share(now.spool.busy, before.spool.busy);
    let workers = now.workers.iter().zip(&before.workers).map(|(now, before)| share(*now, *before));
    let busiest = workers.fold(spool, f64::max);
    if now.offered.refused == before.offered.refused {
        return busiest;
    }
    (busiest.max(MIN_BUSY) * now.offered.ratio(before.offered)).min(MAX_DEMAND)
}

/// What the process has in memory, as the kernel counts it.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = status.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, busy_millis: u64, taken: u64, refused: u64) -> Look {
        let busy = Duration::from_millis(busy_millis);
        let spool = Work { bytes: taken, busy };
        Look { at, spool, workers: vec![busy / 2], offered: Offered { taken, refused } }
    }

    #[test]
    fn demand_is_how_busy_the_busiest_stage_is_times_what_was_refused_beside() {
        let start = Instant::now();
        let before = look(start, 0, 1_000, 0);
        for (busy, taken, refused, expected) in
            [(0, 0, 0, 0.0), (500, 1_000, 0, 0.5), (1_000, 1_000, 3_000, 4.0), (0, 0, 1_000_000, MAX_DEMAND)]
        {
            let demand = demand(&before, &look(start + BEAT, busy, 1_000 + taken, refused));
            assert!((demand - expected).abs() < 0.01 * expected.max(0.01), "{demand} instead of {expected}");
        }
    }
}
