//! What an answer of Firehose means for the lines of a call.

use std::{error::Error, fmt, time::Duration};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_firehose::{
    config::http::HttpResponse,
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    operation::put_record_batch::PutRecordBatchOutput,
};
use hyper_util::client::legacy::Error as ClientError;

use crate::sink::{Failure, Fate};

/// The longest that a service can ask to be left alone.
const LONGEST_AFTER: Duration = Duration::from_mins(15);
/// How much of what a service says is repeated, in bytes.
const MESSAGE_BYTES: usize = 200;

/// How codes begin that ask for less: services write them with `Exception` at the end, or without.
const THROTTLED: [&str; 7] = [
    "ServiceUnavailable",
    "LimitExceeded",
    "RequestLimitExceeded",
    "RequestThrottl",
    "SlowDown",
    "Throttl",
    "TooManyRequests",
];
/// How codes begin that deny access.
const DENIED: [&str; 12] = [
    "AccessDenied",
    "ExpiredToken",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidKMSResource",
    "InvalidSignature",
    "MissingAuthentication",
    "NotAuthorized",
    "OptInRequired",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClient",
];
/// How codes begin of what failed within.
const SERVER: [&str; 1] = ["Internal"];

/// What became of the records of a call.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Of each record; `None` if it was taken.
    pub(super) records: Vec<Option<Fate>>,
    /// As in [`Outcome`](crate::sink::Outcome).
    pub(super) after: Option<Duration>,
    /// As in [`Outcome`](crate::sink::Outcome).
    pub(super) error: Option<Box<dyn Error + Send + Sync>>,
}

/// What was said of a call for a delivery stream.
#[derive(Debug)]
pub(super) struct At {
    pub(super) target: String,
    pub(super) error: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delivery stream {}: {}", self.target, self.error)
    }
}

impl Error for At {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The error itself is told already.
        self.error.source()
    }
}

/// What Firehose said. Its message is cut to one line, since behind the first some list the request's headers.
#[derive(Debug, thiserror::Error)]
enum Said {
    /// Of the whole call.
    #[error("{status} {code}: {message}")]
    Refused { status: u16, code: String, message: String },
    /// Of some of its records.
    #[error("{failed} of {records} records were not taken, the first: {code}: {message}")]
    Partly { failed: usize, records: usize, code: String, message: String },
    /// Something that does not tell what became of each record.
    #[error("the answer tells of {told} records, {failed} of them failed, where {records} were sent")]
    Unclear { told: usize, failed: i32, records: usize },
}

impl Verdict {
    /// What the answer to a call with so many records means.
    pub(super) fn of<E>(records: usize, answer: Result<PutRecordBatchOutput, SdkError<E>>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match answer {
            Ok(output) => Self::of_output(records, &output),
            Err(error) => {
                let (fate, after) = (fate(&error), error.raw_response().and_then(after));
                let error: Box<dyn Error + Send + Sync> = match &error {
                    SdkError::ServiceError(answered) => Box::new(Said::refused(answered.raw(), answered.err())),
                    _ => Box::new(error),
                };
                Self { records: vec![Some(fate); records], after, error: Some(error) }
            }
        }
    }

    /// A 200: each record has an entry of its own, in the same order.
    fn of_output(records: usize, output: &PutRecordBatchOutput) -> Self {
        let told = output.request_responses();
        let unknown = || Some(Fate::Unknown(Failure::Other));
        let mut fates: Vec<_> = told
            .iter()
            .map(|entry| match (entry.error_code(), entry.record_id()) {
                (Some(code), _) => Some(Fate::Later(cause_of(code, 200))),
                (None, Some(_)) => None,
                (None, None) => unknown(),
            })
            .collect();
        let failed = fates.iter().flatten().count();
        // Failures that are counted, and told of no record, can be any's; entries of records that were not sent mean that
        // it cannot be said whose they are.
        let untold = usize::try_from(output.failed_put_count()).is_ok_and(|counted| counted > failed);
        let clear = told.len() == records && !untold;
        if told.len() > records {
            fates.clear();
        } else if untold {
            fates.iter_mut().filter(|fate| fate.is_none()).for_each(|fate| *fate = unknown());
        }
        fates.resize_with(records, unknown);
        let first = told.iter().find_map(|entry| Some((entry.error_code()?, entry.error_message())));
        let error: Option<Said> = match first {
            _ if !clear => Some(Said::Unclear { told: told.len(), failed: output.failed_put_count(), records }),
            Some((code, message)) => Some(Said::Partly {
                failed,
                records,
                code: shown(code),
                message: shown(message.unwrap_or("no reason given")),
            }),
            None if failed > 0 => Some(Said::Unclear { told: told.len(), failed: output.failed_put_count(), records }),
            None => None,
        };
        Self { records: fates, after: None, error: error.map(Into::into) }
    }
}

