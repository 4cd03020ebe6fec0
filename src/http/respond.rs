//! Answers.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
    },
};
use http_body_util::{Either, Full};

use super::Problem;
use crate::{admission::Refused, batch::BatchId, schema::Ack, validate::Validated};

/// An answer's body: ours in one piece, or axum's.
pub(super) type AnswerBody = Either<Full<Bytes>, axum::body::Body>;
/// An answer.
pub(super) type Answer = Response<AnswerBody>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

fn answer(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The answer for a batch that was taken: what was promised, and each event's verdict.
pub(super) fn taken(status: StatusCode, ack: Ack, validated: &Validated) -> Answer {
    let mut body = String::with_capacity(96 + 64 * validated.rejected.len());
    body.push('{');
    if let Some(id) = &validated.batch_id {
        let _ = write!(body, "\"batch_id\":{},", json_string(id));
    }
    let _ = write!(body, "\"ack\":\"{}\",\"accepted\":{},\"rejected\":[", ack.as_str(), validated.accepted);
    for (place, rejection) in validated.rejected.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(body, "{comma}{{\"index\":{}", rejection.index);
        if let Some(field) = &rejection.field {
            let _ = write!(body, ",\"field\":{}", serde_json::Value::from(&**field));
        }
        let _ = write!(body, ",\"reason\":\"{}\"}}", rejection.reason.as_str());
    }
    body.push_str("]}");
    answer(status, JSON, body.into_bytes())
}

fn json_string(id: &BatchId) -> serde_json::Value {
    id.as_str().into()
}

/// The answer that tells a problem.
pub(super) fn problem(problem: &Problem) -> Answer {
    let mut response = answer(problem.status(), PROBLEM_JSON, problem.body());
    let headers = response.headers_mut();
    match problem {
        Problem::Refused(Refused { retry_after, .. }) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.seconds()));
        }
        Problem::MissingKey | Problem::UnknownKey => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Problem::MethodNotAllowed => {
            headers.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
        }
        _ => {}
    }
    response
}

/// The answer to a browser that asks whether it may send.
pub(super) fn preflight() -> Answer {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert("access-control-allow-methods", HeaderValue::from_static("POST"));
    let allowed = "authorization, content-encoding, content-type, idempotency-key, x-api-key, x-sent-at";
    headers.insert("access-control-allow-headers", HeaderValue::from_static(allowed));
    headers.insert("access-control-max-age", HeaderValue::from_static("86400"));
    response
}

/// Lets a page of any origin read the answer: a browser's key is public anyway.
pub(super) fn allow_origin(response: &mut Answer) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;
    use crate::batch::{Mendings, Reason, Rejection};

    fn body(response: Answer) -> Value {
        let collected = response.into_body().collect();
        let bytes = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(collected).unwrap();
        serde_json::from_slice(&bytes.to_bytes()).unwrap()
    }

    #[test]
    fn a_verdict_names_what_was_rejected() {
        let mut validated = Validated {
            batch_id: BatchId::new("a \"b\" é").ok(),
            accepted: 3,
            rejected: vec![
                Rejection { index: 1, field: Some("fi\"eld".into()), reason: Reason::TooLong },
                Rejection { index: 4, field: None, reason: Reason::NotAnObject },
            ],
            mendings: Mendings::default(),
            event_times: None,
        };
        assert_eq!(
            body(taken(StatusCode::OK, Ack::Spooled, &validated)),
            json!({"batch_id":"a \"b\" é","ack":"spooled","accepted":3,"rejected":[
                {"index":1,"field":"fi\"eld","reason":"too_long"},{"index":4,"reason":"not_an_object"}]})
        );
        validated.batch_id = None;
        validated.rejected.clear();
        assert_eq!(
            body(taken(StatusCode::OK, Ack::Memory, &validated)),
            json!({"ack":"memory","accepted":3,"rejected":[]})
        );
    }
}
