//! The calls of the Data API, each with what an answer that is none comes to.

use std::{
    error::Error,
    io,
    time::{Duration, Instant},
};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_redshiftdata::{
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::describe_statement::DescribeStatementOutput,
};
use tokio::time::{sleep, timeout};

use super::{DataApi, DataApiPacing, text};
use crate::{
    sink::Backoff,
    warehouse::load::{Failure, Row, connect::squeezed},
};

/// How long the API waits at most for the end of a statement.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why a call came to nothing.
pub(super) enum Trouble {
    /// The API is asked too much; it has done nothing.
    Busy(String),
    /// Too many wait for the same statement.
    Waiters,
    /// It was not reached; it has done nothing.
    Unsent(String),
    /// There is no answer, or one that does not say what was done.
    Lost(String),
    /// It does not do it.
    Refused(String),
}

impl Trouble {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Busy(text) | Self::Unsent(text) | Self::Lost(text) | Self::Refused(text) => text,
            Self::Waiters => "too many wait for it",
        }
    }
}

/// How long something is tried without success.
pub(super) struct Patience {
    until: Instant,
    backoff: Backoff,
}

impl Patience {
    pub(super) fn new(pacing: &DataApiPacing) -> Self {
        Self { until: Instant::now() + pacing.patience, backoff: Backoff::new(pacing.first_wait, pacing.longest_wait) }
    }

    /// Waits before the next attempt, or gives `trouble` back if there is none: it is refused, or it takes too long.
    pub(super) async fn wait(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let wait = self.backoff.next_wait(fastrand::f64());
        if matches!(trouble, Trouble::Refused(_)) || Instant::now() + wait >= self.until {
            return Err(trouble);
        }
        tracing::debug!(error = trouble.text(), "trying again");
        sleep(wait).await;
        Ok(())
    }
}

impl DataApi {
    /// Submits `statements` as one transaction: its identifier.
    pub(super) async fn submit(&self, statements: &[String]) -> Result<String, Failure> {
        let settings = &self.settings;
        self.once("BatchExecuteStatement", |token| {
            let request = self
                .client
                .batch_execute_statement()
                .set_sqls(Some(statements.to_vec()))
                .set_workgroup_name(settings.workgroup.clone())
                .set_cluster_identifier(settings.cluster.clone())
                .database(&settings.database)
                .set_db_user(settings.db_user.clone())
                .set_secret_arn(settings.secret_arn.clone())
                .statement_name("logweir")
                .client_token(token);
            async move { request.send().await.map(|answer| answer.id().unwrap_or_default().to_owned()) }
        })
        .await
    }

    /// Submits a question: its identifier.
    pub(super) async fn submit_question(&self, sql: &str) -> Result<String, Failure> {
        let settings = &self.settings;
        self.once("ExecuteStatement", |token| {
            let request = self
                .client
                .execute_statement()
                .sql(sql)
                .set_workgroup_name(settings.workgroup.clone())
                .set_cluster_identifier(settings.cluster.clone())
                .database(&settings.database)
                .set_db_user(settings.db_user.clone())
                .set_secret_arn(settings.secret_arn.clone())
                .statement_name("logweir")
                .client_token(token);
            async move { request.send().await.map(|answer| answer.id().unwrap_or_default().to_owned()) }
        })
        .await
    }

    /// Submits until there is an answer, always with the same token.
    async fn once<E, F>(&self, what: &str, submit: impl Fn(String) -> F) -> Result<String, Failure>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        F: Future<Output = Result<String, SdkError<E>>>,
    {
        // As unlike any other as a number of 128 bits is.
        let token = format!("logweir-{:032x}", fastrand::u128(..));
        let mut patience = Patience::new(&self.settings.pacing);
        let mut perhaps_taken = false;
        loop {
            let trouble = match self.call(Duration::ZERO, submit(token.clone())).await {
                Ok(id) if !id.is_empty() => return Ok(id),
                Ok(_) => Trouble::Lost("the answer has no identifier".to_owned()),
                Err(trouble) => trouble,
            };
            perhaps_taken |= matches!(trouble, Trouble::Lost(_));
            if let Err(trouble) = patience.wait(trouble).await {
                let why = format!("{what}: {}", trouble.text());
                return Err(match trouble {
                    _ if perhaps_taken => Failure::Ambiguous(why),
                    Trouble::Refused(why) => Failure::Refused { step: what.to_owned(), why },
                    _ => Failure::Unreachable(why),
                });
            }
        }
    }

