//! What every worker serves from.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Health, Policies,
    body::{Pace, Rest},
};
use crate::{
    admission::{Board, Demand, Gate, Moment},
    batch::Clock,
    metrics::Metrics,
    schema::{Ack, Catalog},
    validate,
};

/// How large a body may be, and how slow.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Bytes as sent.
    pub encoded: usize,
    /// Bytes decoded.
    pub decoded: usize,
    /// Decoded bytes for each encoded one, beyond the first 64 KiB decoded.
    pub ratio: usize,
    /// The time that any body may take.
    pub grace: Duration,
    /// The bytes a second that a body must make beyond that.
    pub min_rate: u64,
    /// Whether a proxy stands in front, whose connections carry the requests of many clients: they are kept open at the
    /// price of reading what was refused.
    pub behind_proxy: bool,
}

impl BodyLimits {
    pub(super) fn pace(&self) -> Pace {
        Pace { grace: self.grace, min_rate: self.min_rate }
    }

    /// How much of a refused request's body is read to keep its connection.
    pub(super) fn rest(&self) -> Rest {
        if self.behind_proxy { Rest { bytes: self.encoded as u64, time: self.grace } } else { Rest::DIRECT }
    }
}

/// What the workers of an instance share. Nothing in it makes one worker wait for another.
#[derive(Debug)]
pub struct Service {
    /// The streams.
    pub catalog: Catalog,
    /// Whether a request may try.
    pub gate: Gate,
    /// The clock of received times.
    pub clock: Arc<Clock>,
    /// Liveness and readiness.
    pub health: Arc<Health>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// How large and slow a body may be.
    pub body: BodyLimits,
    /// How large what a batch carries may be.
    pub limits: validate::Limits,
    /// How long an answer waits for `ack = "stored"`.
    pub stored_timeout: Duration,
    /// Whether what is queued is kept when the process ends. If not, no answer says that it is spooled.
    pub keeps: bool,
    /// What is offered, for each byte that is taken.
    pub demand: Demand,
    /// What may be changed while it runs: who may send, among others.
    pub policies: Policies,
    /// Where workers tell each other who offers how much.
    pub shares: Arc<Board>,
    /// When it began to serve.
    pub began: Instant,
}

impl Service {
    /// What admission calls `instant`.
    pub fn moment(&self, instant: Instant) -> Moment {
        Moment::between(self.began, instant)
    }

    /// What an answer promises at the most, and waits for, if a stream asks for `ack`.
    pub(super) fn ack(&self, ack: Ack) -> Ack {
        match ack {
            Ack::Spooled if !self.keeps => Ack::Stored,
            ack => ack,
        }
    }
}
