//! How much of a device's traffic may be retries.

/// Limits the retries for which the server has set no time aside.
///
/// Back-off bounds how often a *failed* batch is tried. It does not bound the share of retries where some attempts
/// succeed: a server that fails every second request would get every batch twice, which is twice the load in the moment
/// when it has too much already. Such load has kept outages going whose cause was long gone. So a retry costs
/// [`COST`](Self::COST) tokens of at most [`CAPACITY`](Self::CAPACITY), and a batch that is delivered gives
/// [`GAIN`](Self::GAIN) back: for a while all that fails is tried again soon, and in the long run one retry for five
/// deliveries, however the server fails. Who has no tokens waits as long as back-off ever does before his retry.
///
/// A retry at a time that the server named costs nothing: the server has kept a place for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget(u16);

impl RetryBudget {
    /// The most tokens, and what a device begins with: 100 retries.
    pub const CAPACITY: u16 = 500;
    /// What a retry costs.
    pub const COST: u16 = 5;
    /// What a delivered batch gives back.
    pub const GAIN: u16 = 1;

    /// A full budget.
    pub const fn new() -> Self {
        Self(Self::CAPACITY)
    }

    /// Pays for a retry; `false` if there is not enough to pay with, and nothing is taken then.
    pub fn pay(&mut self) -> bool {
        let Some(left) = self.0.checked_sub(Self::COST) else { return false };
        self.0 = left;
        true
    }

    /// A batch was delivered.
    pub fn gain(&mut self) {
        self.0 = (self.0 + Self::GAIN).min(Self::CAPACITY);
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hundred_retries_are_free_and_then_five_deliveries_pay_for_one() {
        let mut budget = RetryBudget::new();
        assert_eq!((0..1_000).filter(|_| budget.pay()).count(), 100);
        for _ in 0..4 {
            budget.gain();
            assert!(!budget.pay());
        }
        budget.gain();
        assert!(budget.pay() && !budget.pay());
    }

    proptest! {
        /// Whatever happens in whatever order, retries stay below a sixth of the requests and the first hundred.
        #[test]
        fn retries_are_at_most_a_share_of_the_traffic(delivered in proptest::collection::vec(any::<bool>(), 0..5_000)) {
            let mut budget = RetryBudget::new();
            let (mut deliveries, mut retries) = (0_usize, 0_usize);
            for delivered in delivered {
                if delivered {
                    budget.gain();
                    deliveries += 1;
                } else if budget.pay() {
                    retries += 1;
                }
                prop_assert!(retries <= 100 + deliveries / 5, "{retries} retries, {deliveries} deliveries");
            }
        }
    }
}