    /// What is known of `id`, at its end or after `wait`.
    pub(super) async fn describe(&self, id: &str, wait: Duration) -> Result<DescribeStatementOutput, Trouble> {
        let wait = Duration::from_secs(wait.min(LONGEST_WAIT).as_secs());
        let request = self.client.describe_statement().id(id);
        // A wait of nothing is not spelled.
        let seconds = i32::try_from(wait.as_secs()).ok().filter(|seconds| *seconds > 0);
        self.call(wait, request.set_wait_time_seconds(seconds).send()).await
    }

    /// Asks to cancel `id`: whether that was heard.
    pub(super) async fn cancel(&self, id: &str) -> bool {
        let asked = self.call(Duration::ZERO, self.client.cancel_statement().id(id).send()).await;
        if let Err(trouble) = &asked {
            tracing::debug!(id, error = trouble.text(), "not cancelled");
        }
        // What it answers does not matter: it may be over already, and describing tells.
        matches!(asked, Ok(_) | Err(Trouble::Refused(_)))
    }

    /// The rows of `id`, page by page.
    pub(super) async fn result(&self, id: &str) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        let mut next = None;
        let mut patience = Patience::new(&self.settings.pacing);
        loop {
            let request = self.client.get_statement_result().id(id).set_next_token(next.clone());
            match self.call(Duration::ZERO, request.send()).await {
                Ok(page) => {
                    rows.extend(page.records().iter().map(|record| record.iter().map(text).collect::<Row>()));
                    patience = Patience::new(&self.settings.pacing);
                    next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
                    if next.is_none() {
                        return Ok(rows);
                    }
                }
                Err(trouble) => patience.wait(trouble).await.map_err(|trouble| match trouble {
                    Trouble::Refused(why) => Failure::Refused { step: "GetStatementResult".to_owned(), why },
                    trouble => Failure::Unreachable(format!("GetStatementResult: {}", trouble.text())),
                })?,
            }
        }
    }

    async fn call<T, E>(
        &self,
        wait: Duration,
        asked: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Trouble>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let within = wait.saturating_add(self.settings.pacing.call_timeout);
        match timeout(within, asked).await {
            Ok(answer) => answer.map_err(|error| trouble(&error)),
            Err(_) => Err(Trouble::Lost(format!("no answer within {within:?}"))),
        }
    }
}

fn trouble<E>(error: &SdkError<E>) -> Trouble
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    let code = error.code().unwrap_or_default();
    let message = error.message().unwrap_or_default();
    let said = |status: u16| squeezed(&format!("{status} {code} {message}"));
    match (error, status) {
        (_, Some(_)) if code == "ActiveWaitingRequestsExceededException" => Trouble::Waiters,
        // Throttling is a 400: codes go before the status.
        (_, Some(status))
            if code.starts_with("Throttl")
                || code.starts_with("TooManyRequests")
                || code.starts_with("RequestLimitExceeded")
                || code == "ActiveStatementsExceededException"
                || code == "ActiveSessionsExceededException"
                || status == 429 =>
        {
            Trouble::Busy(said(status))
        }
        // Credentials that have run out are got anew.
        (SdkError::ServiceError(_), Some(status)) if code.starts_with("ExpiredToken") => Trouble::Busy(said(status)),
        (SdkError::ServiceError(_), Some(status @ 400..=499)) => Trouble::Refused(said(status)),
        (_, Some(status)) => Trouble::Lost(said(status)),
        (SdkError::ConstructionFailure(_), None) => Trouble::Refused(squeezed(&DisplayErrorContext(error).to_string())),
        (_, None) => {
            let told = squeezed(&DisplayErrorContext(error).to_string());
            if is_unsent(error) { Trouble::Unsent(told) } else { Trouble::Lost(told) }
        }
    }
}

/// Whether a request without an answer was surely not sent: there was no connection for it, or nobody to sign it.
fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    let mut deeper = Some(error);
    while let Some(error) = deeper {
        let refused = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
            )
        };
        let text = error.to_string();
        if error.is::<CredentialsError>()
            || error.downcast_ref::<io::Error>().is_some_and(refused)
            || text.starts_with("dns error")
            || text.starts_with("HTTP connect timeout")
        {
            return true;
        }
        deeper = error.source();
    }
    false
}
