//! Rehearsals: a fleet of devices before the advert airs, so that nobody learns on air what the instances can take.
//!
//! A [`Profile`](profile::Profile) says how many new batches come at which time, whatever the answers are; a
//! [`Mix`](device::Mix) says what devices do with an answer. What happened is a [`Report`](report::Report), whoever
//! made it.
//!
//! The load is an *open loop*: neither a new batch nor a return waits for the answer to another, as no phone waits for
//! another phone. So a slow target meets the load that it would meet on air, and a latency counts from when a try was
//! due, not from when the generator found the time to send it.

pub mod body;
pub mod device;
pub mod files;
pub mod fleet;
pub mod history;
mod line;
pub mod plan;
pub mod profile;
pub mod progress;
pub mod report;
mod request;
mod sampler;
pub mod schedule;
pub mod simulate;
pub mod target;
mod wire;
