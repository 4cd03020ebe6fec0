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
#[path = "binary/books.rs"]
mod books;
#[path = "binary/bucket.rs"]
mod bucket;
#[path = "binary/chain.rs"]
mod chain;
#[path = "binary/checks.rs"]
mod checks;
#[path = "binary/client.rs"]
mod client;
#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "binary/crash.rs"]
mod crash;
#[path = "binary/crash_s3.rs"]
mod crash_s3;
#[path = "binary/crash_two_sinks.rs"]
mod crash_two_sinks;
#[path = "binary/crowd.rs"]
mod crowd;
#[path = "binary/defaults.rs"]
mod defaults;
#[path = "binary/descriptors.rs"]
mod descriptors;
#[path = "binary/drain.rs"]
mod drain;
#[path = "binary/drain_s3.rs"]
mod drain_s3;
#[path = "common/fault_proxy.rs"]
mod fault_proxy;
#[path = "binary/figures.rs"]
mod figures;
#[path = "binary/firehose.rs"]
mod firehose;
#[path = "common/firehose_server.rs"]
mod firehose_server;
#[path = "binary/handover.rs"]
mod handover;
#[path = "binary/handover_signals.rs"]
mod handover_signals;
#[path = "binary/isolation.rs"]
mod isolation;
#[path = "binary/large_spool.rs"]
mod large_spool;
#[path = "binary/long_outage.rs"]
mod long_outage;
#[path = "binary/memory.rs"]
mod memory;
#[path = "binary/no_disk.rs"]
mod no_disk;
#[path = "binary/notify.rs"]
mod notify;
#[path = "binary/objects.rs"]
mod objects;
#[path = "binary/plan.rs"]
mod plan;
#[path = "common/postgres.rs"]
mod postgres;
#[path = "binary/process.rs"]
mod process;
#[path = "binary/real_faults.rs"]
mod real_faults;
#[path = "binary/refused_start.rs"]
mod refused_start;
#[path = "binary/rehearse.rs"]
mod rehearse;
#[path = "binary/rehearse_virtual.rs"]
mod rehearse_virtual;
#[path = "binary/reload.rs"]
mod reload;
#[path = "binary/reload_keys.rs"]
mod reload_keys;
#[path = "binary/reload_streams.rs"]
mod reload_streams;
#[path = "binary/replay.rs"]
mod replay;
#[path = "common/s3_server.rs"]
#[expect(dead_code, reason = "the tests of the S3 sink use the rest of it")]
mod s3_server;
#[path = "binary/scrape.rs"]
mod scrape;
#[path = "binary/secrets.rs"]
mod secrets;
#[path = "common/segments.rs"]
#[expect(dead_code, reason = "the tests of the S3 sink use the rest of it")]
mod segments;
#[path = "binary/sink_down.rs"]
mod sink_down;
#[path = "binary/ten_thousand_lines.rs"]
mod ten_thousand_lines;
#[path = "binary/tracer.rs"]
mod tracer;
#[path = "binary/warehouse.rs"]
mod warehouse;
