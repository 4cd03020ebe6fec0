//! Where stored data is used: what reads the objects and the books that sinks have written.
//!
//! ```text
//!  schema ──► table ──► target   what each warehouse is told of a stream: tables, views, readers
//!                  └──► load     objects ──► staging ──► the table, exactly once, with a ledger of its own
//!                        └──► rollup    figures by day and hour of the analysts' clock
//!  heartbeats ─────► completeness   up to when everything is stored
//!  books, objects ──► audit      proves that the books balance (P3), from the device to the warehouse
//! ```

pub mod audit;
mod books;
pub mod completeness;
mod dialect;
pub mod evolution;
mod heartbeats;
pub mod load;
mod member;
mod place;
pub mod rollup;
pub mod table;
pub mod target;

pub use completeness::{Completeness, completeness};
pub use dialect::{Dialect, Names};
pub use place::{Place, PlaceError};
pub use table::Table;
