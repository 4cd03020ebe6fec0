//! The request of a try, as it goes over the wire: the same each time that a batch is sent.

use std::{io::Write, net::SocketAddr};

use super::{body::Bodies, device::Delivery, plan::Plan};

/// What the devices say of their SDK.
const SDK_VERSION: &str = concat!("logweir-rehearse/", env!("CARGO_PKG_VERSION"));

/// What requests have in common.
pub(super) struct Template {
    pub(super) address: SocketAddr,
    /// The head, up to what differs.
    head: String,
    bodies: Bodies,
    /// What the names of this rehearsal's devices and batches begin with: no two rehearsals send the same batch.
    run: String,
}

impl Template {
    /// The requests of `plan`, which was checked: nothing in it ends a line.
    pub(super) fn new(plan: &Plan, bodies: Bodies) -> Self {
        let (target, stream) = (&plan.target, plan.stream.as_str());
        let key = plan.key.as_ref().map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let encoding = if bodies.gzip { "content-encoding: gzip\r\n" } else { "" };
        let head = format!(
            "POST {}/v1/logs/{stream} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             x-sdk-version: {SDK_VERSION}\r\n{encoding}{key}",
            target.path, target.host
        );
        Self { address: target.address, head, bodies, run: format!("rehearsal-{:016x}", fastrand::u64(..)) }
    }

    /// Writes the request of `delivery` into `buffer`, instead of what is there, and returns its body's length.
    pub(super) fn write(&self, delivery: &Delivery, buffer: &mut Vec<u8>) -> u64 {
        let (body, run) = (self.bodies.of(delivery.batch), &self.run);
        buffer.clear();
        buffer.extend_from_slice(self.head.as_bytes());
        // Writing into memory does not fail.
        let _ = write!(
            buffer,
            "idempotency-key: {run}-{}\r\nx-device-id: {run}-{}\r\ncontent-length: {}\r\n\r\n",
            delivery.batch,
            delivery.device,
            body.len()
        );
        buffer.extend_from_slice(&body);
        body.len() as u64
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
        let template = Template::new(&plan, Bodies::new(3, true, 1).unwrap());
        let request = |device, batch, try_number| {
            let new = Delivery::new(device, batch, Behaviour::Behave, Duration::ZERO);
            let mut buffer = b"what was there before".to_vec();
            let length = template.write(&Delivery { try_number, ..new }, &mut buffer);
            let end = buffer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            assert_eq!(length, (buffer.len() - end) as u64);
            (String::from_utf8(buffer[..end].to_vec()).unwrap(), buffer[end..].to_vec())
        };
        let (first, again, other) = (request(1, 5, 1), request(1, 5, 2), request(1, 6, 1));
        assert_eq!(first, again);
        assert!(first.0.starts_with("POST /in/v1/logs/heard HTTP/1.1\r\nhost: 127.0.0.1:8080\r\n"), "{}", first.0);
        let header = |(head, _): &(String, Vec<u8>), name: &str| {
            let line = head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap().to_owned()
        };
        assert_ne!(header(&first, "idempotency-key"), header(&other, "idempotency-key"));
        assert_eq!(header(&first, "x-device-id"), header(&other, "x-device-id"));
        assert!(header(&first, "x-device-id").len() <= 128 && header(&first, "x-sdk-version").len() <= 64);
        BatchId::new(&header(&first, "idempotency-key")).unwrap();
        assert_eq!(header(&first, "authorization"), "Bearer secret");
        assert_eq!(header(&first, "content-encoding"), "gzip");
        assert_eq!(header(&first, "content-length"), first.1.len().to_string());
        let elsewhere = Template::new(&plan, Bodies::new(3, true, 1).unwrap());
        assert_ne!(elsewhere.run, template.run, "no two rehearsals send the same batch");
    }
}
