//! The pulse: some times a second what arrives and what is done is learned; once a second what is slow is shown.

use std::{sync::Arc, time::Duration};

use ::metrics::Gauge;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    admission::{Done, Offered, Work},
    batch::Millis,
    config::Config,
    http::{Service, WorkerTimes},
    metrics,
    queue::Published,
    spool::Shelf,
    version,
};

/// How often admission learns: a flood is met within this.
const BEAT: Duration = Duration::from_millis(100);
/// Every how many beats what is slow is measured and shown.
const SHOW_BEATS: u64 = 10;
/// Every how many beats the histograms are tidied.
const UPKEEP_BEATS: u64 = 50;
/// How much a new second counts in the demand: a burst of one second is not yet a trend.
const DEMAND_WEIGHT: f64 = 0.3;

/// What beats.
pub(super) struct Pulse {
    service: Arc<Service>,
    published: Arc<Published>,
    shelf: Arc<Shelf>,
    gauges: Gauges,
    beats: u64,
    workers: Vec<WorkerTimes>,
    /// At the last beat.
    last: Look,
    /// When it was last shown.
    shown: Look,
    demand: f64,
}

/// The counters at one look.
#[derive(Debug, Clone)]
struct Look {
    at: Instant,
    spool: Work,
    /// How long each worker was busy with what it did not refuse.
    workers: Vec<Duration>,
    /// How long all of them were busy refusing.
    refusing: Duration,
    offered: Offered,
}

