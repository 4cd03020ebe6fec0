//! The memory ceiling: what the process may come to need under any load, computed from the configuration (P4).

use std::collections::HashSet;

use crate::{
    config::{Config, Sink},
    queue::Submission,
    spool::MAX_GROUP_BYTES,
    validate::KEYS_BYTES,
};

/// The program itself, its threads, and what is there once whatever the configuration says, in bytes.
const BASE_BYTES: u64 = 24 << 20;
/// What an allocator needs beyond what is asked of it: measured under load, in percent.
const ALLOCATOR_PERCENT: u64 = 25;
/// A connection beside what it buffers: its task, its timers, hyper's state, in bytes.
const CONNECTION_BYTES: u64 = 8 << 10;
/// A worker's decoders: zstd's window and inflate's, in bytes.
const DECODERS_BYTES: u64 = 9 << 20;
/// A stream's counters and its place in the maps, in bytes.
const STREAM_BYTES: u64 = 16 << 10;

/// What a worker's books of shares take on its own side and on the board, in bytes.
const SHARES_BYTES: u64 = 32 << 10;

/// The calendars of refused clients: one of the instance and one of each key with a quota, and as many again while a
/// reload replaces them.
fn calendars(config: &Config) -> u64 {
    let limited = config.all_keys().filter(|key| key.quota != crate::config::Quota::default());
    let keys = limited.map(|key| &key.name).collect::<HashSet<_>>().len() as u64;
    let seconds = config.pacing.retry_after_cap.get().as_secs() + 2;
    (1 + 2 * keys) * seconds * size_of::<u64>() as u64
}

/// Bytes that the process may come to need.
pub fn memory_ceiling(config: &Config) -> u64 {
    let batches = config.queue.bytes.get();
    let connections = config.server.max_connections as u64 * (config.server.max_head.get() + CONNECTION_BYTES);
    let sinks: u64 = config.sinks.iter().map(Sink::memory_bytes).sum();
    // A worker reads, inflates and encodes one batch at a time; those bytes are reserved in the budget.
    let places = config.queue.batches as u64 * size_of::<Submission>() as u64;
    let keys = config.limits.streams as u64 * KEYS_BYTES as u64;
    let workers = config.workers() as u64 * (DECODERS_BYTES + places + keys + SHARES_BYTES);
    let streams = config.limits.streams as u64 * STREAM_BYTES;
    // A damaged segment is read group by group, one segment at a time.
    let repair = config.limits.output.get().max(MAX_GROUP_BYTES as u64);
    let spool = config.spool.in_memory();
    let asked = batches + spool + connections + sinks + workers + streams + repair + calendars(config);
    BASE_BYTES + asked + asked * ALLOCATOR_PERCENT / 100
}
