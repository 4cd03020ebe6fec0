//! Redshift by its Data API: over HTTPS, without a connection.
//!
//! A script is one `BatchExecuteStatement`, whose statements are one transaction, committed or rolled back together
//! (<https://docs.aws.amazon.com/redshift-data/latest/APIReference/API_BatchExecuteStatement.html>). It answers with an
//! identifier at once; what became of it is asked by `DescribeStatement`, which waits up to 30 seconds for the end.
//!
//! # Never twice
//!
//! Each run of a script has a token of its own, the `ClientToken` of every attempt to submit it. The API runs a token once
//! within 8 hours and answers a second attempt with the first one's identifier
//! (<https://docs.aws.amazon.com/redshift/latest/mgmt/data-api.html>, idempotency). So an answer that was lost is asked for
//! again, and attempts end long before the token does ([`DataApiPacing::patience`]).
//!
//! | what happens | what it comes to |
//! |---|---|
//! | 400 `ThrottlingException`, `ActiveStatementsExceededException`, `ActiveSessionsExceededException` | later, with jitter |
//! | no answer in time, a broken one, 5xx | the same again, with the same token; or describe again |
//! | any other 4xx | refused |
//! | patience ends, and no attempt can have had effect | [`Failure::Unreachable`] |
//! | patience ends, and one can | [`Failure::Ambiguous`] |
//! | `FINISHED` | done |
//! | `FAILED` | the statement that failed tells why; if all have finished, it was the commit |
//! | `ABORTED` | somebody has cancelled it: [`Failure::Unreachable`] |
//! | no statement ends for the statement time-out | `CancelStatement`, and then whatever it came to |
//!
//! # Limits
//!
//! A script has at most [`DataApi::MAX_STATEMENTS`] steps, each of at most [`DataApi::MAX_STATEMENT_BYTES`]. One that has
//! more is refused and not split, since parts of it would be transactions of their own. The API ends a query after 24
//! hours. An answer to a question has at most 500 MB.
//!
//! # Permissions
//!
//! `redshift-data:BatchExecuteStatement`, `ExecuteStatement`, `DescribeStatement`, `GetStatementResult` and
//! `CancelStatement`; `redshift-serverless:GetCredentials` for a workgroup, `redshift:GetClusterCredentialsWithIAM` or
//! `redshift:GetClusterCredentials` for a cluster, or `secretsmanager:GetSecretValue` for a secret.

mod calls;

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_redshiftdata::{
    Client,
    operation::describe_statement::DescribeStatementOutput,
    types::{Field, StatementStatusString, StatusString},
};
use tokio::time::sleep;

pub use crate::aws::SetupError as DataApiSetupError;

use self::calls::{Patience, Trouble};
use super::{
    CopySettings, Failure, Row, Script, Session, Step,
    connect::squeezed,
    redshift::{
        statement,
        told::{self, Sort},
    },
};
use crate::{
    aws,
    sink::{Backoff, BoxFuture},
    warehouse::Dialect,
};

/// Where a warehouse is, for the Data API, and how it is asked.
#[derive(Debug, Clone)]
pub struct DataApiSettings {
    /// The workgroup of a serverless warehouse.
    pub workgroup: Option<String>,
    /// The identifier of a provisioned cluster.
    pub cluster: Option<String>,
    /// The database.
    pub database: String,
    /// The user of a cluster, if it is not that of the IAM identity.
    pub db_user: Option<String>,
    /// The ARN of the secret with the user and the password; none for the credentials of the environment.
    pub secret_arn: Option<String>,
    /// The API's region, if it is not the environment's.
    pub region: Option<String>,
    /// The URL of what answers instead of AWS.
    pub endpoint: Option<String>,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How long one statement may take.
    pub statement_timeout: Duration,
    /// What COPY is told.
    pub copying: CopySettings,
    /// How often and how long the API is asked.
    pub pacing: DataApiPacing,
}

/// How often and how long the API is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataApiPacing {
    /// The first bound of a wait before the next attempt; it doubles, and the wait lies anywhere below it.
    pub first_wait: Duration,
    /// The last bound.
    pub longest_wait: Duration,
    /// How long the API is asked to wait for the end of a statement, in whole seconds up to 30.
    pub describe_wait: Duration,
    /// How long the answer to one call may take, beyond what the API is asked to wait.
    pub call_timeout: Duration,
    /// How long one thing is tried without success. The token of a script is good for 8 hours, and this must be less.
    pub patience: Duration,
}

impl Default for DataApiPacing {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(5),
            describe_wait: Duration::from_secs(20),
            call_timeout: Duration::from_secs(30),
            patience: Duration::from_mins(10),
        }
    }
}

/// A session with a Redshift, by the Data API.
pub struct DataApi {
    client: Client,
    settings: DataApiSettings,
}

