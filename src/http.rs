//! HTTP: connections, routes, limits and answers.
//!
//! Each worker is a thread with a runtime and connections of its own ([`Worker`]); one acceptor hands connections to
//! the worker that has the fewest ([`Acceptor`]). A request to store a batch goes through `ingest`, which is called by
//! hyper directly: it admits, reads, decodes, validates, submits and waits for the receipt. Every other route is
//! axum's.
//!
//! # Limits
//!
//! - connections: their number, the bytes that one may buffer, a deadline for a request's head from its first byte, an
//!   idle time-out, a body deadline that moves with a minimum rate;
//! - bodies: encoded and decoded bytes, and their ratio;
//! - what a refused request costs: a body of at most 64 KiB that is on its way is read and thrown away, so that the
//!   connection can be kept; beyond that the connection is closed behind the answer. Behind a proxy, whose connections
//!   belong to many, up to the largest body is read. When refusing takes too much of the workers' time, accepting pauses.
//!
//! Health is answered in the lobby, by the acceptor's thread, which has little to do: however busy the workers are.
//!
//! Why a request is not answered with success stands in one table: [`Problem`].

mod acceptor;
mod admin;
mod auth;
mod body;
mod connection;
mod decode;
mod ending;
mod growth;
mod health;
mod ingest;
mod leaving;
mod listener;
mod lobby;
mod outcome;
mod pause;
mod policy;
mod problem;
mod respond;
mod routes;
mod service;
mod strain;
mod worker;

pub use acceptor::{Acceptor, AcceptorHandle, BACKLOG};
pub use admin::{Admin, AdminHandle};
pub use auth::{Digest, Key, Keyring};
pub use connection::ConnectionLimits;
pub use ending::Ending;
pub use health::Health;
pub use leaving::MAX_PARTING;
pub use lobby::MAX_LOBBY;
pub use policy::{Hints, Policies, Policy};
pub use problem::{Action, Problem};
pub use service::{BodyLimits, Service};
pub use worker::{Worker, WorkerHandle, WorkerTimes};

/// The description of the interface that `GET /openapi.json` answers.
pub const OPENAPI: &str = include_str!("http/openapi.json");
