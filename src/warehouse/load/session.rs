//! What the loader asks of a warehouse: to run a script as one transaction, and to answer a question.
//!
//! A script is written before it runs and never looks back: Redshift's Data API takes a transaction as one list of
//! statements and gives nothing in between. What must be found out within the transaction is therefore a
//! [guard](Step::Guard): a statement that fails if it is not so, and takes the transaction with it.

use std::fmt;

use crate::{
    schema::FieldType,
    sink::{BoxFuture, Codec},
    warehouse::Dialect,
};

/// A connection to a warehouse, or what stands for one.
///
/// It connects when it is first asked, and again after it was lost. No method waits for ever: each ends with
/// [`Failure::Unreachable`] or [`Failure::Ambiguous`] after the time-out that it was made with.
pub trait Session: Send {
    /// Runs `script` as one transaction: all of it, or nothing.
    ///
    /// # Errors
    /// [`Failure`]. With any but [`Failure::Ambiguous`], nothing of the script has happened.
    fn run<'a>(&'a mut self, script: &'a Script) -> BoxFuture<'a, Result<(), Failure>>;

    /// The rows that a SELECT gives, as text; a null is `None`.
    ///
    /// # Errors
    /// [`Failure`], never [`Failure::Ambiguous`].
    fn rows<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Failure>>;

    /// What SQL it speaks.
    fn dialect(&self) -> Dialect;
}

/// A row, as text.
pub type Row = Vec<Option<String>>;

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// What happens, in this order.
    pub steps: Vec<Step>,
}

/// A step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A statement whose rows nobody wants. `what` says in a few words what it does, for messages and for tests that stop
    /// there.
    Sql {
        /// What it does.
        what: &'static str,
        /// The statement, without a semicolon.
        sql: String,
    },
    /// A statement that divides by zero unless something holds.
    Guard {
        /// What must hold.
        what: Guard,
        /// The statement.
        sql: String,
    },
    /// The objects' lines go into the staging table.
    Copy(Copy),
}

/// What must hold within a transaction, or it does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// None of the objects has been loaded by somebody else.
    NotLoaded,
    /// As many lines were staged as the books count.
    Counted,
    /// Each line was received in the hours that the objects stand in.
    Received,
}

/// Objects whose lines go into a staging table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The staging table, quoted and with its schema.
    pub table: String,
    /// The columns, in order.
    pub columns: Vec<CopyColumn>,
    /// The objects, all of one stream.
    pub objects: Vec<CopyObject>,
    /// How all of them are compressed.
    pub codec: Codec,
    /// The URL of the manifest that names the objects, where a warehouse reads them by itself; empty where it does not.
    pub manifest: String,
}

/// A column that a line's member goes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyColumn {
    /// The name of both.
    pub name: Box<str>,
    /// What the values are.
    pub kind: FieldType,
    /// Whether every line has it, and it is not null.
    pub required: bool,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyObject {
    /// Its key.
    pub key: String,
    /// Its compressed length, in bytes.
    pub bytes: u64,
    /// How many lines the books count in it.
    pub events: u64,
    /// CRC-32 of its uncompressed lines, by the books.
    pub crc32: u32,
}

/// Why a script or a question came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An object cannot be loaded: it is not what it should be, or it is gone. If it is known, which.
    #[error("{}{why}", object.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
    Object {
        /// Its key, if the warehouse tells.
        object: Option<String>,
        /// What is wrong, without a value of an event.
        why: String,
    },
    /// A guard did not hold.
    #[error("{0}")]
    Guard(Guard),
    /// The warehouse does not do it: no permission, no such table, a statement that it does not take.
    #[error("{step}: {why}")]
    Refused {
        /// What was to be done.
        step: String,
        /// What it said, with its code.
        why: String,
    },
    /// It cannot be reached, it was lost on the way, or it gave up for now: a deadlock, a restart, too many requests.
    #[error("{0}")]
    Unreachable(String),
    /// It was lost while it committed: perhaps it has.
    #[error("{0}")]
    Ambiguous(String),
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLoaded => "another loader has loaded one of the objects meanwhile",
            Self::Counted => "not as many lines were staged as the books count",
            Self::Received => "a line was received in another hour than its object stands in",
        })
    }
}
