//! How much smaller lines become as objects: learned from what the sinks store, for the target size of objects.
//!
//! Only the moment of sealing depends on it, and nothing that is frozen: how large an object becomes is no promise.

use std::sync::{Mutex, PoisonError};

/// What is believed before anything was stored: about what gzip at level 1 makes of logs.
const FIRST: f64 = 5.0;
/// How much the first belief weighs, in compressed bytes.
const FIRST_WEIGHT: f64 = 64.0 * 1024.0;
/// How far back is remembered, in compressed bytes.
const REMEMBERED: f64 = 64.0 * 1024.0 * 1024.0;
/// Lines that hardly compress become as many bytes; and whatever one object has come to, another one is not believed to
/// come to more than this.
const LIMITS: (f64, f64) = (1.0, 50.0);

/// Lines' bytes over compressed bytes, of what was stored last.
#[derive(Debug)]
pub(super) struct Ratio(Mutex<(f64, f64)>);

impl Default for Ratio {
    fn default() -> Self {
        Self(Mutex::new((FIRST * FIRST_WEIGHT, FIRST_WEIGHT)))
    }
}

impl Ratio {
    /// `lines` bytes of lines have become `compressed` bytes.
    pub(super) fn learn(&self, lines: u64, compressed: u64) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, compressed) = (sums.0 + lines as f64, sums.1 + compressed as f64);
        let kept = (REMEMBERED / compressed).min(1.0);
        *sums = (lines * kept, compressed * kept);
    }

    /// How many compressed bytes `lines` bytes of lines are believed to become.
    pub(super) fn compressed(&self, lines: u64) -> u64 {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (lines as f64 / (sums.0 / sums.1).clamp(LIMITS.0, LIMITS.1)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_of_what_was_stored_last_is_learned_within_limits() {
        let ratio = Ratio::default();
        assert_eq!(ratio.compressed(1_000), 200);
        for _ in 0..10 {
            ratio.learn(10 << 20, 1 << 20);
        }
        assert!((100..110).contains(&ratio.compressed(1_000)), "{}", ratio.compressed(1_000));
        for _ in 0..100 {
            ratio.learn(20 << 20, 10 << 20);
        }
        assert!((490..=500).contains(&ratio.compressed(1_000)), "{}", ratio.compressed(1_000));
        for _ in 0..1_000 {
            ratio.learn(1 << 30, 1 << 20);
        }
        assert_eq!(ratio.compressed(1_000), 20, "never smaller than a fiftieth");
        for _ in 0..10_000 {
            ratio.learn(1 << 20, 1 << 21);
        }
        assert_eq!(ratio.compressed(1_000), 1_000, "never larger than the lines");
    }
}
