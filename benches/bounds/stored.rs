//! What an event costs with everything that comes of it.

use crate::{load::Measured, servers::Ended};

/// The server's CPU an event in µs, from the first batch until it had stored everything and ended.
pub(crate) fn micros_an_event(measured: &Measured, ended: &Ended, events: usize) -> f64 {
    assert!(ended.well, "the server stores everything and ends");
    let cpu = ended.cpu.saturating_sub(measured.cpu_before);
    cpu.as_secs_f64() * 1e6 / (measured.taken.len() * events) as f64
}
