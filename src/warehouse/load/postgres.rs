//! PostgreSQL: objects are read here and streamed into COPY FROM STDIN.
//!
//! # Memory
//!
//! Of one object at a time: a piece as the store gives it (a few hundred KiB), what [`FEED_BYTES`] of it inflate to (gzip
//! makes at most some thousand times as much; zstd can make more, one block of 128 KiB of a few bytes, and then up to
//! [`MAX_WINDOW_BYTES`](crate::sink::MAX_WINDOW_BYTES) of window), the rows of at most [`SEND_BYTES`] and that, and a line. A slow database
//! holds up the reading: one message is on its way.
//!
//! # When it is dropped in the middle
//!
//! The connection is held by the running transaction. If that is dropped, or fails, the connection is closed, and the
//! server rolls back.

use std::{mem, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_postgres::{SimpleQueryMessage, error::DbError};

use super::{
    Address, Copy, CopyObject, Failure, Row, Script, Session, Step,
    connect::{Connection, describe},
    copy_text::{Columns, Encoder},
    sqlstate::{self, Class},
};
use crate::{
    sink::{BoxFuture, Codec},
    warehouse::{
        Dialect, Place,
        member::{Counted, Member},
        table::quoted,
    },
};

/// How much of an object is inflated at a time, in compressed bytes.
const FEED_BYTES: usize = 8 * 1024;
/// The code for a null in a column that takes none.
const NOT_NULL_VIOLATION: &str = "23502";
/// How much is sent at a time, in bytes, unless a piece of [`FEED_BYTES`] made more.
const SEND_BYTES: usize = 256 * 1024;
/// How much longer than the database the loader waits for a statement, before it takes the database for lost.
const GRACE: Duration = Duration::from_secs(30);

/// A session with a PostgreSQL.
pub struct PostgresSession {
    address: Address,
    place: Arc<Place>,
    connection: Option<Connection>,
}

impl PostgresSession {
    /// A session that loads the objects of `place`. It connects when it is first asked.
    pub fn new(address: Address, place: Arc<Place>) -> Self {
        Self { address, place, connection: None }
    }

    async fn connection(&mut self) -> Result<Connection, Failure> {
        match self.connection.take() {
            Some(open) if !open.client.is_closed() => Ok(open),
            _ => Connection::open(&self.address).await,
        }
    }

    /// Waits for what the database is asked, and a little longer than it may take.
    async fn answer<T>(
        &self,
        what: &str,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Asked> {
        match timeout(self.address.statement_timeout + GRACE, asked).await {
            Ok(answer) => answer.map_err(Asked::Error),
            Err(_) => Err(Asked::Late(format!("{:?} did not answer in time: {what}", self.address))),
        }
    }

    async fn transaction(&self, connection: &Connection, script: &Script) -> Result<(), Failure> {
        let execute = |what: &'static str, sql: String| async move {
            self.answer(what, connection.client.batch_execute(&sql)).await
        };
        // Each statement sees what was committed before it began, so what stands behind the lock sees what the one who
        // had it before has done.
        execute("begin", "BEGIN ISOLATION LEVEL READ COMMITTED".to_owned())
            .await
            .map_err(|asked| asked.failure("begin"))?;
        for step in &script.steps {
            match step {
                Step::Sql { what, sql } => {
                    execute(what, sql.clone()).await.map_err(|asked| asked.failure(what))?;
                }
                Step::Guard { what, sql } => execute("guard", sql.clone()).await.map_err(|asked| match asked {
                    Asked::Error(error) if error.code() == Some(&tokio_postgres::error::SqlState::DIVISION_BY_ZERO) => {
                        Failure::Guard(*what)
                    }
                    asked => asked.failure("guard"),
                })?,
                Step::Copy(copy) => self.copy(connection, copy).await?,
            }
        }
        execute("commit", "COMMIT".to_owned()).await.map_err(|asked| {
            let told = match &asked {
                Asked::Error(error) => error.as_db_error().map(|told| sqlstate::class(told.code().code())),
                Asked::Late(_) => None,
            };
            // An error that tells of the statement says that it did not commit; one that tells of the connection, or none
            // at all, says nothing.
            let connection_only = |code: &str| code.starts_with("57P") || code.starts_with("08");
            match &asked {
                Asked::Error(error) if told.is_some() && !error.code().is_some_and(|c| connection_only(c.code())) => {
                    asked.failure("commit")
                }
                asked => Failure::Ambiguous(format!("commit: {}", asked.text())),
            }
        })
    }

    async fn copy(&self, connection: &Connection, copy: &Copy) -> Result<(), Failure> {
        let names: Vec<_> = copy.columns.iter().map(|column| quoted(&column.name).to_string()).collect();
        // https://www.postgresql.org/docs/current/sql-copy.html
        let sql = format!("COPY {} ({}) FROM STDIN", copy.table, names.join(", "));
        let sink = self
            .answer("copy", connection.client.copy_in::<_, Bytes>(&sql))
            .await
            .map_err(|asked| asked.failure("copy"))?;
        let mut sink = pin!(sink);
        let columns = Columns::new(&copy.columns);
        // Where each object's rows begin.
        let (mut begins, mut rows) = (Vec::with_capacity(copy.objects.len()), 0);
        let refused = |asked: Asked, begins: &[(u64, &CopyObject)]| asked.failure_of_copy(begins);
        for object in &copy.objects {
            begins.push((rows, object));
            let bad = |why: String| Failure::Object { object: Some(object.key.clone()), why };
            let gone = |error| Failure::Unreachable(format!("{error}"));
            let Some(mut pieces) = self.place.open(&object.key).await.map_err(gone)? else {
                return Err(bad("it is not there any more".to_owned()));
            };
            let codec = Codec::of_key(&object.key);
            let mut member = Member::new(codec, Encoder::new(&columns));
            let mut sound = true;
            while let Some(piece) = pieces.next().await.map_err(gone)?.filter(|_| sound) {
                for feed in piece.chunks(FEED_BYTES) {
                    sound = sound && member.take(feed);
                    if member.out().len() >= SEND_BYTES {
                        let text = Bytes::from(member.out().take());
                        self.answer("copy", sink.send(text)).await.map_err(|asked| refused(asked, &begins))?;
                    }
                }
            }
            if sound {
                member.write_rest();
            }
            if let Some(line) = member.out().bad() {
                return Err(bad(line.to_string()));
            }
            let mut encoder =
                member.finish().map_err(|why| bad(format!("it is not exactly one {}: {why}", codec.unit())))?;
            let rest = Bytes::from(encoder.take());
            let Counted { events, crc32, .. } = encoder.content().map_err(|why| bad(why.to_owned()))?;
            if events != object.events {
                return Err(bad(format!("it has {events} lines, and the books count {}", object.events)));
            }
            if crc32 != object.crc32 {
                return Err(bad("its lines are others than those that the books tell of".to_owned()));
            }
            rows += events;
            self.answer("copy", sink.send(rest)).await.map_err(|asked| refused(asked, &begins))?;
        }
        self.answer("copy", sink.finish()).await.map_err(|asked| refused(asked, &begins))?;
        Ok(())
    }
}

impl Session for PostgresSession {
    fn run<'a>(&'a mut self, script: &'a Script) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let connection = self.connection().await?;
            let done = self.transaction(&connection, script).await;
            // After a guard the connection is as it was; after anything else nobody knows.
            let sound = match &done {
                Ok(()) => true,
                Err(Failure::Guard(_)) => {
                    self.answer("rollback", connection.client.batch_execute("ROLLBACK")).await.is_ok()
                }
                Err(_) => false,
            };
            self.connection = sound.then_some(connection);
            done
        })
    }

    fn rows<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            let connection = self.connection().await?;
            let answer = self.answer("query", connection.client.simple_query(sql)).await;
            let messages = answer.map_err(|asked| asked.failure("query"))?;
            self.connection = Some(connection);
            let rows = messages.into_iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
                }
                _ => None,
            });
            Ok(rows.collect())
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }
}

