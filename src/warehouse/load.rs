//! The loader: new objects go into the warehouse exactly once.

mod connect;
mod copy_text;
mod postgres;
mod session;
mod sqlstate;

pub use connect::{Address, Roots, RootsError};
pub use postgres::PostgresSession;
pub use session::{Copy, CopyColumn, CopyObject, Failure, Guard, Row, Script, Session, Step};