struct Gauges {
    ready: Gauge,
    unready: Vec<(&'static str, Gauge)>,
    time: Gauge,
    resident: Gauge,
    demand: Gauge,
    capacity: Gauge,
    refusing: Gauge,
    backlog: Gauge,
    lags: Vec<Gauge>,
    busy: Vec<Gauge>,
    writer_busy: Gauge,
    oldest_unsynced: Gauge,
    queue_bytes: Gauge,
    spool_bytes: Gauge,
    spool_segments: Gauge,
    oldest_unstored: Gauge,
}

impl Gauges {
    fn new(service: &Service, published: &Published, workers: usize) -> Self {
        let metrics = &service.metrics;
        let gauge = |metric| metrics.gauge(metric, &[]);
        let each = |metric| (0..workers).map(|number| metrics.gauge(metric, &[&number.to_string()])).collect();
        let causes = service.health.causes(published);
        Self {
            ready: gauge(&metrics::READY),
            unready: causes.map(|(cause, _)| (cause, metrics.gauge(&metrics::UNREADY, &[cause]))).into(),
            time: gauge(&metrics::TIME),
            resident: gauge(&metrics::RESIDENT),
            demand: gauge(&metrics::DEMAND),
            capacity: gauge(&metrics::CAPACITY),
            refusing: gauge(&metrics::REFUSING),
            backlog: gauge(&metrics::BACKLOG_SECONDS),
            lags: each(&metrics::WORKER_LAG),
            busy: each(&metrics::WORKER_BUSY),
            writer_busy: gauge(&metrics::WRITER_BUSY),
            oldest_unsynced: gauge(&metrics::OLDEST_UNSYNCED),
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
        workers: Vec<WorkerTimes>,
    ) -> Self {
        let metrics = &service.metrics;
        metrics.gauge(&metrics::BUILD_INFO, &[version::VERSION, version::COMMIT]).set(1.0);
        for outcome in ["taken_over", "refused"] {
            let _ = metrics.counter(&metrics::RELOADS, &[outcome]);
        }
        metrics.gauge(&metrics::START_TIME, &[]).set(service.clock.now().get() as f64 / 1_000.0);
        metrics.gauge(&metrics::CONNECTIONS_LIMIT, &[]).set(config.server.max_connections as f64);
        metrics.gauge(&metrics::QUEUE_LIMIT, &[]).set(config.queue.bytes.get() as f64);
        metrics.gauge(&metrics::SPOOL_QUOTA, &[]).set(config.spool.quota().get() as f64);
        let last = look(&service, &published, &workers);
        let gauges = Gauges::new(&service, &published, workers.len());
        Self { gauges, service, published, shelf, beats: 0, workers, shown: last.clone(), last, demand: 0.0 }
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
        let now = look(&self.service, &self.published, &self.workers);
        let before = std::mem::replace(&mut self.last, now.clone());
        self.service.gate.capacity().learn(done(&before, &now));
        let moment = self.service.moment(now.at.into_std());
        self.service.gate.learn_arrivals(moment);
        self.service.policies.current().learn_arrivals(moment);
        if self.beats.is_multiple_of(SHOW_BEATS) {
            self.show(now);
        }
        if self.beats.is_multiple_of(UPKEEP_BEATS) {
            self.service.metrics.upkeep();
        }
        self.beats += 1;
    }

    fn show(&mut self, now: Look) {
        let (service, published, gauges) = (&self.service, &self.published, &self.gauges);
        let before = std::mem::replace(&mut self.shown, now);
        let now = &self.shown;
        // The first look is too short to say anything.
        if now.at - before.at >= BEAT {
            let capacity = (service.gate.capacity().bytes_per_second(), service.gate.capacity().bodies_per_second());
            self.demand += DEMAND_WEIGHT * (demand(&before, now, capacity) - self.demand);
        }
        let elapsed = (now.at - before.at).as_secs_f64().max(1e-3);
        let part = |now: Duration, before| now.saturating_sub(before).as_secs_f64() / elapsed;
        gauges.refusing.set(part(now.refusing, before.refusing) / self.workers.len() as f64);
        for (gauge, (now, before)) in gauges.busy.iter().zip(now.workers.iter().zip(&before.workers)) {
            gauge.set(part(*now, *before));
        }
        gauges.writer_busy.set(part(now.spool.busy, before.spool.busy));
        for (gauge, worker) in gauges.lags.iter().zip(&self.workers) {
            gauge.set(worker.lag().as_secs_f64());
        }
        let capacity = service.gate.capacity().bytes_per_second();
        gauges.capacity.set(capacity);
        gauges.backlog.set(service.gate.budget().used() as f64 / capacity);
        gauges.demand.set(self.demand);
        gauges.ready.set(if service.health.unready(published).is_none() { 1.0 } else { 0.0 });
        for ((cause, gauge), (now, holds)) in gauges.unready.iter().zip(service.health.causes(published)) {
            debug_assert_eq!(*cause, now);
            gauge.set(f64::from(u8::from(holds)));
        }
        let clock = service.clock.now().get();
        gauges.time.set(clock as f64 / 1_000.0);
        let age =
            |since: Option<Millis>| since.map_or(0, |since| clock.saturating_sub(since.get()).max(0)) as f64 / 1_000.0;
        gauges.oldest_unsynced.set(age(published.unsynced_since()));
        gauges.queue_bytes.set(service.gate.budget().used() as f64);
        gauges.spool_bytes.set(published.spool_bytes() as f64);
        gauges.spool_segments.set(self.shelf.sealed().0 as f64);
        gauges.oldest_unstored.set(age(self.shelf.oldest_unstored()));
        if let Some(resident) = resident_bytes() {
            gauges.resident.set(resident);
        }
    }
}

fn look(service: &Service, published: &Published, workers: &[WorkerTimes]) -> Look {
    Look {
        at: Instant::now(),
        spool: published.work(),
        workers: workers.iter().map(|worker| worker.busy().saturating_sub(worker.refusing())).collect(),
        refusing: workers.iter().map(WorkerTimes::refusing).sum(),
        offered: service.demand.offered(),
    }
}

/// What was done between two looks.
fn done(before: &Look, now: &Look) -> Done {
    let busy = now.workers.iter().zip(&before.workers).map(|(now, before)| now.saturating_sub(*before));
    Done {
        spool: now.spool.since(before.spool),
        workers: busy.sum::<Duration>() / now.workers.len().max(1) as u32,
        bodies: now.offered.taken.saturating_sub(before.offered.taken),
        lines: now.offered.lines.saturating_sub(before.offered.lines),
    }
}

/// What was offered between two looks, for each byte that could have been taken: how busy the busiest stage was with
/// what was taken, times what was offered for each byte taken. Not capped at 1. The capacity is that of lines and that
/// of bodies.
fn demand(before: &Look, now: &Look, (lines, bodies): (f64, f64)) -> f64 {
    let elapsed = (now.at - before.at).as_secs_f64().max(1e-3);
    // By its bytes: a disk that syncs single batches all the time is busy and could take a thousand times as much.
    let spool = now.spool.since(before.spool).bytes as f64 / elapsed / lines;
    let workers = now.workers.iter().zip(&before.workers);
    let workers = workers.map(|(now, before)| now.saturating_sub(*before).as_secs_f64() / elapsed);
    let busiest = workers.fold(spool, f64::max);
    if now.offered.refused == before.offered.refused {
        return busiest;
    }
    if now.offered.taken == before.offered.taken {
        return (now.offered.refused - before.offered.refused) as f64 / elapsed / bodies;
    }
    busiest * now.offered.ratio(before.offered)
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
        Look {
            at,
            spool,
            workers: vec![busy / 2],
            refusing: Duration::ZERO,
            offered: Offered { taken, lines: taken, refused },
        }
    }

    #[test]
    fn demand_is_how_busy_the_busiest_stage_is_times_what_was_refused_beside() {
        let start = Instant::now();
        let before = look(start, 0, 1_000, 0);
        for (busy, taken, refused, expected) in [
            (0, 0, 0, 0.0),
            (500, 1_000, 0, 0.25),
            (500, 4_000, 0, 0.4),
            (1_000, 10_000, 30_000, 4.0),
            (0, 0, 20_000, 4.0),
        ] {
            let now = look(start + Duration::from_secs(1), busy, 1_000 + taken, refused);
            let demand = demand(&before, &now, (10_000.0, 5_000.0));
            assert!((demand - expected).abs() < 0.01 * expected.max(0.01), "{demand} instead of {expected}");
        }
    }
}
