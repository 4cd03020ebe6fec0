//! The built binary, driven as a user drives it: by arguments, a file, the environment, signals, sockets and HTTP, and
//! judged by its answers, its exit code, its log and the objects that it leaves.
//!
//! Each test has a directory and processes of its own, listens on free ports, and waits for nothing without a limit.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "binary/access_log.rs"]
mod access_log;
#[path = "binary/activation.rs"]
mod activation;
#[path = "binary/audit.rs"]
mod audit;
#[path = "binary/checks.rs"]
mod checks;
#[path = "binary/client.rs"]
mod client;
#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "binary/crash.rs"]
mod crash;
#[path = "binary/defaults.rs"]
mod defaults;
#[path = "binary/drain.rs"]
mod drain;
#[path = "binary/memory.rs"]
mod memory;
#[path = "binary/objects.rs"]
mod objects;
#[path = "binary/plan.rs"]
mod plan;
#[path = "binary/process.rs"]
mod process;
#[path = "binary/refused_start.rs"]
mod refused_start;
#[path = "binary/secrets.rs"]
mod secrets;
#[path = "binary/sink_down.rs"]
mod sink_down;
#[path = "binary/ten_thousand_lines.rs"]
mod ten_thousand_lines;
#[path = "binary/tracer.rs"]
mod tracer;
