use aws_sdk_firehose::{
    error::ErrorMetadata, operation::put_record_batch::PutRecordBatchError, types::PutRecordBatchResponseEntry as Entry,
};
// The SDKs share it, and Firehose's does not name it.
use aws_sdk_s3::primitives::SdkBody;

use super::*;

type PutSdkError = SdkError<PutRecordBatchError>;

fn response(status: u16) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), SdkBody::empty())
}

fn answered(response: HttpResponse, code: &str, message: &str) -> Verdict {
    let error = PutRecordBatchError::generic(ErrorMetadata::builder().code(code).message(message).build());
    Verdict::of(1, Err(PutSdkError::service_error(error, response)))
}

fn fate_of(verdict: &Verdict) -> Fate {
    verdict.records[0].clone().unwrap()
}

#[test]
fn every_answer_to_a_whole_call_has_a_fate() {
    use {Failure as F, Fate::Later, Fate::Unknown};
    for (status, code, expected) in [
        (400, "InvalidArgumentException", Later(F::Other)),
        (400, "ValidationException", Later(F::Other)),
        (400, "ResourceNotFoundException", Later(F::Other)),
        (400, "InvalidKMSResourceException", Later(F::Denied)),
        (400, "AccessDeniedException", Later(F::Denied)),
        (400, "ExpiredTokenException", Later(F::Denied)),
        (400, "UnrecognizedClientException", Later(F::Denied)),
        (400, "ThrottlingException", Later(F::Throttled)),
        (400, "LimitExceededException", Later(F::Throttled)),
        (403, "", Later(F::Denied)),
        (408, "", Later(F::Timeout)),
        (413, "", Later(F::Other)),
        (429, "", Later(F::Throttled)),
        (500, "InternalFailure", Unknown(F::Server)),
        (500, "ServiceUnavailableException", Later(F::Throttled)),
        (503, "ServiceUnavailableException", Later(F::Throttled)),
        (500, "", Unknown(F::Server)),
        (502, "", Unknown(F::Server)),
        (503, "", Unknown(F::Server)),
        (504, "", Unknown(F::Server)),
    ] {
        assert_eq!(fate_of(&answered(response(status), code, "")), expected, "{status} {code}");
    }
}

#[test]
fn what_got_no_answer_may_have_been_taken_once_it_was_sent() {
    use {Failure as F, Fate::Later, Fate::Unknown};
    let connector = |error: ConnectorError| PutSdkError::dispatch_failure(error);
    let io = || std::io::Error::other("broken").into();
    for (error, expected) in [
        (connector(ConnectorError::io(io())), Unknown(F::Network)),
        (connector(ConnectorError::timeout(io())), Unknown(F::Timeout)),
        (connector(ConnectorError::user(io())), Unknown(F::Other)),
        (connector(ConnectorError::other(io(), None)), Unknown(F::Other)),
        (connector(ConnectorError::other(CredentialsError::not_loaded("none").into(), None)), Later(F::Denied)),
        (PutSdkError::timeout_error(io()), Unknown(F::Timeout)),
        (PutSdkError::construction_failure(io()), Later(F::Other)),
        (PutSdkError::response_error(io(), response(200)), Unknown(F::Network)),
        (PutSdkError::response_error(io(), response(502)), Unknown(F::Server)),
        // Without a body, the SDK finds no error in an answer.
        (PutSdkError::response_error(io(), response(429)), Later(F::Throttled)),
        (PutSdkError::response_error(io(), response(403)), Later(F::Denied)),
    ] {
        let text = format!("{error:?}");
        assert_eq!(fate_of(&Verdict::of(1, Err(error))), expected, "{text}");
    }
}

fn taken() -> Entry {
    Entry::builder().record_id("id").build()
}

fn failed(code: &str) -> Entry {
    Entry::builder().error_code(code).error_message("Slow down.\nsecond line").build()
}

fn output(failed: i32, entries: Vec<Entry>) -> PutRecordBatchOutput {
    PutRecordBatchOutput::builder().failed_put_count(failed).set_request_responses(Some(entries)).build().unwrap()
}

fn verdict(records: usize, output: PutRecordBatchOutput) -> Verdict {
    Verdict::of(records, Ok::<_, PutSdkError>(output))
}

#[test]
fn a_record_that_failed_alone_comes_later() {
    use {Failure as F, Fate::Later};
    let codes = ["ServiceUnavailableException", "InternalFailure", "Other"];
    let entries = vec![taken(), failed(codes[0]), taken(), failed(codes[1]), failed(codes[2])];
    let verdict = verdict(5, output(3, entries));
    let later = |cause| Some(Later(cause));
    assert_eq!(verdict.records, [None, later(F::Throttled), None, later(F::Server), later(F::Other)]);
    assert_eq!(
        verdict.error.unwrap().to_string(),
        "3 of 5 records were not taken, the first: ServiceUnavailableException: Slow down."
    );
}

#[test]
fn an_answer_without_failures_takes_all() {
    let verdict = verdict(2, output(0, vec![taken(), taken()]));
    assert_eq!(verdict.records, [None, None]);
    assert!(verdict.error.is_none());
}

#[test]
fn what_an_answer_does_not_tell_is_unknown() {
    let unknown = || Some(Fate::Unknown(Failure::Other));
    // Too short.
    let short = verdict(3, output(0, vec![taken()]));
    assert_eq!(short.records, [None, unknown(), unknown()]);
    let text = short.error.unwrap().to_string();
    assert_eq!(text, "the answer tells of 1 records, 0 of them failed, where 3 were sent");
    assert_eq!(verdict(2, output(0, vec![])).records, [unknown(), unknown()]);
    // Too long: whose are they?
    assert_eq!(verdict(1, output(0, vec![taken(), taken()])).records, [unknown()]);
    // One failed, and none is told of.
    let entries = vec![taken(), failed("InternalFailure")];
    let untold = verdict(2, output(2, entries));
    assert_eq!(untold.records, [unknown(), Some(Fate::Later(Failure::Server))]);
    // Neither taken nor failed.
    let neither = verdict(2, output(0, vec![Entry::builder().build(), taken()]));
    assert_eq!(neither.records, [unknown(), None]);
    assert!(neither.error.is_some());
    // A count that is none, and a count that is too low: the entries stand.
    assert_eq!(verdict(1, output(-1, vec![taken()])).records, [None]);
    assert_eq!(verdict(1, output(0, vec![failed("x")])).records, [Some(Fate::Later(Failure::Other))]);
}

#[test]
fn a_service_can_ask_to_be_left_alone_but_not_for_ever() {
    let asked = |name: &'static str, value: &'static str| {
        let mut response = response(503);
        response.headers_mut().insert(name, value);
        answered(response, "ServiceUnavailableException", "").after
    };
    assert_eq!(asked("retry-after", "7"), Some(Duration::from_secs(7)));
    assert_eq!(asked("x-amz-retry-after", "1500"), Some(Duration::from_millis(1_500)));
    assert_eq!(asked("retry-after", "999999999"), Some(LONGEST_AFTER));
    assert_eq!(asked("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT"), None);
    assert_eq!(asked("x-other", "7"), None);
}

#[test]
fn an_error_tells_what_was_said_and_no_more_than_a_line() {
    let message = "The signature does not match.\n\nThe Canonical String: x-amz-security-token:SECRET";
    let text = answered(response(403), "InvalidSignatureException", message).error.unwrap().to_string();
    assert_eq!(text, "403 InvalidSignatureException: The signature does not match.");
    let text = answered(response(400), "Other", &"ü".repeat(500)).error.unwrap().to_string();
    assert!(text.len() < 300, "{text}");
}
