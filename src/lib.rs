//! logweir
pub mod batch;

pub mod admission;
pub mod metrics;
pub mod queue;
pub mod schema;
pub mod sink;
pub mod spool;
pub mod validate;
