//! A client that speaks HTTP/1.1 over one connection, so that nothing of the server's own libraries is between a test
//! and the wire.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

/// How long any single read or write may take.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// A connection.
pub(crate) struct Client(BufReader<TcpStream>);

/// A request to store a batch.
#[derive(Clone, Copy)]
pub(crate) struct Post<'a> {
    pub(crate) stream: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, SILENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.request(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"), b"")
    }

    pub(crate) fn post(&mut self, post: Post<'_>) -> io::Result<Answer> {
        let mut head = format!("POST /v1/logs/{} HTTP/1.1\r\nhost: test\r\n", post.stream);
        for (name, value) in post.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "content-length: {}\r\n\r\n", post.body.len());
        self.request(&head, post.body)
    }

    /// Posts events, an array of them, to `stream`.
    pub(crate) fn post_json(&mut self, stream: &str, events: &Value) -> io::Result<Answer> {
        let headers = &[("content-type", "application/json")];
        self.post(Post { stream, headers, body: events.to_string().as_bytes() })
    }

    fn request(&mut self, head: &str, body: &[u8]) -> io::Result<Answer> {
        let whole = [head.as_bytes(), body].concat();
        // A server that refuses early may close before it has read everything; what it said can still be read.
        let written = self.0.get_mut().write_all(&whole);
        let answer = self.answer();
        if answer.is_err() { written.and(answer) } else { answer }
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        let len: usize = answer.header("content-length").unwrap_or("0").parse().map_err(|_| broken())?;
        if len > MAX_ANSWER {
            return Err(broken());
        }
        answer.body.resize(len, 0);
        self.0.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn broken() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// One GET on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    Client::connect(address).unwrap().get(path).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
