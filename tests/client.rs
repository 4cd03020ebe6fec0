//! The reference client against what it was made for: the server's own table, a day in a device's life, and real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "client/device.rs"]
mod device;
#[path = "client/table.rs"]
mod table;
#[path = "client/world.rs"]
mod world;
