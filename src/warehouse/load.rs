//! The loader: new objects go into the warehouse exactly once.

mod bisect;
mod connect;
mod copy_text;
mod find;
mod manifest;
mod plan;
mod postgres;
mod report;
mod round;
mod script;
mod session;
mod sqlstate;
mod tables;

pub use connect::{Address, Roots, RootsError};
pub use find::{Found, Stranger, WAITING_MILLIS};
pub use plan::Limits;
pub use postgres::PostgresSession;
pub use report::{FORMAT, MAX_NAMED, Named, Report, Rows, SetAside, StreamReport};
pub use round::{ATTEMPTS, Event, LoadError, Loader, MAX_SET_ASIDE, Settings, Stop, Watcher};
pub use session::{Copy, CopyColumn, CopyObject, Failure, Guard, Row, Script, Session, Step};
