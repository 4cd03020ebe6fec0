//! Requests over HTTP/1.1: one connection, kept while it is good.
//!
//! # Limits
//!
//! A connection must stand within [`Timeouts::connect`], TLS included, and an answer must have come within
//! [`Timeouts::answer`], its body included. At most [`MAX_ANSWER_BYTES`] of an answer are read. A connection that was idle for [`MAX_IDLE`] is
//! not used again: load balancers close it after a minute, and a mobile network forgets it in silence.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, Uri, header::HOST};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::JoinSet,
    time::{timeout, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject},
    },
};

use super::clock::BoxFuture;

type Deadline = tokio::time::Instant;

/// The most that is read of an answer's body, in bytes; what is longer is cut.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// How long a connection is idle and still used again: below the minute of AWS's load balancers.
pub const MAX_IDLE: Duration = Duration::from_secs(50);
/// How long what is left of a request may take to be sent that was answered early; then the connection is given up. The
/// answer waits for that.
const MAX_REST: Duration = Duration::from_secs(1);

/// How requests reach the server.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends `request`, whose target is a path, and returns its answer.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, NoAnswer>>;
}

/// Why there is no answer. To the contract they are all the same.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The server cannot be found or reached, or TLS with it fails.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// The connection ended, or what came is not HTTP.
    #[error("no answer: {0}")]
    Cut(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer in time")]
    TimedOut,
}

/// How long anything may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands, with TLS. Default 10 seconds.
    pub connect: Duration,
    /// From there until the answer has come. Default 30 seconds: a server under load answers `stored` late, and what is
    /// given up too early is sent twice.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), answer: Duration::from_secs(30) }
    }
}

/// Whose word for a server's identity counts.
#[derive(Clone, Default)]
pub enum Roots {
    /// The certificates of this machine.
    #[default]
    System,
    /// These certificates alone, in PEM.
    Pem(Vec<u8>),
}

/// The server's address does not serve.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is not a URL of a server.
    #[error("the server must be http:// or https:// with a host, and perhaps a port, and nothing else")]
    NotAServer,
    /// There is no certificate to trust.
    #[error("there are no root certificates")]
    NoRoots,
    /// The host cannot be in a certificate.
    #[error("the host is no name that a certificate can have: {0}")]
    Host(#[from] InvalidDnsNameError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// HTTP/1.1 over TCP, with TLS if the address says so.
pub struct HttpTransport {
    host: String,
    port: u16,
    /// The value of `Host`.
    authority: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeouts: Timeouts,
    idle: Mutex<Option<Connection>>,
}

/// A connection; it ends with this.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    idle_since: Instant,
    _driver: JoinSet<()>,
}

