//! What a request that failed came to.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
};

use crate::sink::{BodyError, Failure, PutError};

/// The name of the condition, as an answer that refuses it tells it.
const CONDITION: &str = "if-none-match";

/// A request failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// What it did all the same.
    pub(super) effect: Effect,
    /// What the driver is told.
    pub(super) error: PutError,
}

/// What is known of the effect of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// None: the key is taken.
    Taken,
    /// None: there is no such thing.
    Absent,
    /// None: the store does not know the condition.
    ConditionUnknown,
    /// None: the store refused it.
    None,
    /// There was no answer, or one that says nothing about it: it may have had effect, or come to have it yet.
    Unclear,
}

/// What a store answers.
struct Answer<'a> {
    status: u16,
    code: Option<&'a str>,
    names_condition: bool,
}

impl<E> From<SdkError<E>> for Failed
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let (effect, cause) = match &error {
            SdkError::ServiceError(answered) => {
                let answer = Answer::new(answered.raw(), answered.err().code());
                (answer.effect(), answer.cause())
            }
            SdkError::TimeoutError(_) => (Effect::Unclear, Failure::Timeout),
            SdkError::DispatchFailure(failed) => (Effect::Unclear, dispatch(failed.as_connector_error())),
            // The connection broke within the answer, or the answer is not S3's.
            SdkError::ResponseError(broken) => match Answer::new(broken.raw(), None).cause() {
                Failure::Other => (Effect::Unclear, Failure::Network),
                cause => (Effect::Unclear, cause),
            },
            _ => (Effect::Unclear, Failure::Other),
        };
        Self { effect, error: PutError::store(cause, error) }
    }
}

impl From<BodyError> for Failed {
    fn from(error: BodyError) -> Self {
        Self { effect: Effect::None, error: error.into() }
    }
}

/// Why there is no answer.
fn dispatch(error: Option<&ConnectorError>) -> Failure {
    let Some(error) = error else { return Failure::Other };
    // The SDK looks for credentials within a request; having none, it sends nothing.
    let mut deeper = error.source();
    while let Some(source) = deeper {
        if source.is::<CredentialsError>() {
            return Failure::Denied;
        }
        deeper = source.source();
    }
    if error.is_timeout() {
        Failure::Timeout
    // An unclassified error that is worth another attempt is an answer that broke off.
    } else if error.is_io() || error.as_other().is_some() {
        Failure::Network
    } else {
        Failure::Other
    }
}

impl<'a> Answer<'a> {
    fn new(response: &HttpResponse, code: Option<&'a str>) -> Self {
        let body = response.body().bytes().unwrap_or_default();
        let names_condition = String::from_utf8_lossy(body).to_ascii_lowercase().contains(CONDITION);
        Self { status: response.status().as_u16(), code, names_condition }
    }

    fn effect(&self) -> Effect {
        match (self.status, self.code) {
            (412, _) | (_, Some("PreconditionFailed")) => Effect::Taken,
            (501, _) | (_, Some("NotImplemented")) => Effect::ConditionUnknown,
            (400, Some("InvalidArgument" | "InvalidRequest")) if self.names_condition => Effect::ConditionUnknown,
            (404, _) => Effect::Absent,
            (400..=499, _) => Effect::None,
            _ => Effect::Unclear,
        }
    }