/// A statement, or a batch of them, that was submitted.
enum End {
    /// It has come to its end, whatever that is.
    Told(Box<DescribeStatementOutput>),
    /// It was cancelled since a statement took too long, and came to its end.
    TooLong(Box<DescribeStatementOutput>),
    /// Nobody knows.
    Unknown(String),
}

impl DataApi {
    /// The most statements that a batch has: the members of `Sqls`, by the reference of `BatchExecuteStatement`.
    pub const MAX_STATEMENTS: usize = 40;
    /// The longest statement, in bytes: "100 KB", taken for the smaller of what that may mean.
    /// <https://docs.aws.amazon.com/redshift/latest/mgmt/data-api.html>
    pub const MAX_STATEMENT_BYTES: usize = 100_000;

    /// A session with the warehouse of `settings`, with the credentials that AWS SDKs find: environment, profile, web
    /// identity, ECS, instance metadata. Asks nobody yet, but for the region perhaps the instance metadata. To be called
    /// on a Tokio runtime.
    ///
    /// # Errors
    /// [`DataApiSetupError`] if there is no region, or the endpoint cannot be one.
    pub async fn new(settings: DataApiSettings) -> Result<Self, DataApiSetupError> {
        let config = aws::environment(settings.region.as_deref()).await;
        Self::with_config(&config, settings)
    }

    /// A session with the warehouse of `settings`, with the credentials of `config`, and with its region and HTTP client
    /// where `settings` has none.
    ///
    /// # Errors
    /// [`DataApiSetupError`] if there is no region, or the endpoint cannot be one.
    pub fn with_config(config: &SdkConfig, settings: DataApiSettings) -> Result<Self, DataApiSetupError> {
        let (region, endpoint) = (settings.region.as_deref(), settings.endpoint.as_deref());
        let config = aws::one_attempt(config, region, endpoint, settings.connect_timeout)?;
        let mut builder = aws_sdk_redshiftdata::config::Builder::from(&config);
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Ok(Self { client: Client::from_conf(builder.build()), settings })
    }

    /// The statements of `script`, if a batch takes them.
    fn statements(&self, script: &Script) -> Result<Vec<String>, Failure> {
        let refused = |step: &str, why| Err(Failure::Refused { step: step.to_owned(), why });
        if script.steps.len() > Self::MAX_STATEMENTS {
            let (has, most) = (script.steps.len(), Self::MAX_STATEMENTS);
            return refused(
                "the transaction",
                format!("it has {has} statements, and the Data API takes {most}; use warehouse.api = \"wire\""),
            );
        }
        let statements: Vec<_> = script.steps.iter().map(|step| statement(step, &self.settings.copying)).collect();
        for (step, sql) in script.steps.iter().zip(&statements) {
            if sql.len() > Self::MAX_STATEMENT_BYTES {
                let (has, most) = (sql.len(), Self::MAX_STATEMENT_BYTES);
                return refused(
                    told::what(Some(step)),
                    format!(
                        "the statement has {has} bytes, and the Data API takes {most}; lower warehouse.max_objects, or \
                         use warehouse.api = \"wire\""
                    ),
                );
            }
        }
        Ok(statements)
    }

    async fn transaction(&self, script: &Script) -> Result<(), Failure> {
        let statements = self.statements(script)?;
        if statements.is_empty() {
            return Ok(());
        }
        let id = self.submit(&statements).await?;
        match self.end(&id).await {
            End::Told(told) => self.outcome(script, &told).await,
            End::TooLong(told) => match self.outcome(script, &told).await {
                Err(Failure::Unreachable(_)) => Err(self.too_long()),
                outcome => outcome,
            },
            End::Unknown(why) => Err(Failure::Ambiguous(why)),
        }
    }

    async fn ask(&self, sql: &str) -> Result<Vec<Row>, Failure> {
        // A question that was asked twice has done nothing.
        let known = |failure| match failure {
            Failure::Ambiguous(why) => Failure::Unreachable(why),
            failure => failure,
        };
        let id = self.submit_question(sql).await.map_err(known)?;
        let told = match self.end(&id).await {
            End::Told(told) => told,
            End::TooLong(_) => return Err(self.too_long()),
            End::Unknown(why) => return Err(Failure::Unreachable(why)),
        };
        match told.status() {
            Some(StatusString::Finished) if told.has_result_set() == Some(true) => self.result(&id).await,
            Some(StatusString::Finished) => Ok(Vec::new()),
            Some(StatusString::Failed) => {
                let text = told.error().unwrap_or("no reason was given");
                match told::sort(None, "", text) {
                    Sort::Known(Failure::Refused { why, .. }) => {
                        Err(Failure::Refused { step: "a question".to_owned(), why })
                    }
                    Sort::Known(failure) => Err(known(failure)),
                    Sort::Lines => Err(Failure::Refused { step: "a question".to_owned(), why: squeezed(text) }),
                }
            }
            status => Err(Failure::Unreachable(format!("a question ended as {}", spelled(status)))),
        }
    }

