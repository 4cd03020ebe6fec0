//! The request of a try, as it goes over the wire: but for the time in its head the same each time that a batch is sent.
//!
//! Limits: a head of a few hundred bytes and the key; bodies are shared, however many are on their way together.

use std::{io::Write, net::SocketAddr};

use bytes::Bytes;

use super::{
    body::Bodies,
    device::Delivery,
    plan::{Key, Plan},
};
use crate::{
    batch::Clock,
    client::{DEVICE_ID, SDK_VERSION, SENT_AT},
};

/// What the devices say of their SDK.
const SDK: &str = concat!("logweir-rehearse/", env!("CARGO_PKG_VERSION"));

/// What requests have in common.
pub(super) struct Template {
    pub(super) address: SocketAddr,
    /// The head, up to what differs.
    head: String,
    bodies: Bodies,
    /// What the names of this rehearsal's devices and batches begin with: no two rehearsals send the same batch.
    run: String,
    clock: Clock,
}

impl Template {
    /// The requests of `plan`, which was checked: nothing in it ends a line.
    pub(super) fn new(plan: &Plan, bodies: Bodies) -> Self {
        let (target, stream) = (&plan.target, plan.stream.as_str());
        let key = plan.key.as_ref().map(|Key(key)| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let encoding = if bodies.gzip { "content-encoding: gzip\r\n" } else { "" };
        let head = format!(
            "POST {}/v1/logs/{stream} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             {SDK_VERSION}: {SDK}\r\n{encoding}{key}",
            target.path, target.host
        );
        let run = format!("rehearsal-{:016x}", fastrand::u64(..));
        Self { address: target.address, head, bodies, run, clock: Clock::default() }
    }

    /// Writes the head of the request of `delivery`, which is sent now, into `buffer`, instead of what is there, and
    /// returns its body.
    pub(super) fn write(&self, delivery: &Delivery, buffer: &mut Vec<u8>) -> Bytes {
        let (body, run) = (self.bodies.of(delivery.batch), &self.run);
        buffer.clear();
        buffer.extend_from_slice(self.head.as_bytes());
        // Writing into memory does not fail.
        let _ = write!(
            buffer,
            "idempotency-key: {run}-{}\r\n{DEVICE_ID}: {run}-{}\r\n{SENT_AT}: {}\r\ncontent-length: {}\r\n\r\n",
            delivery.batch,
            delivery.device,
            self.clock.now(),
            body.len()
        );
        body
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        batch::{BatchId, Millis, StreamName},
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
            key: Some(Key("secret".into())),
            seed: 1,
            constant_retry_after: None,
        };
        let template = Template::new(&plan, Bodies::new(3, true, 1).unwrap());
        let request = |device, batch, try_number| {
            let new = Delivery::new(device, batch, Behaviour::Behave, Duration::ZERO);
            let mut buffer = b"what was there before".to_vec();
            let body = template.write(&Delivery { try_number, ..new }, &mut buffer);
            let head = String::from_utf8(buffer).unwrap();
            assert!(head.ends_with("\r\n\r\n") && head.matches("\r\n\r\n").count() == 1, "{head}");
            (head, body)
        };
        let (first, again, other) = (request(1, 5, 1), request(1, 5, 2), request(1, 6, 1));
        let timeless = |(head, body): &(String, Bytes)| {
            let lines = head.split("\r\n").filter(|line| !line.starts_with(SENT_AT));
            (lines.collect::<Vec<_>>().join("\r\n"), body.clone())
        };
        assert_eq!(timeless(&first), timeless(&again));
        assert_eq!(first.1.as_ptr(), again.1.as_ptr(), "bodies are shared");
        assert!(first.0.starts_with("POST /in/v1/logs/heard HTTP/1.1\r\nhost: 127.0.0.1:8080\r\n"), "{}", first.0);
        let header = |(head, _): &(String, Bytes), name: &str| {
            let line = head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap().to_owned()
        };
        assert_ne!(header(&first, "idempotency-key"), header(&other, "idempotency-key"));
        assert_eq!(header(&first, DEVICE_ID), header(&other, DEVICE_ID));
        assert!(header(&first, DEVICE_ID).len() <= 128 && header(&first, SDK_VERSION).len() <= 64);
        BatchId::new(&header(&first, "idempotency-key")).unwrap();
        assert_eq!(header(&first, "authorization"), "Bearer secret");
        assert_eq!(header(&first, "content-encoding"), "gzip");
        let sent_at = Millis::parse_rfc3339(&header(&first, SENT_AT)).unwrap();
        assert!((Clock::default().now().get() - sent_at.get()).abs() < 60_000, "{sent_at}");
        assert_eq!(header(&first, "content-length"), first.1.len().to_string());
        let elsewhere = Template::new(&plan, Bodies::new(3, true, 1).unwrap());
        assert_ne!(elsewhere.run, template.run, "no two rehearsals send the same batch");
    }
}
