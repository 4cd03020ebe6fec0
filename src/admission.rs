//! Whether a request may try, decided before its body is read: pure, with the clock and the chance injected.
//!
//! One [`Reservation`] of the [`ByteBudget`] travels with a batch from the first byte of its body to its receipt. What
//! does not fit is refused at once: there is no waiting in front of the budget, and nothing behind it decides again.
//! A refusal says when to come back: [`Pacing`] computes it from the backlog and the capacity.

mod budget;
mod capacity;
mod demand;
mod gate;
mod pacing;

pub use budget::{ByteBudget, Exhausted, Reservation, STEP_BYTES};
pub use capacity::{Capacity, Work};
pub use demand::{Demand, Offered};
pub use gate::{Gate, Refused, Signals};
pub use pacing::{Pacing, RetryAfter};

/// Why a request was refused with 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The byte budget is exhausted.
    Memory,
    /// The worker's queue has no place for another batch.
    Queue,
    /// The spool's disk quota is reached, or its disk is full.
    Disk,
    /// This instance knows as many streams as it may.
    Streams,
    /// There are as many connections as there may be.
    Connections,
}

impl Cause {
    /// Every cause, in the order of the declaration.
    pub const ALL: [Self; 5] = [Self::Memory, Self::Queue, Self::Disk, Self::Streams, Self::Connections];

    /// The stable name, in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Queue => "queue",
            Self::Disk => "disk",
            Self::Streams => "streams",
            Self::Connections => "connections",
        }
    }
}