    fn too_long(&self) -> Failure {
        Failure::Unreachable(format!("a statement was cancelled after {:?}", self.settings.statement_timeout))
    }

    /// Waits for the end of `id`. Cancels it if none of its statements ends within the statement time-out.
    async fn end(&self, id: &str) -> End {
        let pacing = &self.settings.pacing;
        let mut patience = Patience::new(pacing);
        let mut pause = Backoff::new(pacing.first_wait, pacing.longest_wait);
        let (mut ended, mut since) = (0, Instant::now());
        let mut cancelled = false;
        let mut wait = pacing.describe_wait;
        loop {
            let left = self.settings.statement_timeout.saturating_sub(since.elapsed());
            // After the cancellation the end is near.
            let within = if cancelled { pacing.describe_wait } else { left.max(Duration::from_secs(1)) };
            match self.describe(id, wait.min(within)).await {
                Ok(told) => {
                    patience = Patience::new(pacing);
                    let over = matches!(
                        told.status(),
                        Some(StatusString::Finished | StatusString::Failed | StatusString::Aborted)
                    );
                    if over {
                        return if cancelled { End::TooLong(Box::new(told)) } else { End::Told(Box::new(told)) };
                    }
                    let now = told.sub_statements().iter().filter(|one| is_over(one.status())).count();
                    if now != ended {
                        (ended, since) = (now, Instant::now());
                    }
                }
                Err(Trouble::Waiters) => wait = Duration::ZERO,
                Err(trouble) => {
                    if let Err(why) = patience.wait(trouble).await {
                        return End::Unknown(format!("what became of {id} is not told: {}", why.text()));
                    }
                    continue;
                }
            }
            if since.elapsed() >= self.settings.statement_timeout {
                if cancelled && since.elapsed() >= self.settings.statement_timeout.saturating_add(pacing.patience) {
                    return End::Unknown(format!("{id} was cancelled, and does not end"));
                }
                // A cancellation that fails is asked for again, until the statement ends or patience does.
                cancelled |= self.cancel(id).await;
            }
            // An API that does not wait is not asked without pause. Half at least, so that the doubling counts.
            sleep(pause.next_wait(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    /// What a batch that is over comes to.
    async fn outcome(&self, script: &Script, told: &DescribeStatementOutput) -> Result<(), Failure> {
        match told.status() {
            Some(StatusString::Finished) => return Ok(()),
            Some(StatusString::Failed) => {}
            status => return Err(Failure::Unreachable(format!("the transaction ended as {}", spelled(status)))),
        }
        let parts = told.sub_statements();
        let place = parts.iter().position(|one| one.status() == Some(&StatementStatusString::Failed));
        let part = place.and_then(|place| parts.get(place));
        let step = place.and_then(|place| script.steps.get(place));
        let text = part.and_then(|part| part.error()).or(told.error()).unwrap_or("no reason was given");
        let sorted = told::sort(step, "", text);
        if let (Sort::Lines, Some(Step::Copy(copy)), Some(part)) = (&sorted, step, part) {
            let rows = self.ask(&told::ask_for_line("query_id", part.redshift_query_id())).await;
            // Without the answer it is still known that it is an object.
            return Err(told::line(copy, &rows.unwrap_or_default()));
        }
        let committing =
            !parts.is_empty() && parts.iter().all(|one| one.status() == Some(&StatementStatusString::Finished));
        Err(match sorted {
            // It failed behind the last statement, and not for a reason that is known to roll it back.
            _ if committing && !told::is_conflict(text) => {
                let text = squeezed(text);
                Failure::Ambiguous(format!("every statement has finished, and the transaction failed: {text}"))
            }
            Sort::Known(failure) => failure,
            Sort::Lines => Failure::Object { object: None, why: "COPY cannot load a line".to_owned() },
        })
    }
}

impl Session for DataApi {
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

fn is_over(status: Option<&StatementStatusString>) -> bool {
    matches!(
        status,
        Some(StatementStatusString::Finished | StatementStatusString::Failed | StatementStatusString::Aborted)
    )
}

fn spelled(status: Option<&StatusString>) -> &str {
    status.map_or("nothing", StatusString::as_str)
}

/// A field as a connection would give it.
fn text(field: &Field) -> Option<String> {
    match field {
        Field::StringValue(text) => Some(text.clone()),
        Field::LongValue(number) => Some(number.to_string()),
        Field::DoubleValue(number) => Some(number.to_string()),
        Field::BooleanValue(is) => Some(if *is { "t" } else { "f" }.to_owned()),
        _ => None,
    }
}
