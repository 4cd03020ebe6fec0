//! Whether a request may try, decided before its body is read: pure, with the clock and the chance injected.
//!
//! # The order
//!
//! 1. *draining*: an instance that takes nothing any more says so (503), and nothing else;
//! 2. *key*: who sends is known (401, 403), which is looked up where the request is;
//! 3. *mute*: whom operations people have told to be silent ([`muted`]), at the lowest price;
//! 4. *quota*: the key has not used up what it may ([`Quota`]);
//! 5. *share*: under pressure, nobody takes more than a fair share ([`FairShare`]);
//! 6. *backlog*: what was let in and is not durable yet would drain within the target; there are bytes of the budget
//!    left, and a place in the queue;
//! 7. *disk*: the spool has room.
//!
//! The last four are [`Gate::admit`]. Of the target and of the budget, streams of low [priority](crate::schema::Priority)
//! may use a half, normal ones nine tenths, and high ones all: so they are shed in this order.
//!
//! One [`Reservation`] of the [`ByteBudget`] travels with a batch from the first byte of its body to its receipt. What
//! does not fit is refused at once: there is no waiting in front of the budget, and nothing behind it decides again.
//! A refusal says when to come back: [`Pacing`] gives it a place in a virtual queue.
//!
//! # Limits
//!
//! Memory does not grow with the number of devices: a [`FairShare`] remembers a few hundred senders, [`Pacing`] one
//! number for each second of its cap, a [`Quota`] as many for each key that has one. Workers share the gate through
//! atomic numbers only; fair shares are each worker's own, and meet on a [`Board`] some times a second.

mod arrivals;
mod budget;
mod calendar;
mod capacity;
mod demand;
mod fair;
mod gate;
mod meter;
mod moment;
mod mute;
mod pacing;
mod quota;

pub use budget::{ByteBudget, Exhausted, Reservation, STEP_BYTES};
pub use capacity::{Capacity, Done, Work};
pub use demand::{Demand, Offered};
pub use fair::{Board, FairShare, Flow, Share};
pub use gate::{Asked, Gate, GateLimits, Refused, Signals};
pub use moment::Moment;
pub use mute::{Mute, SdkPattern, Sender, muted};
pub use pacing::{Pacing, RetryAfter};
pub use quota::{Allowance, Quota};

/// Why a request was refused with 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Operations people have muted the sender.
    Mute,
    /// The key has used up its quota.
    Quota,
    /// There is pressure, and the sender takes more than its share.
    Share,
    /// What was let in would not drain within the target.
    Backlog,
    /// The workers are so late that what is let in would not be done within the target.
    Cpu,
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
    pub const ALL: [Self; 10] = [
        Self::Mute,
        Self::Quota,
        Self::Share,
        Self::Backlog,
        Self::Cpu,
        Self::Memory,
        Self::Queue,
        Self::Disk,
        Self::Streams,
        Self::Connections,
    ];

    /// The stable name, in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mute => "mute",
            Self::Quota => "quota",
            Self::Share => "share",
            Self::Backlog => "backlog",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Queue => "queue",
            Self::Disk => "disk",
            Self::Streams => "streams",
            Self::Connections => "connections",
        }
    }
}
