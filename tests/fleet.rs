//! Several instances behind a load balancer: `HAProxy`, with the configuration that operators are given
//! (`deploy/haproxy/haproxy.cfg`), in the place of an ELB.
//!
//! Each instance is a process with a spool of its own; they store into one directory, as a fleet stores into one bucket.
//! Without `HAProxy` the tests say so and are left out; on a build service (`CI=true`) it must be there.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "fleet/account.rs"]
mod account;
#[path = "fleet/changes.rs"]
mod changes;
#[path = "binary/client.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod client;
#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "fleet/crowd.rs"]
mod crowd;
#[path = "fleet/device.rs"]
mod device;
#[path = "binary/figures.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod figures;
#[path = "fleet/flood.rs"]
mod flood;
#[path = "fleet/haproxy.rs"]
mod haproxy;
#[path = "fleet/instances.rs"]
mod instances;
#[path = "binary/objects.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod objects;
#[path = "binary/process.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod process;
