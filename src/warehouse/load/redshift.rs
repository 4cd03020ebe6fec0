//! Redshift over a connection, by PostgreSQL's protocol.
//!
//! # The protocol
//!
//! Every statement goes by the simple query protocol. Redshift speaks version 3 of PostgreSQL's protocol, but a catalogue
//! of PostgreSQL 8: the extended protocol, as the client's library uses it, looks up types there that are not. Simple
//! queries need none, and they answer in text, which is all that is asked for.
//!
//! A script is `BEGIN`, a query for each step, `COMMIT`. So it is known which step failed, and only what breaks between
//! `COMMIT` and its answer is [ambiguous](Failure::Ambiguous): before, the server has rolled back.
//!
//! # Isolation
//!
//! Redshift takes a transaction's snapshot "on the first occurrence of most SELECT statements, DML commands such as COPY,
//! DELETE, INSERT, UPDATE, and TRUNCATE", and of some DDL
//! (<https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation.html>); LOCK is none of them. It waits for the lock
//! (<https://docs.aws.amazon.com/redshift/latest/dg/r_LOCK.html>), and what stands behind it is the first to read. So a
//! script whose first statement is LOCK sees, in SNAPSHOT isolation too, what the one who held the lock before has
//! committed. The pages do not say so in one sentence, and no Redshift has been asked. If it were not so, SERIALIZABLE
//! isolation would abort one of two loaders, and that of SNAPSHOT would not.
//!
//! # Passwords
//!
//! The library knows passwords in the clear, MD5 and SCRAM. A user whose password was set as `sha256|…`, which Redshift
//! asks for by a message of its own (<https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_USER.html>), cannot connect.

mod copy;
pub(super) mod told;

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

pub(in crate::warehouse) use self::copy::compression;
pub use self::copy::{COPY_JOBS, CopySettings, copy_jobs_into, copy_statement};
use self::told::Sort;
use super::{
    Address, Copy, Failure, Row, Script, Session, Step,
    connect::{Connection, describe},
};
use crate::{sink::BoxFuture, warehouse::Dialect};

/// How much longer than the database's own limit an answer is waited for, before the connection is taken for lost.
const GRACE: Duration = Duration::from_secs(30);

/// A session with a Redshift, over a connection.
pub struct RedshiftWire {
    address: Address,
    settings: CopySettings,
    connection: Option<Connection>,
}

/// Why a query came to nothing.
enum Fault {
    /// The database says so, with a code.
    Told(String, String),
    /// The connection was lost.
    Lost(String),
    /// There is no answer in time.
    Late(String),
}

impl RedshiftWire {
    /// A session with the Redshift at `address`. It connects when it is first asked.
    pub fn new(address: Address, settings: CopySettings) -> Self {
        Self { address, settings, connection: None }
    }

    async fn connection(&mut self) -> Result<Connection, Failure> {
        match self.connection.take() {
            Some(open) if !open.client.is_closed() => Ok(open),
            _ => Connection::open(&self.address).await,
        }
    }