impl Said {
    fn refused(response: &HttpResponse, error: &impl ProvideErrorMetadata) -> Self {
        Self::Refused {
            status: response.status().as_u16(),
            code: shown(error.code().unwrap_or("no code")),
            message: shown(error.message().unwrap_or("no reason given")),
        }
    }
}

/// The first line of what a service says, and not too much of it.
fn shown(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(MESSAGE_BYTES)].to_owned()
}

/// What is to become of the records of a call that failed as a whole.
fn fate<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Fate {
    match error {
        SdkError::ServiceError(answered) => {
            let code = answered.err().code().unwrap_or_default();
            answered_fate(answered.raw().status().as_u16(), code)
        }
        // Nothing was sent.
        SdkError::ConstructionFailure(_) => Fate::Later(Failure::Other),
        SdkError::DispatchFailure(failed) => dispatch(failed.as_connector_error()),
        SdkError::TimeoutError(_) => Fate::Unknown(Failure::Timeout),
        // There is a status and no error that the SDK knows to read: a balancer's, or the connection broke within the answer.
        SdkError::ResponseError(broken) => answered_fate(broken.raw().status().as_u16(), ""),
        _ => Fate::Unknown(Failure::Other),
    }
}

/// What is to become of the records of a call that is answered with a status, and perhaps a code.
fn answered_fate(status: u16, code: &str) -> Fate {
    match (status, cause_of(code, status)) {
        // Refused: it had no effect.
        (400..=499, cause) | (_, cause @ Failure::Throttled) => Fate::Later(cause),
        (500..=599, cause) => Fate::Unknown(cause),
        _ => Fate::Unknown(Failure::Network),
    }
}

/// What there is no answer to.
fn dispatch(error: Option<&ConnectorError>) -> Fate {
    let Some(error) = error else { return Fate::Unknown(Failure::Other) };
    let mut deeper: Option<&(dyn Error + 'static)> = error.source();
    while let Some(source) = deeper {
        // The SDK looks for credentials within a request; having none, it sends nothing.
        if source.is::<CredentialsError>() {
            return Fate::Later(Failure::Denied);
        }
        // There is no connection that anything could have been sent over.
        if source.downcast_ref::<ClientError>().is_some_and(ClientError::is_connect) {
            return Fate::Later(Failure::Network);
        }
        deeper = source.source();
    }
    if error.is_timeout() {
        Fate::Unknown(Failure::Timeout)
    // An unclassified error that is worth another attempt is an answer that broke off.
    } else if error.is_io() || error.as_other().is_some() {
        Fate::Unknown(Failure::Network)
    } else {
        Fate::Unknown(Failure::Other)
    }
}

/// In which way Firehose failed. Codes go before the status: much of what is not the caller's fault is answered with 400.
fn cause_of(code: &str, status: u16) -> Failure {
    let is_of = |beginnings: &[&str]| beginnings.iter().any(|beginning| code.starts_with(beginning));
    if is_of(&THROTTLED) {
        return Failure::Throttled;
    } else if is_of(&DENIED) {
        return Failure::Denied;
    } else if is_of(&SERVER) {
        return Failure::Server;
    }
    match status {
        401 | 403 => Failure::Denied,
        408 => Failure::Timeout,
        429 => Failure::Throttled,
        500..=599 => Failure::Server,
        _ => Failure::Other,
    }
}

/// How long a service asks to be left alone: `x-amz-retry-after` in milliseconds, or `Retry-After` in seconds. One that names
/// a date instead is not understood.
fn after(response: &HttpResponse) -> Option<Duration> {
    let number = |name: &str| response.headers().get(name)?.trim().parse::<u64>().ok();
    let asked = number("x-amz-retry-after").map(Duration::from_millis);
    let asked = asked.or_else(|| number("retry-after").map(Duration::from_secs));
    asked.map(|asked| asked.min(LONGEST_AFTER))
}

#[cfg(test)]
mod tests;