    /// Codes go before the status: S3 answers some errors with 200, and others with 400.
    fn cause(&self) -> Failure {
        match self.code.unwrap_or_default() {
            "SlowDown" | "RequestLimitExceeded" | "TooManyRequestsException" => return Failure::Throttled,
            code if code.starts_with("Throttl") || code.starts_with("RequestThrottl") => return Failure::Throttled,
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => return Failure::Denied,
            "RequestTimeout" => return Failure::Timeout,
            "InternalError" | "ServiceUnavailable" => return Failure::Server,
            "NotImplemented" => return Failure::Other,
            _ => {}
        }
        match self.status {
            401 | 403 => Failure::Denied,
            408 => Failure::Timeout,
            409 | 412 => Failure::Conflict,
            429 => Failure::Throttled,
            501 => Failure::Other,
            500..=599 => Failure::Server,
            _ => Failure::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{error::ErrorMetadata, operation::put_object::PutObjectError, primitives::SdkBody};

    use super::*;

    type PutSdkError = SdkError<PutObjectError>;

    fn answered(status: u16, code: &str, message: &str) -> Failed {
        let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        let error = PutObjectError::generic(ErrorMetadata::builder().code(code).message(message).build());
        PutSdkError::service_error(error, response).into()
    }

    fn cause(failure: &Failed) -> Failure {
        match &failure.error {
            PutError::Store(error) => error.cause,
            PutError::Body(error) => panic!("{error}"),
        }
    }

    #[test]
    fn every_answer_of_a_store_has_a_cause_and_an_effect() {
        use {Effect as E, Failure as F};
        for (status, code, expected, effect) in [
            (200, "InternalError", F::Server, E::Unclear),
            (200, "SlowDown", F::Throttled, E::Unclear),
            (301, "PermanentRedirect", F::Other, E::Unclear),
            (400, "BadDigest", F::Other, E::None),
            (400, "ExpiredToken", F::Denied, E::None),
            (400, "RequestTimeout", F::Timeout, E::None),
            (400, "ThrottlingException", F::Throttled, E::None),
            (401, "", F::Denied, E::None),
            (403, "AccessDenied", F::Denied, E::None),
            (403, "RequestLimitExceeded", F::Throttled, E::None),
            (404, "NoSuchBucket", F::Other, E::Absent),
            (404, "", F::Other, E::Absent),
            (408, "", F::Timeout, E::None),
            (409, "ConditionalRequestConflict", F::Conflict, E::None),
            (412, "PreconditionFailed", F::Conflict, E::Taken),
            (412, "", F::Conflict, E::Taken),
            (429, "", F::Throttled, E::None),
            (500, "InternalError", F::Server, E::Unclear),
            (501, "NotImplemented", F::Other, E::ConditionUnknown),
            (502, "", F::Server, E::Unclear),
            (503, "SlowDown", F::Throttled, E::Unclear),
            (503, "ServiceUnavailable", F::Server, E::Unclear),
            (504, "", F::Server, E::Unclear),
        ] {
            let failure = answered(status, code, "");
            assert_eq!((cause(&failure), failure.effect), (expected, effect), "{status} {code}");
        }
    }

    #[test]
    fn a_bad_request_is_about_the_condition_only_if_it_names_it() {
        for code in ["InvalidArgument", "InvalidRequest"] {
            let failure = answered(400, code, "Unsupported header: If-None-Match");
            assert_eq!(failure.effect, Effect::ConditionUnknown);
            assert_eq!(answered(400, code, "Unsupported storage class").effect, Effect::None);
        }
        assert_eq!(answered(403, "AccessDenied", "the policy asks for If-None-Match").effect, Effect::None);
    }

    #[test]
    fn what_got_no_answer_may_have_had_effect() {
        let connector = |error: ConnectorError| Failed::from(PutSdkError::dispatch_failure(error));
        let io = || std::io::Error::other("broken").into();
        let response = |status: u16| HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        for (failure, expected) in [
            (connector(ConnectorError::io(io())), Failure::Network),
            (connector(ConnectorError::timeout(io())), Failure::Timeout),
            (connector(ConnectorError::user(io())), Failure::Other),
            (connector(ConnectorError::other(io(), None)), Failure::Other),
            (connector(ConnectorError::other(CredentialsError::not_loaded("none").into(), None)), Failure::Denied),
            (PutSdkError::timeout_error(io()).into(), Failure::Timeout),
            (PutSdkError::construction_failure(io()).into(), Failure::Other),
            (PutSdkError::response_error(io(), response(200)).into(), Failure::Network),
            (PutSdkError::response_error(io(), response(502)).into(), Failure::Server),
        ] {
            assert_eq!((cause(&failure), failure.effect), (expected, Effect::Unclear), "{failure:?}");
        }
    }

    #[test]
    fn an_error_tells_what_the_store_said() {
        let text = answered(403, "AccessDenied", "not yours").error.to_string();
        assert!(text.starts_with("denied: ") && text.contains("AccessDenied") && text.contains("not yours"), "{text}");
    }
}