    async fn query(&self, connection: &Connection, sql: &str) -> Result<Vec<Row>, Fault> {
        let asked = connection.client.simple_query(sql);
        let answer = timeout(self.address.statement_timeout.saturating_add(GRACE), asked).await;
        let answer = answer.map_err(|_| Fault::Late(format!("{:?} did not answer in time", self.address)))?;
        let messages = answer.map_err(|error| match error.as_db_error() {
            Some(told) => {
                let code = told.code().code();
                // `describe` says what may be said; the code is told apart.
                let text = describe(&error);
                let text = text.strip_prefix(code).and_then(|text| text.strip_prefix(": ")).unwrap_or(&text);
                Fault::Told(code.to_owned(), text.to_owned())
            }
            None => Fault::Lost(format!("{:?}: {}", self.address, describe(&error))),
        })?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|place| row.get(place).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// Begins a transaction, on a new connection if the old one turns out to be lost: nothing has happened yet.
    async fn begin(&mut self) -> Result<Connection, Failure> {
        let was_open = self.connection.is_some();
        let connection = self.connection().await?;
        match self.query(&connection, "BEGIN").await {
            Ok(_) => return Ok(connection),
            Err(fault) if !was_open => return Err(fault.failure(None)),
            Err(_) => {}
        }
        let connection = Connection::open(&self.address).await?;
        self.query(&connection, "BEGIN").await.map_err(|fault| fault.failure(None))?;
        Ok(connection)
    }

    /// Takes the steps of `script`. After a failure the transaction is open, and dead.
    async fn take(&self, connection: &Connection, script: &Script) -> Result<(), Failure> {
        for step in &script.steps {
            let sql = statement(step, &self.settings);
            let Err(fault) = self.query(connection, &sql).await else { continue };
            return Err(match (step, &fault) {
                (Step::Copy(copy), Fault::Told(code, text)) if told::sort(Some(step), code, text) == Sort::Lines => {
                    self.line(connection, copy).await
                }
                _ => fault.failure(Some(step)),
            });
        }
        Ok(())
    }

    /// Which line COPY could not load. The connection serves no second COPY, so that the session's only one is meant.
    async fn line(&self, connection: &Connection, copy: &Copy) -> Failure {
        let asked = async {
            self.query(connection, "ROLLBACK").await?;
            // A function of the leader alone, which cannot stand in a query of a view.
            let session = self.query(connection, "SELECT pg_backend_pid()").await?;
            let session = session.first().and_then(|row| row.first()?.as_deref()?.parse().ok()).unwrap_or_default();
            self.query(connection, &told::ask_for_line("session_id", session)).await
        };
        // Without the answer it is still known that it is an object.
        told::line(copy, &asked.await.unwrap_or_default())
    }

    async fn transaction(&mut self, script: &Script) -> Result<(), Failure> {
        let connection = self.begin().await?;
        self.take(&connection, script).await?;
        match self.query(&connection, "COMMIT").await {
            Ok(_) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(Fault::Lost(why) | Fault::Late(why)) => Err(Failure::Ambiguous(format!("{why}, while it committed"))),
            // Whoever ends a connection says so behind a commit, too.
            Err(Fault::Told(code, text)) if is_end(&code) => {
                Err(Failure::Ambiguous(format!("{code}: {text}, while it committed")))
            }
            Err(fault) => Err(fault.failure(None)),
        }
    }

    async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        let was_open = self.connection.is_some();
        let connection = self.connection().await?;
        let fault = match self.query(&connection, sql).await {
            Ok(rows) => {
                self.connection = Some(connection);
                return Ok(rows);
            }
            Err(fault) => fault,
        };
        // A connection that was lost while nothing was asked says so now.
        let is_lost = match &fault {
            Fault::Told(code, _) => is_end(code),
            Fault::Lost(_) => true,
            Fault::Late(_) => false,
        };
        if !(was_open && is_lost) {
            return Err(fault.failure(None));
        }
        let connection = Connection::open(&self.address).await?;
        let rows = self.query(&connection, sql).await.map_err(|fault| fault.failure(None))?;
        self.connection = Some(connection);
        Ok(rows)
    }
}

impl Session for RedshiftWire {
    // Whatever fails closes the connection, and the server rolls back: nothing of a dead transaction, and no setting of a
    // lost session, is left over.
    fn run<'a>(&'a mut self, script: &'a Script) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.transaction(script))
    }

    fn rows<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(self.ask(sql))
    }

    fn dialect(&self) -> Dialect {
        Dialect::Redshift
    }
}

impl Fault {
    fn failure(self, step: Option<&Step>) -> Failure {
        match self {
            Self::Lost(why) | Self::Late(why) => Failure::Unreachable(why),
            Self::Told(code, text) => match told::sort(step, &code, &text) {
                Sort::Known(failure) => failure,
                Sort::Lines => Failure::Object { object: None, why: "COPY cannot load a line".to_owned() },
            },
        }
    }
}

/// Whether a code tells that the connection ends (57P, 08), or that nobody knows what a statement has done (40003).
fn is_end(code: &str) -> bool {
    code.starts_with("57P") || code.starts_with("08") || code == "40003"
}

/// The statement of a step.
pub(super) fn statement(step: &Step, settings: &CopySettings) -> String {
    match step {
        Step::Sql { sql, .. } | Step::Guard { sql, .. } => sql.clone(),
        Step::Copy(copy) => copy_statement(copy, settings),
    }
}
