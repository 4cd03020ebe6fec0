//! logweir takes log batches over HTTP, makes them durable, and lands them as gzip'd NDJSON objects that Redshift COPY
//! loads.

pub mod admission;
pub mod app;
pub mod batch;
pub mod check;
pub mod cli;
pub mod config;
pub mod gzip;
pub mod http;
pub mod metrics;
pub mod queue;
pub mod schema;
pub mod signals;
pub mod sink;
pub mod spool;
pub mod telemetry;
pub mod validate;
