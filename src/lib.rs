//! logweir
pub mod batch;
pub mod schema;
pub mod validate;
