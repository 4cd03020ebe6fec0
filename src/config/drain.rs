//! `[drain]`: how an instance ends.

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report};

/// How an instance ends when it is told to.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long readiness is off while requests are still served, so that a load balancer notices first, up to 10
    /// minutes. Default 20 s: two failed health checks, if there is one every 10 s.
    pub linger: Period,
    /// How long it may take from the end of the linger to the exit: to finish requests, seal, and upload what is left,
    /// 1 s to an hour. Default 60 s. What is not uploaded by then stays in the spool.
    pub timeout: Period,
    /// How long an instance that gives way to its successor serves on (SIGUSR1, SIGUSR2), while every answer closes its
    /// connection, up to 30 s: clients that keep a connection and send meanwhile are told to make another one before it
    /// is closed. What is under way at its end gets as long again. Default 2 s: most clients send within that. The last
    /// so much of a `linger`, half of it at the most, answers in the same way.
    pub handover: Period,
}

impl Default for Drain {
    fn default() -> Self {
        Self { linger: Period::seconds(20), timeout: Period::seconds(60), handover: Period::seconds(2) }
    }
}

impl Drain {
    pub(super) fn check(&self, report: &mut Report) {
        report.within("drain.linger", &self.linger, &(Period::default()..=Period::minutes(10)));
        report.within("drain.timeout", &self.timeout, &(Period::seconds(1)..=Period::hours(1)));
        report.within("drain.handover", &self.handover, &(Period::default()..=Period::seconds(30)));
    }
}
