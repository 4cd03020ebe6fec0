//! Answers.

use std::io::{self, Write as _};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
    },
};
use http_body_util::{Either, Full};

use super::Problem;
use crate::{
    admission::Reservation,
    batch::{BatchId, Rejection, Rejections},
    schema::Ack,
    validate::Validated,
};

/// An answer's body: ours in one piece, or axum's.
pub(super) type AnswerBody = Either<Full<Bytes>, axum::body::Body>;
/// An answer.
pub(super) type Answer = Response<AnswerBody>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// More bytes than an answer takes beside the batch's id, which escapes double at worst, and the list of rejections.
const FRAME_BYTES: usize = 160;
/// More bytes than a listed rejection takes in an answer, beside its field.
const LISTED_BYTES: usize = 80;

/// A body that gives back what it holds of the byte budget once it is written: nobody knows when a client reads it.
struct Held {
    text: Vec<u8>,
    _room: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

fn answer(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// What the list of `rejections` and the answer that repeats it occupy in memory, in bytes.
pub(super) fn bytes_to_list(rejections: &Rejections) -> usize {
    rejections.listed_bytes() + listed_at_most(rejections)
}

/// No fewer bytes than the listed rejections take in an answer.
fn listed_at_most(rejections: &Rejections) -> usize {
    // A field's name is spelled without control characters, so that escaping doubles it at worst.
    let field = |field: &str| 2 * field.len();
    let each = |listed: &Rejection| LISTED_BYTES + listed.field.as_deref().map_or(0, field);
    rejections.listed().iter().map(each).sum()
}

/// The answer for a batch that was taken: what was promised, and which events were rejected. It holds `room`, if the
/// list of these needed any.
pub(super) fn taken(status: StatusCode, ack: Ack, validated: &Validated, room: Option<Reservation>) -> Answer {
    let rejections = &validated.rejected;
    let id = validated.batch_id.as_ref().map_or("", BatchId::as_str);
    let mut body = Vec::with_capacity(FRAME_BYTES + 2 * id.len() + listed_at_most(rejections));
    // Nothing that is written here fails to be: a vector takes everything.
    let _ = write_taken(&mut body, ack, validated);
    match room {
        // In exactly as much memory as it takes, which needs no count of who holds it.
        None => answer(status, JSON, body.into_boxed_slice()),
        Some(room) => answer(status, JSON, Bytes::from_owner(Held { text: body, _room: room })),
    }
}

fn write_taken(body: &mut Vec<u8>, ack: Ack, validated: &Validated) -> io::Result<()> {
    let rejections = &validated.rejected;
    body.push(b'{');
    if let Some(id) = &validated.batch_id {
        body.extend_from_slice(b"\"batch_id\":");
        serde_json::to_writer(&mut *body, id.as_str())?;
        body.push(b',');
    }
    write!(body, "\"ack\":\"{}\",\"accepted\":{},\"rejected\":[", ack.as_str(), validated.accepted)?;
    for (place, rejection) in rejections.listed().iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(body, "{comma}{{\"index\":{}", rejection.index)?;
        if let Some(field) = &rejection.field {
            body.extend_from_slice(b",\"field\":");
            serde_json::to_writer(&mut *body, &**field)?;
        }
        write!(body, ",\"reason\":\"{}\"}}", rejection.reason.as_str())?;
    }
    body.push(b']');
    if rejections.is_truncated() {
        write!(body, ",\"rejected_total\":{},\"rejected_truncated\":true", rejections.total())?;
    }
    body.push(b'}');
    Ok(())
}

/// The answer that tells a problem.
pub(super) fn problem(problem: &Problem) -> Answer {
    let mut response = answer(problem.status(), PROBLEM_JSON, problem.body());
    let headers = response.headers_mut();
    if let Some(retry_after) = problem.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.seconds()));
    }
    match problem {
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
    let allowed = "authorization, content-encoding, content-type, idempotency-key, x-api-key, x-device-id, \
                   x-sdk-version, x-sent-at";
    headers.insert("access-control-allow-headers", HeaderValue::from_static(allowed));
    headers.insert("access-control-max-age", HeaderValue::from_static("86400"));
    response
}

