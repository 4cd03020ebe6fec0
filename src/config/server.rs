//! `[server]`: the public port.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report, size::Size};

/// The public port: where devices post.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The address to listen on. Default `127.0.0.1:8080`: what starts without a configuration is not to be reached
    /// from elsewhere. Any other than a loopback address demands a key.
    pub listen: SocketAddr,
    /// Workers, each a core's runtime with its own connections. Default 0, one for every core; at most 1024.
    pub workers: usize,
    /// Connections that may be open together, 1 to 1,000,000; a further one is answered 429 and closed. Default 8192:
    /// with `max_head` each, that bounds their read buffers to 128 MiB. Where the hard limit of open files leaves room
    /// for fewer, the start warns and lets in that many.
    pub max_connections: usize,
    /// Bytes of a request's head, and of the read buffer that a connection may hold, 8 KiB to 64 KiB. Default 16 KiB,
    /// which is what load balancers let through.
    pub max_head: Size,
    /// How long a head may take from its first byte, up to 10 minutes and less than `idle_timeout`. Default 10 s: a
    /// slower one is a broken network or an attack by slowness.
    pub head_timeout: Period,
    /// How long a connection may wait for its next request, more than 60 s and up to an hour. Default 75 s: an ALB
    /// closes idle connections after 60 s, and a target that closes first causes 502s.
    pub idle_timeout: Period,
    /// How long a body may take before its rate is looked at, up to 10 minutes. Default 10 s, for the pauses of a
    /// mobile network.
    pub body_grace: Period,
    /// Bytes a second that a body must come at: it has to be there within `body_grace` + its bytes ÷ `body_min_rate`.
    /// Default 1 KiB: slower ones hold their bytes of the budget for nothing.
    pub body_min_rate: Size,
    /// Whether a trusted proxy or load balancer stands in front. Its connections carry the requests of many devices, so
    /// none is closed for what one of them did. Default false: a connection is its device's.
    pub behind_proxy: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            workers: 0,
            max_connections: 8192,
            max_head: Size::kib(16),
            head_timeout: Period::seconds(10),
            idle_timeout: Period::seconds(75),
            body_grace: Period::seconds(10),
            body_min_rate: Size::kib(1),
            behind_proxy: false,
        }
    }
}

/// After how long an ALB closes an idle connection.
const BALANCER_IDLE: Period = Period::seconds(60);

impl Server {
    pub(super) fn check(&self, report: &mut Report) {
        report.within("server.workers", &self.workers, &(0..=1024));
        report.within("server.max_connections", &self.max_connections, &(1..=1_000_000));
        report.within("server.max_head", &self.max_head, &(Size::kib(8)..=Size::kib(64)));
        report.within("server.head_timeout", &self.head_timeout, &(Period::millis(1)..=Period::minutes(10)));
        report.within("server.body_grace", &self.body_grace, &(Period::millis(1)..=Period::minutes(10)));
        report.within("server.body_min_rate", &self.body_min_rate, &(Size::bytes(1)..=Size::mib(1)));
        report.within("server.idle_timeout", &self.idle_timeout, &(Period::millis(1)..=Period::hours(1)));
        let (head, idle) = (self.head_timeout, self.idle_timeout);
        if idle <= BALANCER_IDLE {
            report.wrong(
                "server.idle_timeout",
                format!("is {idle}, not more than the {BALANCER_IDLE} after which a load balancer closes"),
                "choose more than 60s, such as 75s: a server that closes first makes the load balancer answer 502",
            );
        }
        if head >= idle {
            report.between(
                "server.head_timeout",
                &["server.idle_timeout".into()],
                format!("is {head}, not less than server.idle_timeout ({idle})"),
                "choose less: a head that has begun must not wait longer than one that has not",
            );
        }
    }
}

/// Whether only this machine can reach `address`.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
