//! The loader: new objects go into the warehouse exactly once.

mod connect;
mod session;

pub use connect::{Address, Roots, RootsError};
pub use session::{Copy, CopyColumn, CopyObject, Failure, Guard, Row, Script, Session, Step};
