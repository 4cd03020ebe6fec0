//! What the durable path can take, learned from what it took.

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

/// Bytes a second that the durable path can take: bytes ÷ busy time, smoothed, never below a configured floor, so that
/// it is usable from the first second.
#[derive(Debug)]
pub struct Capacity {
    floor: f64,
    /// The rate as the bits of a double.
    rate: AtomicU64,
}

/// How much a new measurement of a full second counts: the rest is what was known before.
const WEIGHT: f64 = 0.3;

impl Capacity {
    /// A capacity of `floor` bytes a second until more is known.
    pub fn new(floor: u64) -> Self {
        let floor = floor.max(1) as f64;
        Self { floor, rate: AtomicU64::new(floor.to_bits()) }
    }

    /// Bytes a second.
    pub fn bytes_per_second(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }

    /// Learns from what was done between two looks at the stage's counters. Idle time says nothing about capacity: the
    /// less a stage was busy, the less the measurement counts.
    pub fn learn(&self, before: Work, now: Work) {
        let busy = now.busy.saturating_sub(before.busy).as_secs_f64();
        let bytes = now.bytes.saturating_sub(before.bytes) as f64;
        if busy <= 0.0 || bytes <= 0.0 {
            return;
        }
        let known = self.bytes_per_second();
        let weight = WEIGHT * busy.min(1.0);
        let rate = known + weight * (bytes / busy - known);
        self.rate.store(rate.max(self.floor).to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_follows_what_is_measured_and_keeps_its_floor() {
        let capacity = Capacity::new(1_000);
        assert!((capacity.bytes_per_second() - 1_000.0).abs() < 1e-9);
        let at = |seconds: u64, bytes| Work { bytes, busy: Duration::from_secs(seconds) };
        for second in 0..50 {
            capacity.learn(at(second, second * 5_000), at(second + 1, (second + 1) * 5_000));
        }
        assert!((capacity.bytes_per_second() - 5_000.0).abs() < 1.0);
        capacity.learn(at(50, 0), at(50, 9_000_000));
        assert!((capacity.bytes_per_second() - 5_000.0).abs() < 1.0, "without busy time nothing is learned");
        for second in 0..100 {
            capacity.learn(at(second, second), at(second + 1, second + 1));
        }
        assert!((capacity.bytes_per_second() - 1_000.0).abs() < 1e-9);
    }
}
