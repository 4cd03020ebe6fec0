//! What is offered, for each byte that is taken: what auto-scaling follows.
//!
//! Only bytes of requests that could have been taken count: a body that no key has let in, or that is too large, is no
//! reason for a second instance, and neither is one that announces much and never comes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::STEP_BYTES;

/// How much a taken body counts in the typical one, as a part of it: a hundred or so are remembered.
const TYPICAL_PART: u64 = 64;

/// Bytes taken and bytes refused so far. Statistics only: no reader relies on one being ahead of the other.
#[derive(Debug, Default)]
pub struct Demand {
    taken: AtomicU64,
    lines: AtomicU64,
    refused: AtomicU64,
    /// What a body has lately been like, in bytes; 0 until there was one.
    typical: AtomicU64,
}

/// [`Demand`]'s counters at one look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offered {
    /// Bytes of bodies that were submitted to the queue.
    pub taken: u64,
    /// Bytes of the lines that those became.
    pub lines: u64,
    /// Bytes of bodies that were refused with 429, as far as they are known.
    pub refused: u64,
}

impl Demand {
    /// A body of `bytes` was submitted to the queue, as so many bytes of `lines`.
    pub fn take(&self, bytes: u64, lines: u64) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.lines.fetch_add(lines, Ordering::Relaxed);
        // Two that do this at once forget one of them, which a mean can bear.
        let typical = self.typical.load(Ordering::Relaxed);
        let next = if typical == 0 { bytes } else { (typical * (TYPICAL_PART - 1) + bytes).div_ceil(TYPICAL_PART) };
        if next != typical {
            self.typical.store(next, Ordering::Relaxed);
        }
    }

    /// A body of `bytes` was refused.
    pub fn refuse(&self, bytes: u64) {
        self.refused.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What a body of which nothing is known probably has, in bytes: the mean of those that were taken lately.
    pub fn typical(&self) -> u64 {
        match self.typical.load(Ordering::Relaxed) {
            0 => STEP_BYTES as u64,
            bytes => bytes,
        }
    }

    /// What was offered so far.
    pub fn offered(&self) -> Offered {
        let [taken, lines, refused] =
            [&self.taken, &self.lines, &self.refused].map(|counter| counter.load(Ordering::Relaxed));
        Offered { taken, lines, refused }
    }
}

impl Offered {
    /// Bytes offered for each byte taken since `before`: 1 if nothing was refused, and as many as were refused if nothing
    /// was taken.
    pub fn ratio(self, before: Self) -> f64 {
        let taken = self.taken.saturating_sub(before.taken) as f64;
        let refused = self.refused.saturating_sub(before.refused) as f64;
        if refused <= 0.0 { 1.0 } else { (taken + refused) / taken.max(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_makes_the_ratio() {
        let before = Offered { taken: 1_000, lines: 0, refused: 500 };
        let ratio =
            |taken: u64, refused: u64| Offered { taken: 1_000 + taken, refused: 500 + refused, ..before }.ratio(before);
        for (taken, refused, expected) in
            [(0, 0, 1.0), (100, 0, 1.0), (100, 100, 2.0), (100, 900, 10.0), (0, 700, 700.0)]
        {
            assert!(
                (ratio(taken, refused) - expected).abs() < 1e-9,
                "{taken} and {refused}: {}",
                ratio(taken, refused)
            );
        }
    }

    #[test]
    fn the_typical_body_follows_those_that_are_taken() {
        let demand = Demand::default();
        assert_eq!(demand.typical(), 64 * 1024);
        demand.take(1_000, 1_300);
        assert_eq!(demand.typical(), 1_000);
        demand.refuse(1_000_000);
        assert_eq!(demand.typical(), 1_000, "what is refused is not known to be real");
        (0..1_000).for_each(|_| demand.take(5_000, 6_500));
        assert!((4_900..=5_000).contains(&demand.typical()), "{}", demand.typical());
        assert_eq!(demand.offered(), Offered { taken: 5_001_000, lines: 6_501_300, refused: 1_000_000 });
    }
}
