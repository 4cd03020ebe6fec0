//! The server over HTTP: what devices, load balancers and attackers send, what is answered, what is counted, and what
//! stands in the objects afterwards.
//!
//! Every test has a server of its own in this process and talks to it over sockets. Every wait has a limit, and no test
//! depends on how fast the machine is: what must happen is waited for, and what must not happen sooner is measured.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/client.rs"]
mod client;
#[path = "common/copy_rules.rs"]
mod copy_rules;
#[path = "common/request.rs"]
mod request;
#[path = "common/samples.rs"]
mod samples;
#[path = "common/server.rs"]
mod server;
#[path = "common/stored.rs"]
mod stored;

#[path = "http/acks.rs"]
mod acks;
#[path = "http/admission.rs"]
mod admission;
#[path = "http/bad_input.rs"]
mod bad_input;
#[path = "http/books.rs"]
mod books;
#[path = "http/connections.rs"]
mod connections;
#[path = "http/deadlines.rs"]
mod deadlines;
#[path = "http/drain.rs"]
mod drain;
#[path = "http/encodings.rs"]
mod encodings;
#[path = "http/framing.rs"]
mod framing;
#[path = "http/keys.rs"]
mod keys;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/metrics.rs"]
mod metrics;
#[path = "http/no_disk.rs"]
mod no_disk;
#[path = "http/overload.rs"]
mod overload;
#[path = "http/protocol.rs"]
mod protocol;
#[path = "http/routes.rs"]
mod routes;
#[path = "http/times.rs"]
mod times;