impl HttpTransport {
    /// A transport to `server`: `http://host`, `https://host:port`.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn new(server: &str, roots: &Roots, timeouts: Timeouts) -> Result<Self, AddressError> {
        let uri: Uri = server.parse().map_err(|_| AddressError::NotAServer)?;
        let nothing_else = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let (Some(scheme), Some(authority), true) = (uri.scheme_str(), uri.authority(), nothing_else) else {
            return Err(AddressError::NotAServer);
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let (default_port, tls) = match scheme {
            "http" => (80, None),
            "https" => (443, Some((tls(roots)?, ServerName::try_from(host.clone())?))),
            _ => return Err(AddressError::NotAServer),
        };
        // A user's name and password would be in `Host` otherwise.
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(AddressError::NotAServer);
        }
        let port = if authority.as_str() == authority.host() {
            default_port
        } else {
            // A port that is none must not become the default: another server may listen there.
            authority.port_u16().ok_or(AddressError::NotAServer)?
        };
        let authority = HeaderValue::try_from(authority.as_str()).map_err(|_| AddressError::NotAServer)?;
        Ok(Self { host, port, authority, tls, timeouts, idle: Mutex::new(None) })
    }

    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        request.headers_mut().insert(HOST, self.authority.clone());
        let request = request.map(Full::new);
        let mut idle = self.idle.lock().await;
        let kept = idle.take().filter(|kept| kept.idle_since.elapsed() < MAX_IDLE);
        let (mut connection, response, deadline) = match kept {
            None => self.first(request).await?,
            Some(mut kept) => {
                let deadline = self.deadline();
                match by(deadline, kept.sender.try_send_request(request)).await? {
                    Ok(response) => (kept, response, deadline),
                    // The server closed the connection while it was idle. Nothing was sent, so this was no attempt.
                    Err(mut error) => match error.take_message() {
                        Some(request) => self.first(request).await?,
                        None => return Err(error.into_error().into()),
                    },
                }
            }
        };
        let (head, body) = response.into_parts();
        // What the head says is said, whatever becomes of the body.
        let (body, whole) = timeout_at(deadline, read(body)).await.unwrap_or_default();
        if whole && matches!(timeout(MAX_REST, connection.sender.ready()).await, Ok(Ok(()))) {
            connection.idle_since = Instant::now();
            *idle = Some(connection);
        }
        Ok(Response::from_parts(head, body))
    }

    /// Sends `request` as the first one of a new connection; also returns by when the whole answer must have come.
    async fn first(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Connection, Response<Incoming>, Deadline), NoAnswer> {
        let connected = timeout(self.timeouts.connect, self.connect()).await;
        let mut connection = connected.map_err(|_| NoAnswer::TimedOut)??;
        let deadline = self.deadline();
        let response = by(deadline, connection.sender.send_request(request)).await??;
        Ok((connection, response, deadline))
    }

    /// By when the whole answer to a request that is sent now must have come.
    fn deadline(&self) -> Deadline {
        Deadline::now() + self.timeouts.answer
    }

    async fn connect(&self) -> Result<Connection, NoAnswer> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let mut driver = JoinSet::new();
        let sender = match &self.tls {
            None => {
                let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                driver.spawn(async move { drop(connection.await) });
                sender
            }
            Some((tls, name)) => {
                let stream = TokioIo::new(tls.connect(name.clone(), stream).await?);
                let (sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
                driver.spawn(async move { drop(connection.await) });
                sender
            }
        };
        Ok(Connection { sender, idle_since: Instant::now(), _driver: driver })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, NoAnswer>> {
        Box::pin(self.exchange(request))
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").field("authority", &self.authority).finish_non_exhaustive()
    }
}

async fn by<T>(deadline: Deadline, work: impl Future<Output = T>) -> Result<T, NoAnswer> {
    timeout_at(deadline, work).await.map_err(|_| NoAnswer::TimedOut)
}

/// What comes of `body`, up to the limit, and whether that is all.
async fn read(mut body: Incoming) -> (Bytes, bool) {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (bytes.freeze(), false) };
        let Some(data) = frame.data_ref() else { continue };
        let room = MAX_ANSWER_BYTES - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return (bytes.freeze(), false);
        }
    }
    (bytes.freeze(), true)
}

fn tls(roots: &Roots) -> Result<TlsConnector, AddressError> {
    let mut store = RootCertStore::empty();
    let certificates = match roots {
        Roots::System => rustls_native_certs::load_native_certs().certs,
        Roots::Pem(pem) => CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect(),
    };
    if store.add_parsable_certificates(certificates).0 == 0 {
        return Err(AddressError::NoRoots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_scheme_and_a_host_and_nothing_else() {
        let pem = Roots::Pem(b"nothing".to_vec());
        let made = |server: &str| HttpTransport::new(server, &pem, Timeouts::default());
        for (good, port) in [("http://a.example", 80), ("http://127.0.0.1:8080/", 8080), ("http://[::1]", 80)] {
            assert_eq!(made(good).unwrap().port, port, "{good}");
        }
        assert_eq!(made("http://[::1]:81").unwrap().host, "::1");
        for bad in [
            "",
            "a.example",
            "ftp://a.example",
            "http://a/b",
            "http://a?b=c",
            "http://user:pass@a",
            "http://",
            "http://a:65536",
            "http://[::1]:99999",
            "http://a:x",
        ] {
            assert!(matches!(made(bad), Err(AddressError::NotAServer)), "{bad}");
        }
        assert!(matches!(made("https://a.example"), Err(AddressError::NoRoots)));
    }
}