impl std::fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSession").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why there is no answer.
enum Asked {
    Error(tokio_postgres::Error),
    Late(String),
}

impl Asked {
    fn text(&self) -> String {
        match self {
            Self::Error(error) => describe(error),
            Self::Late(text) => text.clone(),
        }
    }

    /// What it means for the step `what`.
    fn failure(self, what: &str) -> Failure {
        let Self::Error(error) = &self else { return Failure::Unreachable(self.text()) };
        let Some(told) = error.as_db_error() else { return Failure::Unreachable(format!("{what}: {}", self.text())) };
        let code = told.code().code();
        match sqlstate::class(code) {
            // A value that COPY does not take, and a null where the table takes none, are the object's; what the message
            // says of a value is left out. With anything else the table is not as it should be: no object is at fault.
            Class::Data if what == "copy" || code == NOT_NULL_VIOLATION => {
                Failure::Object { object: None, why: format!("{what}: {}", without_values(told)) }
            }
            // Those of constraints name the constraint, and the values in the detail alone; those of data name the value.
            Class::Data if code.starts_with("23") => Failure::Refused { step: what.to_owned(), why: self.text() },
            Class::Data => Failure::Refused { step: what.to_owned(), why: without_values(told) },
            Class::Passing => Failure::Unreachable(sqlstate::with_remedy(code, format!("{what}: {}", self.text()))),
            Class::Standing => {
                Failure::Refused { step: what.to_owned(), why: sqlstate::with_remedy(code, self.text()) }
            }
        }
    }

