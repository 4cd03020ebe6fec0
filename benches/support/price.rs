//! What a request costs the server's CPU: accepted, muted, or refused at the gate; and what it costs a bare handler.

use std::time::Duration;

use crate::{rig::Rig, servers::Kind};

/// A request's CPU, in µs.
#[derive(Clone, Copy)]
pub(crate) struct Price {
    /// Of an axum handler that reads the body and answers.
    pub(crate) bare: f64,
    pub(crate) accepted: f64,
    pub(crate) muted: f64,
    /// Refused since the spool is far behind.
    pub(crate) gate: f64,
}

impl Price {
    /// Of requests with so many events.
    pub(crate) fn measure(rig: &Rig, events: usize) -> Self {
        let bare = rig.measure(Kind::Bare, &[], "heard", events);
        let accepted = rig.measure(Kind::Logweir, &[], "heard", events);
        let muted = rig.measure(Kind::Logweir, &muting(), "muted", events);
        // So slow that hardly anything is accepted.
        let gate = rig.measure(Kind::Logweir, &slowed(256.0 * 1024.0), "heard", events);
        assert_eq!(muted.requests, 0, "everything is muted");
        let [bare, accepted] = [bare, accepted].map(|measured| micros(measured.cpu, measured.requests));
        let taken = Duration::from_secs_f64(gate.requests as f64 * accepted / 1e6);
        let (muted, gate) = (micros(muted.cpu, muted.refused), micros(gate.cpu.saturating_sub(taken), gate.refused));
        Self { bare, accepted, muted, gate }
    }
}

/// Settings of a server that mutes the stream "muted".
pub(crate) fn muting() -> Vec<(&'static str, String)> {
    vec![("LOGWEIR__MUTE__0__STREAM", "muted".to_owned())]
}

/// Settings of a server whose spool takes so many bytes a second.
pub(crate) fn slowed(rate: f64) -> Vec<(&'static str, String)> {
    let rate = format!("{rate:.0}B");
    vec![("LOGWEIR__SPOOL__MAX_RATE", rate.clone()), ("LOGWEIR__PACING__CAPACITY_FLOOR", rate)]
}

/// The CPU of one of so many requests.
pub(crate) fn micros(cpu: Duration, requests: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / requests.max(1) as f64
}
