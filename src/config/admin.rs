//! `[admin]`: the port of the people who run the instance.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{report::Report, secret::Secret, server::is_loopback};

/// The admin port: metrics and health.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The address to listen on. Default `127.0.0.1:9090`: the metrics name streams and sinks, which is nobody's
    /// business. Any other than a loopback address demands a token.
    pub listen: SocketAddr,
    /// What `Authorization: Bearer` must carry, at least 16 bytes; empty for none. Default empty, as nobody else
    /// reaches a loopback address.
    pub token: Secret,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 9090).into(), token: Secret::default() }
    }
}

/// The shortest token, in bytes: 128 bits if it is random.
const MIN_TOKEN_BYTES: usize = 16;

impl Admin {
    pub(super) fn check(&self, report: &mut Report) {
        let bytes = self.token.expose().len();
        if self.token.is_empty() && !is_loopback(self.listen) {
            report.between(
                "admin.token",
                &["admin.listen".into()],
                format!("is empty, and admin.listen ({}) is not a loopback address", self.listen),
                "set LOGWEIR__ADMIN__TOKEN to at least 16 random bytes, or listen on 127.0.0.1",
            );
        } else if !self.token.is_empty() && bytes < MIN_TOKEN_BYTES {
            report.wrong(
                "admin.token",
                format!("has {bytes} bytes, fewer than {MIN_TOKEN_BYTES}"),
                "take a longer one, such as the output of `openssl rand -hex 16`",
            );
        }
    }
}