    /// What it means for a COPY, in which the rows of the objects begin there.
    fn failure_of_copy(self, begins: &[(u64, &CopyObject)]) -> Failure {
        if let Self::Error(error) = &self
            && let Some(told) = error.as_db_error()
            && sqlstate::class(told.code().code()) == Class::Data
            && let Some((line, column)) = told.where_().and_then(line_and_column)
        {
            let object = begins.iter().rev().find(|(before, _)| *before < line);
            let within = object.map_or(line, |(before, _)| line - before);
            let column = column.map(|column| format!(", column {column}")).unwrap_or_default();
            return Failure::Object {
                object: object.map(|(_, object)| object.key.clone()),
                why: format!("line {within}{column}: {}", without_values(told)),
            };
        }
        self.failure("copy")
    }
}

/// The code of an error of a value, with the names that it tells: the message repeats the value.
fn without_values(told: &DbError) -> String {
    let mut text = format!("the table does not take a value (SQLSTATE {}", told.code().code());
    for (what, name) in [("table", told.table()), ("column", told.column()), ("constraint", told.constraint())] {
        if let Some(name) = name {
            text = mem::take(&mut text) + &format!(", {what} {name}");
        }
    }
    text + ")"
}

/// The line, from 1, and the column of `COPY heard_staging, line 3, column x: "…"`.
fn line_and_column(place: &str) -> Option<(u64, Option<&str>)> {
    let (_, behind) = place.split_once(", line ")?;
    let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
    let line = behind[..digits].parse().ok()?;
    let column =
        behind[digits..].strip_prefix(", column ").and_then(|column| column.split_once(':')).map(|(name, _)| name);
    Some((line, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_error_is_read_without_the_value() {
        assert_eq!(line_and_column("COPY heard_staging, line 3, column x: \"secret\""), Some((3, Some("x"))));
        assert_eq!(line_and_column("COPY heard_staging, line 12: \"a\tb\""), Some((12, None)));
        assert_eq!(line_and_column("SQL function"), None);
    }
}
