//! A connection to a database that speaks PostgreSQL's protocol, with TLS by rustls.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    Failure,
    sqlstate::{self, Class},
};

/// How long a connection is silent before TCP asks whether the other side is still there: a COPY says nothing for minutes,
/// and a NAT gateway forgets a connection after 350 seconds of silence.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// The longest text of an error that is repeated, in characters.
const LONGEST_TEXT: usize = 500;

/// Where a database is, and who asks.
#[derive(Clone)]
pub struct Address {
    /// The host, or the directory of a socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The user's password; empty for none.
    pub password: String,
    /// Whom to believe that the host is the host; `None` for a connection in the clear.
    pub roots: Option<Roots>,
    /// How long it may take to connect.
    pub connect_timeout: Duration,
    /// How long one statement may take, by the database's clock.
    pub statement_timeout: Duration,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

/// Whose certificates are believed.
#[derive(Clone)]
pub struct Roots(Arc<ClientConfig>);

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roots(…)")
    }
}

/// No certificate can be believed.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// What was given is no certificate in PEM.
    #[error("the file has no certificate in PEM that can be used")]
    NoCertificate,
    /// The system has none.
    #[error("the system trusts nobody: name a ca_file")]
    NoneOfTheSystem,
    /// The library does not take them.
    #[error(transparent)]
    Tls(#[from] tokio_rustls::rustls::Error),
}

impl Roots {
    /// Those of the system.
    ///
    /// # Errors
    /// [`RootsError`] if there are none.
    pub fn of_system() -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 { Err(RootsError::NoneOfTheSystem) } else { Self::new(roots) }
    }

    /// Those in `pem`, and no others.
    ///
    /// # Errors
    /// [`RootsError`] if there is none.
    pub fn of_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let (added, _) = roots.add_parsable_certificates(certificates.map_err(|_| RootsError::NoCertificate)?);
        if added == 0 { Err(RootsError::NoCertificate) } else { Self::new(roots) }
    }

    fn new(roots: RootCertStore) -> Result<Self, RootsError> {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }
}

/// A connection. It is closed, and what the server still does for it is given up, when it is dropped.
pub(super) struct Connection {
    pub(super) client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to `address`.
    pub(super) async fn open(address: &Address) -> Result<Self, Failure> {
        let mut config = Config::new();
        config
            .host(&address.host)
            .port(address.port)
            .dbname(&address.database)
            .user(&address.user)
            .application_name("logweir")
            .keepalives_idle(KEEPALIVE);
        if !address.password.is_empty() {
            config.password(&address.password);
        }
        let connecting = async {
            if let Some(Roots(roots)) = &address.roots {
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                let (client, driver) = config.connect(MakeRustlsConnect::new(ClientConfig::clone(roots))).await?;
                Ok(Self { client, driver: tokio::spawn(async move { drop(driver.await) }) })
            } else {
                config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                let (client, driver) = config.connect(NoTls).await?;
                Ok(Self { client, driver: tokio::spawn(async move { drop(driver.await) }) })
            }
        };
        let connected: Result<Self, tokio_postgres::Error> = timeout(address.connect_timeout, connecting)
            .await
            .map_err(|_| Failure::Unreachable(format!("{address:?} did not answer in time")))?;
        let connection = connected.map_err(|error| {
            let told = format!("{address:?}: {}", describe(&error));
            match error.code().map(|code| (code.code(), sqlstate::class(code.code()))) {
                // A wrong password does not become right.
                Some((code, Class::Standing)) => {
                    Failure::Refused { step: "connect".to_owned(), why: sqlstate::with_remedy(code, told) }
                }
                _ => Failure::Unreachable(told),
            }
        })?;
        // Times in what is asked and answered are UTC, and no statement runs for ever. Both are spelled in the one way that
        // Redshift knows too: <https://docs.aws.amazon.com/redshift/latest/dg/r_timezone_config.html>,
        // <https://docs.aws.amazon.com/redshift/latest/dg/r_statement_timeout.html> (in milliseconds).
        let settings =
            format!("SET timezone TO 'UTC'; SET statement_timeout TO {}", address.statement_timeout.as_millis());
        timeout(address.connect_timeout, connection.client.batch_execute(&settings))
            .await
            .map_err(|_| Failure::Unreachable(format!("{address:?} did not answer in time")))?
            .map_err(|error| Failure::Unreachable(format!("{address:?}: {}", describe(&error))))?;
        Ok(connection)
    }
}

/// What an error says, and what is below it: the library's own text is of one word. The database's detail is left out where
/// it repeats values of the row that it is about.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        let code = told.code().code();
        let detail = told.detail().filter(|_| !code.starts_with("22") && !code.starts_with("23"));
        let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        return squeezed(&format!("{code}: {}{detail}", told.message()));
    }
    let mut text = error.to_string();
    let mut deeper = std::error::Error::source(error);
    while let Some(error) = deeper {
        text = format!("{text}: {error}");
        deeper = error.source();
    }
    squeezed(&text)
}

/// `text` in one line of a bounded length.
pub(super) fn squeezed(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
