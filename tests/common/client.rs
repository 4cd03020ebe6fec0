//! A client that speaks HTTP/1.1 byte by byte over a blocking socket.
//!
//! It sends whatever it is told, right or wrong, and reads answers strictly, several on one connection. Every wait has
//! the limit [`PATIENCE`]; what it keeps of an answer is limited to [`MAX_ANSWER_BYTES`].

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::request::Request;

/// How long anything may take that must happen at all: far more than it takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(10);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Waits until `look` sees what it is looking for, and panics with `what` if it never does.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(LOOK);
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) version: String,
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header that comes at most once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} comes twice in {self:?}");
        value
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The name of the problem that the answer tells as RFC 9457 says.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let told = self.json();
        assert_eq!(told["status"], self.status, "{told}");
        assert!(!told["title"].as_str().unwrap().is_empty(), "{told}");
        told["type"].as_str().unwrap().strip_prefix("urn:logweir:problem:").unwrap().to_owned()
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server closed it.
    Closed,
    /// The server reset it.
    Reset,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// What came and was not looked at.
    unread: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Each piece goes out as it is sent: the tests decide what comes together.
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends, where the server may have closed the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        self.send(request.bytes());
        self.receive()
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next answer, be it an interim one.
    pub(crate) fn receive(&mut self) -> Answer {
        let mut answer = self.receive_head();
        let length = answer.header("content-length").map(|text| text.parse().unwrap());
        answer.body = match (answer.status, answer.header("transfer-encoding"), length) {
            (100..=199 | 204 | 304, ..) => vec![],
            (_, Some("chunked"), None) => self.receive_chunks(),
            (_, None, Some(length)) => self.take(length),
            other => panic!("where does the body end? {other:?} {answer:?}"),
        };
        answer
    }

    /// The head of the next answer: for requests whose answer has no body (HEAD).
    pub(crate) fn receive_head(&mut self) -> Answer {
        let head = String::from_utf8(self.take_through(b"\r\n\r\n")).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let (version, status) = lines.next().unwrap().split_once(' ').unwrap();
        let headers = lines.map(|line| line.split_once(':').unwrap());
        Answer {
            version: version.to_owned(),
            status: status.split(' ').next().unwrap().parse().unwrap(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
            body: vec![],
        }
    }

    fn receive_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.take_through(b"\r\n")).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let chunk = self.take(size + 2);
            assert!(chunk.ends_with(b"\r\n"));
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// Whether something comes within `time`.
    pub(crate) fn hears_within(&mut self, time: Duration) -> bool {
        if !self.unread.is_empty() {
            return true;
        }
        self.stream.set_read_timeout(Some(time)).unwrap();
        let heard = self.read_more();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match heard {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether anything comes before the connection's end.
    pub(crate) fn answers(&mut self) -> bool {
        !self.unread.is_empty() || matches!(self.read_more(), Ok(1..))
    }

    /// Waits for the connection's end, before which nothing may come.
    pub(crate) fn end(&mut self) -> End {
        assert!(self.unread.is_empty(), "{:?} came unasked", String::from_utf8_lossy(&self.unread));
        match self.read_more() {
            Ok(0) => End::Closed,
            Ok(_) => panic!("{:?} came instead of the end", String::from_utf8_lossy(&self.unread)),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("the connection neither ended nor spoke: {error}"),
        }
    }

    /// Whether the server resets the connection within `time`, behind its orderly end.
    pub(crate) fn is_reset_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            if self.stream.take_error().unwrap().is_some() {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn take_through(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(place) = self.unread.windows(mark.len()).position(|window| window == mark) {
                return self.unread.drain(..place + mark.len()).collect();
            }
            self.need_more();
        }
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        while self.unread.len() < len {
            self.need_more();
        }
        self.unread.drain(..len).collect()
    }

    fn need_more(&mut self) {
        let read = self.read_more();
        let so_far = String::from_utf8_lossy(&self.unread);
        assert!(matches!(read, Ok(1..)), "an answer was expected, and came {read:?} behind {so_far:?}");
    }

    fn read_more(&mut self) -> io::Result<usize> {
        assert!(self.unread.len() < MAX_ANSWER_BYTES, "the answer does not end");
        let mut piece = [0; 16 * 1024];
        let read = self.stream.read(&mut piece)?;
        self.unread.extend_from_slice(&piece[..read]);
        Ok(read)
    }
}
