//! Several instances behind a load balancer: `HAProxy` or nginx, with the configuration that operators are given
//! (`deploy/haproxy`, `deploy/nginx`), in the place of an ELB.
//!
//! Each instance is a process with a spool of its own; they store into one directory, as a fleet stores into one bucket.
//! Without the load balancer its tests say so and are left out; on a build service (`CI=true`) it must be there.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "fleet/account.rs"]
mod account;
#[path = "fleet/balancer.rs"]
mod balancer;
#[path = "binary/chain.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod chain;
#[path = "fleet/changes.rs"]
mod changes;
#[path = "binary/client.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod client;
#[path = "fleet/configurations.rs"]
mod configurations;
#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "fleet/crowd.rs"]
mod crowd;
#[path = "fleet/device.rs"]
mod device;
#[path = "fleet/devices.rs"]
mod devices;
#[path = "binary/figures.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod figures;
#[path = "fleet/flood.rs"]
mod flood;
#[path = "fleet/haproxy.rs"]
mod haproxy;
#[path = "fleet/instances.rs"]
mod instances;
#[path = "fleet/lasting.rs"]
mod lasting;
#[path = "fleet/nginx.rs"]
mod nginx;
#[path = "binary/objects.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod objects;
#[path = "binary/process.rs"]
#[expect(dead_code, reason = "the tests of the binary use the rest of it")]
mod process;
#[path = "fleet/release.rs"]
mod release;
#[path = "fleet/rolling.rs"]
mod rolling;
#[path = "fleet/tryout.rs"]
mod tryout;
