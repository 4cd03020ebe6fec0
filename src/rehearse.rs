//! Rehearsals: a fleet of devices before the advert airs, so that nobody learns on air what the instances can take.
//!
//! A [`Profile`](profile::Profile) says how many new batches come at which time, whatever the answers are; a
//! [`Mix`](device::Mix) says what devices do with an answer. What happened is a [`Report`](report::Report), whoever
//! made it.

pub mod device;
pub mod history;
pub mod profile;
pub mod report;
