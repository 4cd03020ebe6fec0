//! Why a request is not answered with success: the one table.
//!
//! Each problem has a stable `type`, a status, and what an SDK is to do about it. Problems are told as
//! `application/problem+json` (RFC 9457). Nothing that a client sent is echoed.

use http::StatusCode;
use serde_json::json;

use super::{Hints, body::BodyFailure, decode::DecodeError};
use crate::{
    admission::{Exhausted, Refused, RetryAfter},
    batch::InvalidBatchId,
    schema::CatalogFull,
    validate::BatchError,
};

/// What an SDK does with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Drop it, and count that.
    Drop,
    /// Keep it, and try again once an hour.
    TryHourly,
    /// Send the same batch with the same id later.
    RetryLater,
}

/// Why a request is not answered with success.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant's row in the table below is its documentation")]
pub enum Problem {
    MissingKey,
    UnknownKey,
    StreamNotAllowed,
    KeyNotForQuery,
    InvalidStreamName,
    UnknownStream,
    NotFound,
    MethodNotAllowed,
    UnsupportedContentType,
    UnsupportedEncoding,
    BodyTooLarge { limit: usize },
    DecodedTooLarge { limit: usize },
    InvalidEncoding(DecodeError),
    IncompleteBody,
    TooSlow,
    InvalidIdempotencyKey,
    Batch(BatchError),
    Refused(Refused),
    NotStored { retry_after: RetryAfter },
    DiskFailed,
    Draining,
    Internal,
}

/// A row of the table.
struct Row {
    status: StatusCode,
    /// The end of `type`.
    name: &'static str,
    title: &'static str,
}

impl Problem {
    /// The table.
    fn row(&self) -> Row {
        let (status, name, title) = match self {
            Self::MissingKey => (401, "missing-key", "an API key is needed"),
            Self::UnknownKey => (401, "unknown-key", "the API key is not known"),
            Self::StreamNotAllowed => (403, "stream-not-allowed", "the key may not write to this stream"),
            Self::KeyNotForQuery => (403, "key-not-for-query", "this key may not be sent in the query"),
            Self::InvalidStreamName => (404, "invalid-stream-name", "this is no stream's name"),
            Self::UnknownStream => (404, "unknown-stream", "this stream is not declared"),
            Self::NotFound => (404, "not-found", "there is nothing here"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "batches are sent with POST"),
            Self::UnsupportedContentType => {
                (415, "unsupported-content-type", "send application/json or application/x-ndjson")
            }
            Self::UnsupportedEncoding => (415, "unsupported-encoding", "send identity, gzip, deflate or zstd"),
            Self::BodyTooLarge { .. } => (413, "body-too-large", "the body is too large"),
            Self::DecodedTooLarge { .. } => (413, "decoded-too-large", "the decoded body is too large"),
            Self::InvalidEncoding(_) => (400, "invalid-encoding", "the body cannot be decoded"),
            Self::IncompleteBody => (400, "incomplete-body", "the body ended early or its framing is broken"),
            Self::TooSlow => (408, "too-slow", "the request came too slowly"),
            Self::InvalidIdempotencyKey => (400, "invalid-batch-id", "the Idempotency-Key is no batch id"),
            Self::Batch(error) => return batch_row(error),
            Self::Refused(_) => (429, "refused", "come back later"),
            Self::NotStored { .. } => (503, "not-stored", "the batch was not made durable in time; send it again"),
            Self::DiskFailed => (503, "disk-failed", "this instance cannot store anything"),
            Self::Draining => (503, "draining", "this instance is going away"),
            Self::Internal => (500, "internal", "this is a fault of the server"),
        };
        row(status, name, title)
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        self.row().status
    }

