//! A session with the server of a test.

use logweir::warehouse::{
    Dialect,
    load::{Failure, Row, Script, Session, Step},
};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// What a [`Session`] of the library does, with no more than a test needs.
pub(crate) struct Db {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Db {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Db {
    pub(crate) async fn connect(port: u16) -> Self {
        Self::connect_to(port, "postgres").await
    }

    pub(crate) async fn connect_to(port: u16, database: &str) -> Self {
        let address = format!("host=127.0.0.1 port={port} user=postgres dbname={database}");
        let (client, driver) = tokio_postgres::connect(&address, NoTls).await.unwrap();
        let driver = tokio::spawn(async move { drop(driver.await) });
        client.batch_execute("SET TIME ZONE 'UTC'").await.unwrap();
        Self { client, driver }
    }

    /// Statements of the test's own.
    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    }

    /// All that statements of the test's own are answered.
    pub(crate) async fn messages(&self, sql: &str) -> Vec<SimpleQueryMessage> {
        self.client.simple_query(sql).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}"))
    }

    /// The rows of a SELECT of the test's own, the columns separated by `|`, a null as nothing.
    pub(crate) async fn lines(&mut self, sql: &str) -> Vec<String> {
        let rows = self.rows(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        rows.into_iter()
            .map(|row| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|"))
            .collect()
    }
}

fn refused(step: &str, error: &tokio_postgres::Error) -> Failure {
    let why = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    Failure::Refused { step: step.to_owned(), why }
}

impl Session for Db {
    fn run<'a>(&'a mut self, script: &'a Script) -> logweir::sink::BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.client.batch_execute("BEGIN").await.map_err(|error| refused("begin", &error))?;
            for step in &script.steps {
                let Step::Sql { what, sql } = step else { panic!("{step:?} is no step of a rollup") };
                if let Err(error) = self.client.batch_execute(sql).await {
                    self.client.batch_execute("ROLLBACK").await.map_err(|error| refused("roll back", &error))?;
                    return Err(refused(&format!("{what}: {sql}"), &error));
                }
            }
            self.client.batch_execute("COMMIT").await.map_err(|error| refused("commit", &error))
        })
    }

    fn rows<'a>(&'a mut self, sql: &'a str) -> logweir::sink::BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            let answer = self.client.simple_query(sql).await.map_err(|error| refused(sql, &error))?;
            let row = |message| match message {
                SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|column| row.get(column).map(ToOwned::to_owned)).collect())
                }
                _ => None,
            };
            Ok(answer.into_iter().filter_map(row).collect())
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }
}
