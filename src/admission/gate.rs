//! The gate: one decision, before a body is read.

use std::{sync::Arc, time::Duration};

use super::{ByteBudget, Capacity, Cause, Exhausted, Pacing, Reservation, RetryAfter};

/// What the durable path looks like in this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    /// Disk that the spool uses, in bytes.
    pub spool_bytes: u64,
    /// Whether a write found the disk full.
    pub disk_full: bool,
    /// Whether the worker's queue has no place.
    pub queue_full: bool,
}

/// A request was refused: 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub cause: Cause,
    /// When to come back.
    pub retry_after: RetryAfter,
}

/// Decides whether a request may try.
#[derive(Debug)]
pub struct Gate {
    budget: Arc<ByteBudget>,
    capacity: Capacity,
    pacing: Pacing,
    disk_quota: u64,
}

impl Gate {
    /// A gate in front of `budget_bytes` of memory and `disk_quota` bytes of disk, which believes in `capacity_floor`
    /// bytes a second until it knows better and sends nobody away for longer than `retry_after_cap`.
    pub fn new(budget_bytes: usize, disk_quota: u64, capacity_floor: u64, retry_after_cap: Duration) -> Self {
        Self {
            budget: ByteBudget::new(budget_bytes),
            capacity: Capacity::new(capacity_floor),
            pacing: Pacing { cap: retry_after_cap },
            disk_quota,
        }
    }

    /// Takes `bytes` of the budget for a request, or refuses it; `chance` lies between 0 and 1.
    ///
    /// # Errors
    /// [`Refused`] with the first cause there is.
    pub fn admit(&self, bytes: usize, signals: Signals, chance: f64) -> Result<Reservation, Refused> {
        // What is in memory is on its way to the disk. What inflates there may still exceed the quota, by no more than the
        // budget.
        let spool = signals.spool_bytes + self.budget.used() as u64;
        if signals.disk_full || spool + bytes as u64 > self.disk_quota {
            return Err(self.refuse(Cause::Disk, chance));
        }
        if signals.queue_full {
            return Err(self.refuse(Cause::Queue, chance));
        }
        self.budget.reserve(bytes).map_err(|Exhausted { .. }| self.refuse(Cause::Memory, chance))
    }

    /// The refusal for `cause`.
    pub fn refuse(&self, cause: Cause, chance: f64) -> Refused {
        let retry_after = match cause {
            // How long an outage of a sink lasts, or until an operator raises a limit, nobody knows.
            Cause::Disk | Cause::Streams => self.pacing.long(chance),
            Cause::Memory | Cause::Queue | Cause::Connections => {
                self.pacing.after(self.budget.used() as u64, self.capacity.bytes_per_second(), chance)
            }
        };
        Refused { cause, retry_after }
    }

    /// The byte budget.
    pub fn budget(&self) -> &Arc<ByteBudget> {
        &self.budget
    }

    /// What the durable path can take.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Disk that the spool may use, in bytes.
    pub fn disk_quota(&self) -> u64 {
        self.disk_quota
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(1_000, 10_000, 100, Duration::from_mins(5))
    }

    fn cause(gate: &Gate, bytes: usize, signals: Signals) -> Option<Cause> {
        gate.admit(bytes, signals, 0.0).err().map(|refused| refused.cause)
    }

    #[test]
    fn a_request_is_refused_for_the_first_cause_there_is() {
        let gate = gate();
        let calm = Signals::default();
        assert_eq!(cause(&gate, 1_000, calm), None);
        assert_eq!(cause(&gate, 1_001, calm), Some(Cause::Memory));
        assert_eq!(cause(&gate, 1_001, Signals { queue_full: true, ..calm }), Some(Cause::Queue));
        assert_eq!(cause(&gate, 1, Signals { queue_full: true, disk_full: true, ..calm }), Some(Cause::Disk));
        assert_eq!(cause(&gate, 501, Signals { spool_bytes: 9_500, ..calm }), Some(Cause::Disk));
        let _held = gate.admit(400, calm, 0.0).unwrap();
        assert_eq!(cause(&gate, 101, Signals { spool_bytes: 9_500, ..calm }), Some(Cause::Disk));
        assert_eq!(cause(&gate, 100, Signals { spool_bytes: 9_500, ..calm }), None);
    }

    #[test]
    fn a_refusal_says_when_the_backlog_has_drained() {
        let gate = gate();
        let _held = gate.admit(1_000, Signals::default(), 0.0).unwrap();
        assert_eq!(gate.refuse(Cause::Memory, 0.0).retry_after.seconds(), 11);
        assert_eq!(gate.refuse(Cause::Memory, 1.0).retry_after.seconds(), 20);
        assert_eq!(gate.refuse(Cause::Disk, 1.0).retry_after.seconds(), 300);
    }
}
