//! The reference client against what it was made for: the server's own table, a day in a device's life, servers that
//! misbehave, and real ones.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(dead_code, reason = "what is common to tests is used by others of them")]

#[path = "common/client.rs"]
mod client;
#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "common/fault_proxy.rs"]
mod fault_proxy;
#[path = "common/request.rs"]
mod request;
#[path = "common/samples.rs"]
mod samples;
#[path = "common/server.rs"]
mod server;
#[path = "common/stored.rs"]
mod stored;

#[path = "client/device.rs"]
mod device;
#[path = "client/real.rs"]
mod real;
#[path = "client/table.rs"]
mod table;
#[path = "client/wire.rs"]
mod wire;
#[path = "client/world.rs"]
mod world;
