//! How a database is reached: `warehouse.connection`, `rollups.export`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report, secret::Secret, setting::Setting};

/// How a database that speaks PostgreSQL's protocol is reached.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connection {
    /// Its host, by name or address. Default empty: there is none.
    pub host: String,
    /// Its port. Default 0: 5432 for PostgreSQL, 5439 for Redshift.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The user's password; better from the environment, as `LOGWEIR__WAREHOUSE__CONNECTION__PASSWORD`.
    pub password: Secret,
    /// Whether the connection is encrypted. Default `verify`.
    pub tls: Tls,
    /// A file with the certificates, in PEM, of those who may vouch for the host. Default none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long it may take to connect, 1 s to 10 min. Default 30 s: a paused cluster takes longer, and is tried again.
    pub connect_timeout: Period,
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// It is, and the host's certificate is checked.
    #[default]
    Verify,
    /// It is not: to a host that is this machine only.
    Off,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            database: String::new(),
            user: String::new(),
            password: Secret::default(),
            tls: Tls::default(),
            ca_file: None,
            connect_timeout: Period::seconds(30),
        }
    }
}

impl Connection {
    /// Whether there is one.
    pub fn is_given(&self) -> bool {
        !self.host.is_empty()
    }

    /// Notes what is wrong with the connection at `setting`.
    pub(super) fn check(&self, setting: &Setting, report: &mut Report) {
        let key = |key: &str| setting.clone().key(key);
        report.within(key("connect_timeout"), &self.connect_timeout, &(Period::seconds(1)..=Period::minutes(10)));
        if !self.is_given() {
            return;
        }
        for (name, value) in [("database", &self.database), ("user", &self.user)] {
            if value.is_empty() {
                report.wrong(key(name), "is missing, and the connection needs it", "name it");
            }
        }
        if self.tls == Tls::Off && !is_this_machine(&self.host) {
            report.between(
                key("tls"),
                &[key("host")],
                format!(
                    "is \"off\", and {} is another machine: what is sent, the password too, can be read on the way",
                    self.host
                ),
                "write tls = \"verify\", and name a ca_file if the host's certificate is your own",
            );
        }
    }
}

/// Whether `host` can be no other machine: a loopback address, or a directory with a socket.
fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.starts_with('/') || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
