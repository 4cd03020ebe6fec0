//! A request, and what its answer says: the client's side of the interface.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, InvalidHeaderValue, RETRY_AFTER},
};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    batcher::Packed,
    contract::{Answer, Verdict},
    hints::Hints,
};
use crate::batch::Millis;

/// The header with the device's clock at this attempt.
pub const SENT_AT: &str = "x-sent-at";
/// The header with the device's id.
pub const DEVICE_ID: &str = "x-device-id";
/// The longest device id, in bytes.
pub const MAX_DEVICE_ID_BYTES: usize = 128;
/// The header with the SDK's name and version.
pub const SDK_VERSION: &str = "x-sdk-version";
/// The longest SDK version, in bytes.
pub const MAX_SDK_VERSION_BYTES: usize = 64;

/// Makes requests.
#[derive(Debug)]
pub(super) struct Requests(HeaderMap);

impl Requests {
    /// What all requests of a device have in common.
    pub(super) fn new(
        key: Option<&str>,
        device_id: Option<&str>,
        sdk_version: Option<&str>,
    ) -> Result<Self, InvalidHeaderValue> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        if let Some(key) = key {
            let mut bearer = HeaderValue::try_from(format!("Bearer {key}"))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        for (name, value) in [(DEVICE_ID, device_id), (SDK_VERSION, sdk_version)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::try_from(value)?);
            }
        }
        Ok(Self(headers))
    }

    /// The request that sends `packed` at `now` of the wall clock.
    ///
    /// The time goes into a header, since the body is the same however often it is sent, and since the server corrects the
    /// events' times by the time of *this* attempt.
    pub(super) fn send(&self, packed: &Packed, now: Millis) -> Request<Bytes> {
        let mut request = Request::new(packed.body.clone());
        *request.method_mut() = http::Method::POST;
        // A stream's name needs no escaping.
        *request.uri_mut() = format!("/v1/logs/{}", packed.label.stream).parse().unwrap_or_default();
        *request.headers_mut() = self.0.clone();
        if let Ok(sent_at) = HeaderValue::try_from(now.to_string()) {
            request.headers_mut().insert(SENT_AT, sent_at);
        }
        request
    }
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Heard {
    pub(super) answer: Answer,
    pub(super) hints: Hints,
    /// Events of the batch that were accepted, and that were rejected, if the answer tells.
    pub(super) events: Option<(u64, u64)>,
}

/// What a client needs of the body of a 200, 202 or 422.
#[derive(Deserialize)]
struct Taken {
    accepted: u64,
    rejected: Vec<IgnoredAny>,
}

/// What a client needs of the body of a 429.
#[derive(Deserialize)]
struct Refusal {
    retry_after_ms: Option<u64>,
}

impl Heard {
    /// Reads an answer, whoever gave it. The body only adds to what the head says: it may be missing or cut.
    pub(super) fn read(response: &Response<Bytes>) -> Self {
        let (headers, body) = (response.headers(), response.body());
        let mut heard =
            Self { answer: Answer::of(response.status().as_u16()), hints: Hints::read(headers), events: None };
        match heard.answer.verdict() {
            Verdict::Forget => {
                let taken = serde_json::from_slice::<Taken>(body).ok();
                heard.events = taken.map(|taken| (taken.accepted, taken.rejected.len() as u64));
            }
            Verdict::RetryLater => {
                // A date, which the header may also be, is nothing for a device whose clock may be wrong.
                let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
                heard.answer.retry_after = seconds.map(Duration::from_secs);
                let refusal = serde_json::from_slice::<Refusal>(body).ok();
                heard.answer.retry_after_ms = refusal.and_then(|refusal| refusal.retry_after_ms);
            }
            Verdict::Drop | Verdict::TryHourly => {}
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::{batch::StreamName, client::batcher::Label};

    fn response(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response<Bytes> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn a_request_is_as_the_interface_says() {
        let label = Label { id: Ulid::nil(), stream: StreamName::new("heard").unwrap(), events: 1 };
        let packed = Packed { label, body: Bytes::from_static(b"packed") };
        let requests = Requests::new(Some("secret"), Some("device 1"), Some("android/2.3.1")).unwrap();
        let request = requests.send(&packed, Millis::new(1_795_338_000_123).unwrap());
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/logs/heard"));
        assert_eq!(request.body(), "packed");
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
            ("authorization", "Bearer secret"),
            ("x-device-id", "device 1"),
            ("x-sdk-version", "android/2.3.1"),
            ("x-sent-at", "2026-11-22T09:00:00.123Z"),
        ] {
            assert_eq!(request.headers()[name], value);
        }
        assert!(!format!("{request:?}").contains("secret"));
        let bare = Requests::new(None, None, None).unwrap().send(&packed, Millis::MIN);
        assert_eq!(bare.headers().len(), 3);
        assert!(Requests::new(Some("a\nb"), None, None).is_err());
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let heard = Heard::read(&response(429, &[("retry-after", "2")], r#"{"retry_after_ms":1234,"cause":"queue"}"#));
        assert_eq!(heard.answer.wait(), Some(Duration::from_millis(1_234)));
        let heard = Heard::read(&response(503, &[("retry-after", " 2 ")], "<html>"));
        assert_eq!(heard.answer.wait(), Some(Duration::from_secs(2)));
        for bad in ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1.5", ""] {
            assert_eq!(
                Heard::read(&response(429, &[("retry-after", bad)], r#"{"retry_after_ms":"x"}"#)).answer.wait(),
                None
            );
        }
    }

    #[test]
    fn a_receipt_says_how_many_events_were_accepted() {
        let body = r#"{"batch_id":"x","ack":"spooled","accepted":9,"rejected":[{"index":3,"reason":"type"}]}"#;
        let heard = Heard::read(&response(200, &[("logweir-sampling", "0.5")], body));
        assert_eq!((heard.events, heard.hints.sampling), (Some((9, 1)), Some(0.5)));
        // What was cut on the way was taken all the same.
        let cut = Heard::read(&response(200, &[], &body[..30]));
        assert_eq!((cut.events, cut.answer.verdict()), (None, Verdict::Forget));
    }
}
