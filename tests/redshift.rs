//! Sessions with Redshift: by the Data API, whose stub executes on a real PostgreSQL, and over the wire, where a real
//! PostgreSQL stands for the warehouse.
//!
//! COPY is modelled here, and never executed on a Redshift: the stub of the Data API reads the manifest that the statement
//! names and inserts the objects' lines; over the wire the statement is looked at as text.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "redshift/api.rs"]
mod api;
#[path = "redshift/cutter.rs"]
mod cutter;
#[path = "redshift/data_api.rs"]
mod data_api;
#[path = "redshift/moto.rs"]
mod moto;
#[path = "common/moto.rs"]
mod moto_server;
#[path = "common/postgres.rs"]
mod postgres;
#[path = "redshift/warehouse.rs"]
mod warehouse;
#[path = "redshift/wire.rs"]
mod wire;
