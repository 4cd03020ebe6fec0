//! Devices: what a client of a load balancer does and sees.
//!
//! A device speaks HTTP/1.1 over a socket, byte by byte, so that nothing of the server's own libraries is between a test
//! and the wire.

use std::{
    fmt::Write as _,
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::ReadHalf},
    time::timeout,
};

use crate::balancer::PATIENCE;

/// The stream that devices send to.
pub(crate) const STREAM: &str = "heard";
/// The longest head of an answer, and the longest body, in bytes.
const MAX_PART: usize = 64 * 1024;

/// A batch: the events `0..events` of `id`.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(crate) events: usize,
    request: Vec<u8>,
}

impl Batch {
    /// One whose events carry `padding` bytes each.
    pub(crate) fn new(id: String, events: usize, padding: usize) -> Self {
        Self::with_key(id, events, padding, "")
    }

    /// The same, sent with `key`, if that is not empty.
    pub(crate) fn with_key(id: String, events: usize, padding: usize, key: &str) -> Self {
        let event = |index| json!({ "index": index, "padding": "x".repeat(padding) });
        let body = json!({ "events": (0..events).map(event).collect::<Value>() }).to_string();
        let mut request = format!("POST /v1/logs/{STREAM} HTTP/1.1\r\nhost: logs.test\r\nidempotency-key: {id}\r\n");
        if !key.is_empty() {
            let _ = write!(request, "x-api-key: {key}\r\n");
        }
        let _ = write!(request, "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        Self { id, events, request: request.into_bytes() }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The instance that the load balancer chose, if it did.
    pub(crate) fn served_by(&self) -> Option<&str> {
        self.header("x-served-by")
    }

    /// How long a refused device is to wait.
    ///
    /// # Panics
    /// If the refusal does not say it as it should, in the header and in the body.
    pub(crate) fn retry_after(&self) -> Duration {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let seconds: u64 =
            self.header("retry-after").unwrap_or_else(|| panic!("no Retry-After: {self:?}")).parse().unwrap();
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        let millis = problem["retry_after_ms"].as_u64().unwrap();
        // Both name the same second.
        let near = millis.abs_diff(seconds * 1_000) <= 1_000;
        assert!(seconds >= 1 && near && problem["cause"].is_string(), "{}", String::from_utf8_lossy(&self.body));
        Duration::from_millis(millis)
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A device's way to the load balancer: one connection, made when it is needed.
pub(crate) struct Device {
    address: SocketAddr,
    connection: Option<TcpStream>,
    /// Whether the last request went over a connection that had carried another one before.
    pub(crate) reused: bool,
}

impl Device {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None, reused: false }
    }

    /// Closes the connection, as a device does that has nothing more to say for a while.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Sends `batch` once.
    ///
    /// # Errors
    /// There was no answer.
    pub(crate) async fn send(&mut self, batch: &Batch) -> io::Result<Answer> {
        let exchange = async {
            let kept = self.connection.take().filter(is_open);
            self.reused = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(self.address).await?,
            };
            let (answer, whole) = exchange(&mut connection, &batch.request).await?;
            if whole && !answer.closes() {
                self.connection = Some(connection);
            }
            Ok(answer)
        };
        timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    }
}

/// Whether nothing came over `connection` that nobody asked for, such as its end: what every client looks at before it
/// sends over it again.
fn is_open(connection: &TcpStream) -> bool {
    matches!(connection.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends `request` and reads the answer, which may come before everything is sent. Whether everything was.
async fn exchange(connection: &mut TcpStream, request: &[u8]) -> io::Result<(Answer, bool)> {
    let (mut read, mut write) = connection.split();
    let mut answer = Box::pin(answer(&mut read));
    let mut written = Box::pin(write.write_all(request));
    tokio::select! {
        biased;
        answer = &mut answer => Ok((answer?, false)),
        // One that cannot be written any more may be answered already.
        written = &mut written => Ok((answer.await?, written.is_ok())),
    }
}

async fn answer(connection: &mut ReadHalf<'_>) -> io::Result<Answer> {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(place) = bytes.windows(END.len()).position(|window| window == END) {
            break place;
        }
        if bytes.len() > MAX_PART || connection.read_buf(&mut bytes).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    };
    let rest = bytes.split_off(head + END.len());
    let text = String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData)?;
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or(ErrorKind::InvalidData)?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let mut answer = Answer { status, headers, body: rest };
    let length: usize = answer.header("content-length").unwrap_or("0").parse().map_err(|_| ErrorKind::InvalidData)?;
    while answer.body.len() < length.min(MAX_PART) {
        if connection.read_buf(&mut answer.body).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(answer)
}