    /// The end of the problem's `type`, and what its outcome is called in the metrics.
    pub fn name(&self) -> &'static str {
        self.row().name
    }

    /// What an SDK does with the batch.
    pub fn action(&self) -> Action {
        match self.status().as_u16() {
            400 | 404 | 405 | 413 | 415 => Action::Drop,
            401 | 403 => Action::TryHourly,
            _ => Action::RetryLater,
        }
    }

    /// When to come back, if that is told.
    pub(super) fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::Refused(Refused { retry_after, .. }) | Self::NotStored { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The answer's body.
    pub(super) fn body(&self) -> Vec<u8> {
        let row = self.row();
        if let Self::Refused(Refused { cause, retry_after }) = self {
            // Written by hundreds of thousands a second in a flood: nothing here needs to be escaped.
            let (name, title, status) = (row.name, row.title, row.status.as_u16());
            return format!(
                "{{\"type\":\"urn:logweir:problem:{name}\",\"title\":\"{title}\",\"status\":{status},\"cause\":\"{}\",\
                 \"retry_after_ms\":{}}}",
                cause.as_str(),
                retry_after.millis()
            )
            .into_bytes();
        }
        let mut body = json!({
            "type": format!("urn:logweir:problem:{}", row.name),
            "title": row.title,
            "status": row.status.as_u16(),
        });
        if let Some(detail) = self.detail() {
            body["detail"] = detail.into();
        }
        if let Some(retry_after) = self.retry_after() {
            body["retry_after_ms"] = retry_after.millis().into();
        }
        body.to_string().into_bytes()
    }

    /// The whole answer, as it is written where there is no request that hyper could answer; the connection ends behind
    /// it. It tells `hints`.
    pub(super) fn last_words(&self, hints: &Hints) -> Vec<u8> {
        let (status, body) = (self.status(), self.body());
        let reason = status.canonical_reason().unwrap_or_default();
        let retry_after =
            self.retry_after().map(|time| format!("retry-after: {}\r\n", time.seconds())).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\n{retry_after}{}connection: close\r\n\
             content-length: {}\r\n\r\n",
            status.as_u16(),
            hints.lines(),
            body.len()
        );
        [head.as_bytes(), &body].concat()
    }

    /// What is particular to this occurrence; limits and places, never a value.
    fn detail(&self) -> Option<String> {
        match self {
            Self::Batch(error) => Some(error.to_string()),
            Self::InvalidEncoding(error) => Some(error.to_string()),
            Self::InvalidIdempotencyKey => Some(InvalidBatchId.to_string()),
            Self::BodyTooLarge { limit } => Some(format!("a body has at most {limit} bytes as sent")),
            Self::DecodedTooLarge { limit } => Some(format!("this body may have at most {limit} bytes decoded")),
            Self::InvalidStreamName => Some(crate::batch::InvalidStreamName.to_string()),
            Self::NotStored { .. } => Some(
                "this instance keeps nothing; its events may still come, under the ids that they will have again"
                    .into(),
            ),
            _ => None,
        }
    }

    /// Every problem once, with an example of what it tells: for the documentation and its tests.
    pub fn examples() -> Vec<Self> {
        let limit = 1_000;
        vec![
            Self::MissingKey,
            Self::UnknownKey,
            Self::StreamNotAllowed,
            Self::KeyNotForQuery,
            Self::InvalidStreamName,
            Self::UnknownStream,
            Self::NotFound,
            Self::MethodNotAllowed,
            Self::UnsupportedContentType,
            Self::UnsupportedEncoding,
            Self::BodyTooLarge { limit },
            Self::DecodedTooLarge { limit },
            Self::InvalidEncoding(DecodeError::Corrupt),
            Self::IncompleteBody,
            Self::TooSlow,
            Self::InvalidIdempotencyKey,
            Self::Batch(BatchError::Malformed { offset: 7, what: "a value was expected" }),
            Self::Batch(BatchError::InvalidUtf8 { offset: 7 }),
            Self::Batch(BatchError::NotABatch),
            Self::Batch(BatchError::Envelope { offset: 7, what: "`events` must be an array" }),
            Self::Batch(BatchError::ContextTooLarge { size: 2_000, limit }),
            Self::Batch(BatchError::Empty),
            Self::Batch(BatchError::TooManyEvents { limit }),
            Self::Batch(BatchError::OutputTooLarge { limit }),
            Self::NotStored { retry_after: RetryAfter::exactly(std::time::Duration::from_secs(7)) },
            Self::DiskFailed,
            Self::Draining,
            Self::Internal,
        ]
    }
}

fn row(status: u16, name: &'static str, title: &'static str) -> Row {
    Row { status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), name, title }
}

fn batch_row(error: &BatchError) -> Row {
    let (status, name, title) = match error {
        BatchError::Malformed { .. } => (400, "malformed-json", "the body is not valid JSON"),
        BatchError::InvalidUtf8 { .. } => (400, "invalid-utf8", "the body is not valid UTF-8"),
        BatchError::NotABatch => (400, "not-a-batch", "the body is no batch"),
        BatchError::Envelope { .. } => (400, "invalid-envelope", "the envelope is not as it must be"),
        BatchError::ContextTooLarge { .. } => (413, "context-too-large", "the context is too large"),
        BatchError::Empty => (400, "empty-batch", "the batch has no events"),
        BatchError::TooManyEvents { .. } => (413, "too-many-events", "the batch has too many events"),
        BatchError::OutputTooLarge { .. } => (413, "output-too-large", "the batch would be stored as too many bytes"),
        // Told as a refusal, with a time to come back; this row is for completeness.
        BatchError::NoRoom => (429, "refused", "come back later"),
    };
    row(status, name, title)
}

impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        Self::Batch(error)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Why a step of the way could not be done: by the client's fault, or for want of memory, which the gate turns into a
/// refusal.
#[derive(Debug)]
pub(super) enum Stopped {
    Problem(Problem),
    NoMemory,
    /// The client has gone; there is nobody to answer.
    Gone,
}

impl From<Problem> for Stopped {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Exhausted> for Stopped {
    fn from(_: Exhausted) -> Self {
        Self::NoMemory
    }
}

impl From<BatchError> for Stopped {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::NoRoom => Self::NoMemory,
            error => Self::Problem(error.into()),
        }
    }
}

impl From<DecodeError> for Stopped {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::NoRoom => Self::NoMemory,
            DecodeError::TooLarge { limit } => Self::Problem(Problem::DecodedTooLarge { limit }),
            DecodeError::Corrupt | DecodeError::Trailing | DecodeError::Cut => {
                Self::Problem(Problem::InvalidEncoding(error))
            }
        }
    }
}

impl From<BodyFailure> for Stopped {
    fn from(failure: BodyFailure) -> Self {
        match failure {
            BodyFailure::NoRoom => Self::NoMemory,
            BodyFailure::TooLarge { limit } => Self::Problem(Problem::BodyTooLarge { limit }),
            BodyFailure::TooSlow => Self::Problem(Problem::TooSlow),
            BodyFailure::Broken => Self::Problem(Problem::IncompleteBody),
            BodyFailure::Gone => Self::Gone,
        }
    }
}

impl From<CatalogFull> for crate::admission::Cause {
    fn from(_: CatalogFull) -> Self {
        Self::Streams
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_problem_has_a_type_of_its_own_and_a_body_that_says_so() {
        let mut names = HashSet::new();
        for problem in Problem::examples() {
            assert!(names.insert(problem.name()), "{problem:?}");
            let body: serde_json::Value = serde_json::from_slice(&problem.body()).unwrap();
            assert_eq!(body["type"], format!("urn:logweir:problem:{}", problem.name()));
            assert_eq!(body["status"], problem.status().as_u16());
            assert!(!body["title"].as_str().unwrap().is_empty());
        }
    }

    #[test]
    fn the_sdk_does_what_the_status_says() {
        for problem in Problem::examples() {
            let expected = match problem.status().as_u16() {
                401 | 403 => Action::TryHourly,
                408 | 429 | 500..=599 => Action::RetryLater,
                _ => Action::Drop,
            };
            assert_eq!(problem.action(), expected, "{problem:?}");
        }
    }

    #[test]
    fn the_openapi_document_lists_every_problem_reason_and_cause_under_its_status() {
        let document: serde_json::Value = serde_json::from_str(crate::http::OPENAPI).unwrap();
        let responses = &document["paths"]["/v1/logs/{stream}"]["post"]["responses"];
        let types = |status: &str| -> HashSet<String> {
            let listed = &responses[status]["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"];
            let listed = listed["type"]["enum"].as_array().cloned().unwrap_or_default();
            listed.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let mut known = std::collections::HashMap::<String, HashSet<String>>::new();
        for problem in Problem::examples() {
            let name = format!("urn:logweir:problem:{}", problem.name());
            known.entry(problem.status().as_str().to_owned()).or_default().insert(name);
        }
        known.entry("429".to_owned()).or_default().insert("urn:logweir:problem:refused".to_owned());
        for (status, names) in &known {
            assert_eq!(&types(status), names, "{status}");
        }
        let listed = |value: &serde_json::Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let schemas = &document["components"]["schemas"];
        let reasons = &schemas["Taken"]["properties"]["rejected"]["items"]["properties"]["reason"]["enum"];
        assert_eq!(listed(reasons), crate::batch::Reason::ALL.map(crate::batch::Reason::as_str));
        let causes = &schemas["Problem"]["properties"]["cause"]["enum"];
        assert_eq!(listed(causes), crate::admission::Cause::ALL.map(crate::admission::Cause::as_str));
    }
}
