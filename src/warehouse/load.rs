//! The loader: new objects go into the warehouse exactly once.

mod connect;
mod data_api;
mod redshift;
mod session;

pub use connect::{Address, Roots, RootsError};
pub use data_api::{DataApi, DataApiPacing, DataApiSettings, DataApiSetupError};
pub use redshift::{COPY_JOBS, CopySettings, RedshiftWire, copy_jobs_into, copy_statement};
pub use session::{Copy, CopyColumn, CopyObject, Failure, Guard, Row, Script, Session, Step};
