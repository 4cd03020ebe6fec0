//! Where stored data is used: what reads the objects and the books that sinks have written.
//!
//! - [`audit`] proves that the books balance (P3).

pub mod audit;
