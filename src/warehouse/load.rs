//! The loader: new objects go into the warehouse exactly once.

mod bisect;
mod connect;
mod copy_text;
mod data_api;
mod find;
mod manifest;
mod plan;
mod postgres;
mod redshift;
mod report;
mod round;
mod script;
mod session;
mod sqlstate;
mod tables;

pub use connect::{Address, Roots, RootsError};
pub use data_api::{DataApi, DataApiPacing, DataApiSettings, DataApiSetupError};
pub use find::{Found, Stranger, WAITING_MILLIS};
pub use plan::Limits;
pub use postgres::PostgresSession;
pub use redshift::{COPY_JOBS, CopySettings, RedshiftWire, copy_jobs_into, copy_statement};
pub use report::{FORMAT, MAX_NAMED, Named, Report, Rows, SetAside, StreamReport};
pub use round::{ATTEMPTS, Event, LoadError, Loader, MAX_SET_ASIDE, Settings, Stop, Watcher};
pub use session::{Copy, CopyColumn, CopyObject, Failure, Guard, Row, Script, Session, Step};