/// Lets a page of any origin read the answer: a browser's key is public anyway.
pub(super) fn allow_origin(response: &mut Answer) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed = "retry-after, logweir-send-interval, logweir-sampling";
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        admission::ByteBudget,
        batch::{Mendings, Reason},
    };

    fn body(response: Answer) -> Value {
        let collected = response.into_body().collect();
        let bytes = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(collected).unwrap();
        serde_json::from_slice(&bytes.to_bytes()).unwrap()
    }

    #[test]
    fn a_verdict_names_what_was_rejected() {
        let mut validated = validated(3);
        validated.batch_id = BatchId::new("a \"b\" é").ok();
        validated.rejected.add(Rejection { index: 1, field: Some("fi\"eld".into()), reason: Reason::TooLong });
        validated.rejected.add(Rejection { index: 4, field: None, reason: Reason::NotAnObject });
        assert_eq!(
            body(taken(StatusCode::OK, Ack::Spooled, &validated, None)),
            json!({"batch_id":"a \"b\" é","ack":"spooled","accepted":3,"rejected":[
                {"index":1,"field":"fi\"eld","reason":"too_long"},{"index":4,"reason":"not_an_object"}]})
        );
        validated.batch_id = None;
        validated.rejected.unlist();
        assert_eq!(
            body(taken(StatusCode::OK, Ack::Memory, &validated, None)),
            json!({"ack":"memory","accepted":3,"rejected":[],"rejected_total":2,"rejected_truncated":true})
        );
        validated.rejected = Rejections::default();
        assert_eq!(
            body(taken(StatusCode::OK, Ack::Memory, &validated, None)),
            json!({"ack":"memory","accepted":3,"rejected":[]})
        );
    }

    fn validated(accepted: u32) -> Validated {
        let rejected = Rejections::default();
        Validated { batch_id: None, accepted, rejected, mendings: Mendings::default(), event_times: None, skew: None }
    }

    /// As much as can be rejected: the list, the answer, and what the answer holds until it is written.
    #[test]
    fn an_answer_lists_so_many_and_is_no_larger_than_what_it_holds() {
        let mut validated = validated(0);
        validated.batch_id = Some(BatchId::new(&"\\\"".repeat(64)).unwrap());
        let field: Box<str> = "\\\"".repeat(64)[..Rejection::MAX_FIELD_BYTES].into();
        for index in (0..10_000).map(|index| u32::MAX - index) {
            validated.rejected.add(Rejection { index, field: Some(field.clone()), reason: Reason::NumberOutOfRange });
        }
        let budget = ByteBudget::new(1_000_000);
        let room = budget.reserve(bytes_to_list(&validated.rejected)).unwrap();
        assert!(room.bytes() < 512 * 1_024, "{} bytes", room.bytes());
        let answer = taken(StatusCode::OK, Ack::Spooled, &validated, Some(room));
        let told = body(answer);
        assert_eq!(told["rejected"].as_array().unwrap().len(), Rejections::MOST_LISTED);
        assert_eq!((&told["rejected_total"], &told["rejected_truncated"]), (&10_000.into(), &true.into()));
        assert_eq!(budget.used(), 0, "what is written is given back");

        let text = told.to_string();
        assert!(text.len() <= FRAME_BYTES + 2 * BatchId::MAX_BYTES + listed_at_most(&validated.rejected));
        let room = budget.reserve(10).unwrap();
        let answer = taken(StatusCode::OK, Ack::Spooled, &validated, Some(room));
        assert_eq!(budget.used(), 10, "an answer that waits holds its room");
        drop(answer);
        assert_eq!(budget.used(), 0);
    }
}
