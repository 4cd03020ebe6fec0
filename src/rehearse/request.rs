//! The request of a try: the same body and the same id each time that a batch is sent.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Uri,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue,
    },
};

use super::{body::Bodies, device::Delivery, line::Outgoing, plan::Plan};

/// What the devices say of their SDK.
const SDK_VERSION: &str = concat!("logweir-rehearse/", env!("CARGO_PKG_VERSION"));
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const DEVICE_ID: HeaderName = HeaderName::from_static("x-device-id");
const SDK: HeaderName = HeaderName::from_static("x-sdk-version");

/// What requests have in common.
pub(super) struct Template {
    pub(super) address: SocketAddr,
    path: Uri,
    headers: HeaderMap,
    bodies: Bodies,
    /// What the names of this rehearsal's devices and batches begin with: no two rehearsals send the same batch.
    run: String,
}

impl Template {
    pub(super) fn new(plan: &Plan, bodies: Bodies) -> Result<Self, InvalidHeaderValue> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(&plan.target.host)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(SDK, HeaderValue::from_static(SDK_VERSION));
        if bodies.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(key) = &plan.key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self {
            address: plan.target.address,
            // The path was made of a URL's path and of a stream's name, so it is one.
            path: format!("{}/v1/logs/{}", plan.target.path, plan.stream.as_str()).parse().unwrap_or_default(),
            headers,
            bodies,
            run: format!("rehearsal-{:016x}", fastrand::u64(..)),
        })
    }

    /// The request of `delivery`, and its body's length.
    pub(super) fn request(&self, delivery: &Delivery) -> (Outgoing, u64) {
        let body = self.bodies.of(delivery.batch);
        let bytes = body.len() as u64;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let mut headers = self.headers.clone();
        for (name, value) in [(IDEMPOTENCY_KEY, delivery.batch), (DEVICE_ID, delivery.device)] {
            let value = Bytes::from(format!("{}-{value}", self.run));
            if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                headers.insert(name, value);
            }
        }
        *request.headers_mut() = headers;
        (request, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        batch::{BatchId, StreamName},
        rehearse::{device::Behaviour, profile::Profile, target::Target},
    };

    #[test]
    fn a_batch_is_sent_again_as_it_was_and_as_no_other_is() {
        let target = Target::resolve("http://127.0.0.1:8080/in", false).unwrap();
        let plan = Plan {
            metrics: target.clone(),
            target,
            profile: Profile::Steady,
            peak: None,
            duration: Duration::from_secs(1),
            mix: Profile::Steady.mix(),
            devices: 2,
            connections: 1,
            events: 3,
            gzip: true,
            stream: StreamName::new("heard").unwrap(),
            key: Some("secret".into()),
            seed: 1,
            constant_retry_after: None,
        };
        let template = Template::new(&plan, Bodies::new(3, true, 1).unwrap()).unwrap();
        let delivery = |device, batch, try_number| {
            let new = Delivery::new(device, batch, Behaviour::Behave, Duration::ZERO);
            template.request(&Delivery { try_number, ..new }).0
        };
        let header = |request: &Outgoing, name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let (first, again, other) = (delivery(1, 5, 1), delivery(1, 5, 2), delivery(1, 6, 1));
        assert_eq!((first.headers(), first.uri().path()), (again.headers(), "/in/v1/logs/heard"));
        assert_ne!(header(&first, "idempotency-key"), header(&other, "idempotency-key"));
        assert_eq!(header(&first, "x-device-id"), header(&other, "x-device-id"));
        assert!(header(&first, "x-device-id").len() <= 128 && header(&first, "x-sdk-version").len() <= 64);
        BatchId::new(&header(&first, "idempotency-key")).unwrap();
        assert_eq!(header(&first, "authorization"), "Bearer secret");
        assert_eq!(
            (header(&first, "content-encoding"), header(&first, "host")),
            ("gzip".into(), "127.0.0.1:8080".into())
        );
        let elsewhere = Template::new(&plan, Bodies::new(3, true, 1).unwrap()).unwrap();
        assert_ne!(elsewhere.run, template.run, "no two rehearsals send the same batch");
    }
}
