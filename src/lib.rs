//! logweir takes log batches over HTTP, makes them durable, and lands them as gzip'd (or zstd) NDJSON objects in date-partitioned
//! prefixes that Redshift COPY loads.
//!
//! # The path of a batch
//!
//! ```text
//!  device ── load balancer ──► acceptor ──► worker (one a core: own runtime, own connections)
//!                      │ admit      the head alone: key, mute, quota, share, backlog, disk      ──► 401 403 404 413 415 429
//!                      │ read       the reservation growing with a body of unknown length       ──► 400 408 413 429
//!                      │ decode     gzip, deflate, zstd; the reservation growing with it        ──► 400 413 429
//!                      │ validate   one pass over the JSON: stored lines, a verdict an event    ──► 400 413
//!                      ▼ submit
//!                    queue (one a worker; the writer takes what all of them hold as one group)
//!                      ▼
//!                    spool writer (one thread)
//!                      │ append the group, fdatasync, settle the receipts                       ──► 200 422 503
//!                      ▼
//!                    the synced tail, and segments, sealed by size or age
//!                      ├─► Firehose           lines as they become durable   ┐ each sink at its own pace, on its own
//!                      ├─► S3, file           sealed segments                ┘ threads, by its own durable cursor
//!                      ▼
//!  s3://bucket/{prefix}{stream}/dt=2026-11-22/hour=09/{instance}-{segment}.ndjson.gz
//!                    {prefix}_ledger/…    the books of it, behind the last object of each segment
//! ```
//!
//! A 200 is a promise, and says which one: `spooled`, the batch is synced to this instance's disk; `stored`, every
//! required sink has it; `memory`, a crash may lose it. A 422 promises the same for rejected events. A batch that was
//! *not* acknowledged may still be stored, at most once for each time it was sent.
//!
//! One byte [`Reservation`](admission::Reservation) travels with a batch from the first byte of its body to its
//! receipt. What does not fit is refused before it is read, with a time to come back; nothing behind the reservation
//! waits without a bound or decides again.
//!
//! # The modules, in the order of the path
//!
//! - [`config`] says how: a section a file, checked as a whole; [`app`] is the only place where things are put together,
//!   [`serve`] is what the binary does with it, and [`commands`] what it does beside serving.
//! - [`http`] is connections, routes and answers; it knows durability only as a [`Receipt`](queue::Receipt).
//! - [`admission`] decides whether a request may try. [`schema`] says what events look like, [`validate`] turns bytes
//!   into lines and verdicts; all three are pure. [`batch`] has the words that everybody uses.
//! - [`queue`] brings batches to the [`spool`], which makes them durable, and brings the receipts back.
//! - [`sink`] brings sealed segments and durable lines to where they belong; [`gzip`] makes them small. [`ledger`] is the books of it.
//! - [`warehouse`] is where stored data is used: it tells each warehouse of the streams, loads objects exactly once, counts
//!   what analysts ask for every day, and proves by the books that nothing is missing.
//! - [`client`] is the other side: what an SDK does, and what its authors port.
//! - [`rehearse`] plays a fleet of devices against an instance, before the real one comes.
//! - [`succession`] is how a process takes an instance over from another one, [`handover`] when.
//! - [`metrics`] declares every metric, [`telemetry`] writes the log, [`notify`] tells a service manager.

pub mod admission;
pub mod app;
mod aws;
pub mod batch;
pub mod check;
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod gzip;
pub mod handover;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod notify;
pub mod queue;
pub mod rehearse;
pub mod schema;
pub mod serve;
pub mod signals;
pub mod sink;
pub mod spool;
pub mod succession;
pub mod telemetry;
pub mod validate;
pub mod warehouse;
