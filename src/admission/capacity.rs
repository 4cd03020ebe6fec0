//! What an instance can take, learned from what it took.
//!
//! Two stages limit it: the spool, which writes and syncs, and the workers, which read, decode and encode. Each is
//! measured as bytes by the time that it was busy with them; the slower one is the capacity. Bytes are those of stored
//! lines. What a refused client would have sent is known as bytes of bodies, compressed perhaps: how many of the former
//! one of the latter becomes is measured, too.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What a stage has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes done.
    pub bytes: u64,
    /// The time that the stage was busy with them.
    pub busy: Duration,
}

impl Work {
    /// What was done since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(before.bytes), busy: self.busy.saturating_sub(before.busy) }
    }
}

/// What an instance did between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Bytes that the spool synced, and the time that took.
    pub spool: Work,
    /// How long the workers were busy with requests that they did not refuse, on an average.
    pub workers: Duration,
    /// Bytes of the bodies that were taken.
    pub bodies: u64,
    /// Bytes of the lines that those bodies became, synced or not.
    pub lines: u64,
}

/// Bytes a second that an instance can take: never below a configured floor, so that it is usable from the first
/// second.
#[derive(Debug)]
pub struct Capacity {
    floor: f64,
    spool: Smoothed,
    workers: Smoothed,
    /// Stored bytes for each byte of a body.
    growth: Smoothed,
}

/// How much a new measurement of a full second counts: the rest is what was known before.
const WEIGHT: f64 = 0.3;
/// How long the time between two looks counts in what a body becomes, whatever was done in it.
const BEAT: Duration = Duration::from_millis(100);
/// What a stored line has beside the event, for as long as nothing has been stored: the usual fields of the server make
/// a third more.
const GROWTH: f64 = 4.0 / 3.0;
/// Stored bytes for a byte of a body lie within these bounds, whatever was measured over a short time.
const GROWTH_BOUNDS: (f64, f64) = (0.5, 64.0);

impl Capacity {
    /// A capacity of `floor` bytes a second until more is known.
    pub fn new(floor: u64) -> Self {
        let floor = floor.max(1) as f64;
        // The workers are believed to be no limit until they are one.
        let (spool, workers) = (Smoothed::new(floor), Smoothed::new(f64::INFINITY));
        Self { floor, spool, workers, growth: Smoothed::new(GROWTH) }
    }

    /// Bytes of stored lines a second.
    pub fn bytes_per_second(&self) -> f64 {
        self.spool.get().min(self.workers.get()).max(self.floor)
    }

    /// Bytes of bodies a second.
    pub fn bodies_per_second(&self) -> f64 {
        self.bytes_per_second() / self.growth.get()
    }

    /// Learns from what was done between two looks. Idle time says nothing about capacity: the less a stage was busy,
    /// the less the measurement counts.
    pub fn learn(&self, done: Done) {
        let Done { spool, workers, bodies, lines } = done;
        if bodies > 0 {
            // Of the same batches: what was synced meanwhile are others, and while syncs are long, others by far.
            let growth = (lines as f64 / bodies as f64).clamp(GROWTH_BOUNDS.0, GROWTH_BOUNDS.1);
            self.growth.learn(growth, BEAT);
        }
        for (stage, bytes, busy) in [(&self.spool, spool.bytes, spool.busy), (&self.workers, lines, workers)] {
            if bytes > 0 && !busy.is_zero() {
                stage.learn(bytes as f64 / busy.as_secs_f64(), busy);
            }
        }
    }
}

/// A mean of measurements that count by how long they took, which many may read while one writes.
#[derive(Debug)]
struct Smoothed(AtomicU64);

impl Smoothed {
    fn new(value: f64) -> Self {
        Self(AtomicU64::new(value.to_bits()))
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn learn(&self, measured: f64, during: Duration) {
        let known = self.get();
        let weight = WEIGHT * during.as_secs_f64().min(1.0);
        let mean = if known.is_finite() { known + weight * (measured - known) } else { measured };
        self.0.store(mean.to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(bytes: u64, spool_millis: u64, worker_millis: u64) -> Done {
        let millis = Duration::from_millis;
        Done {
            spool: Work { bytes, busy: millis(spool_millis) },
            workers: millis(worker_millis),
            bodies: bytes / 2,
            lines: bytes,
        }
    }

    #[test]
    fn capacity_follows_what_is_measured_and_keeps_its_floor() {
        let capacity = Capacity::new(1_000);
        let is = |expected: f64| (capacity.bytes_per_second() - expected).abs() < expected / 1_000.0;
        assert!(is(1_000.0));
        (0..300).for_each(|_| capacity.learn(done(5_000, 1_000, 100)));
        assert!(is(5_000.0), "{capacity:?}");
        assert!((capacity.bodies_per_second() - 2_500.0).abs() < 10.0, "{capacity:?}");
        capacity.learn(done(9_000_000, 0, 0));
        assert!(is(5_000.0), "without busy time nothing is learned");
        (0..100).for_each(|_| capacity.learn(done(1, 1_000, 1)));
        assert!(is(1_000.0));
    }

    #[test]
    fn what_a_body_becomes_does_not_depend_on_when_it_is_synced() {
        let capacity = Capacity::new(1_000);
        let second = Duration::from_secs(1);
        // Bodies are taken all the time, and synced ten beats later in one go.
        for beat in 0..1_000 {
            let bytes = if beat % 10 == 9 { 10_000 } else { 0 };
            let spool = Work { bytes, busy: if bytes > 0 { second } else { Duration::ZERO } };
            capacity.learn(Done { spool, workers: second / 100, bodies: 500, lines: 1_000 });
        }
        assert!((capacity.bodies_per_second() - 5_000.0).abs() < 50.0, "{capacity:?}");
    }

    #[test]
    fn the_slower_stage_limits() {
        let capacity = Capacity::new(10);
        (0..50).for_each(|_| capacity.learn(done(5_000, 100, 1_000)));
        assert!((capacity.bytes_per_second() - 5_000.0).abs() < 50.0, "{capacity:?}");
        (0..50).for_each(|_| capacity.learn(done(5_000, 1_000, 100)));
        assert!((capacity.bytes_per_second() - 5_000.0).abs() < 50.0, "{capacity:?}");
    }
}
