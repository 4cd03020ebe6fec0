//! The reference SDK client: what a device does, in code.

pub mod contract;
