//! A connection to the target, opened when it is needed and kept as long as the target keeps it.
//!
//! An answer is read while the request is still being sent: a refusal that comes early is a refusal, and no broken
//! connection. A request goes over the wire from where it stands: nothing of it is kept, so that connections that hang cost
//! no memory but their own.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::wire::{self, Head, Length, MAX_HEAD, Malformed};
use crate::client::contract::Answer;

/// How much is read from the connection at once, in bytes: an answer is a few hundred.
const READ_BYTES: usize = 4 * 1024;

/// A connection, or the place of one.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    stream: Option<TcpStream>,
    /// What was read and is not consumed.
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// Nothing came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoReply {
    /// This machine has no descriptor or port left: the generator's own shortfall.
    NoSocket,
    /// The target does not take a connection.
    Connect,
    /// The connection ended or broke before the answer was complete.
    Cut,
    /// What came is no answer of HTTP/1.1.
    Malformed,
    /// The answer is longer than it may be.
    TooLong,
}

impl NoReply {
    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NoSocket => "no socket",
            Self::Connect => "no connection",
            Self::Cut => "cut",
            Self::Malformed => "malformed answer",
            Self::TooLong => "answer too long",
        }
    }
}

impl From<Malformed> for NoReply {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Line {
    /// A connection to `address`, which is not open yet.
    pub(super) fn to(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: Vec::new() }
    }

    /// Opens the connection, unless it is.
    pub(super) async fn open(&mut self) -> Result<(), NoReply> {
        if let Some(stream) = &self.stream {
            // An idle connection has nothing to say: what can be read is its end, or an answer that nobody asked for.
            let mut probe = [0; 1];
            if stream.try_read(&mut probe).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return Ok(());
            }
            self.close();
        }
        let stream = TcpStream::connect(self.address).await.map_err(|error| why(&error))?;
        let _ = stream.set_nodelay(true);
        self.stream = Some(stream);
        Ok(())
    }

    /// Sends `head` and `body`, as they go over the wire, and reads the answer, of at most `longest` bytes.
    pub(super) async fn exchange(&mut self, head: &[u8], body: &[u8], longest: usize) -> Result<Reply, NoReply> {
        self.open().await?;
        // Whoever stops waiting in the middle of an answer must not leave the rest of it to the next request.
        let Some(mut stream) = self.stream.take() else { return Err(NoReply::Connect) };
        self.buffer.clear();
        let (reply, keep) = converse(&mut stream, &mut self.buffer, [head, body], longest).await?;
        if keep {
            self.stream = Some(stream);
        }
        Ok(reply)
    }

    /// Closes the connection.
    pub(super) fn close(&mut self) {
        self.stream = None;
    }
}

/// One request and its answer, and whether `stream` may carry another.
async fn converse(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    request: [&[u8]; 2],
    longest: usize,
) -> Result<(Reply, bool), NoReply> {
    let (mut reader, mut writer) = stream.split();
    let mut request = request.map(IoSlice::new);
    let mut unsent = &mut request[..];
    // What is empty is no part of a request.
    IoSlice::advance_slices(&mut unsent, 0);
    let mut refuses_more = false;
    loop {
        if let Some((head, from)) = Head::read(buffer)?
            && let Some(body) = body(head.length, &buffer[from..], false)?
        {
            let whole = matches!(head.length, Length::Chunked) || buffer.len() == from + body.len();
            let keep = head.keep && unsent.is_empty() && whole;
            return Ok((Reply { status: head.status, retry_after: head.retry_after, body }, keep));
        }
        if buffer.len() > longest + MAX_HEAD {
            return Err(NoReply::TooLong);
        }
        buffer.reserve(READ_BYTES);
        tokio::select! {
            biased;
            written = writer.write_vectored(unsent), if !unsent.is_empty() && !refuses_more => match written {
                Ok(bytes) => IoSlice::advance_slices(&mut unsent, bytes),
                // Who does not want to hear the rest may have answered.
                Err(_) => refuses_more = true,
            },
            read = reader.read_buf(buffer) => match read {
                Ok(1..) => {}
                Ok(0) | Err(_) => return end(buffer),
            },
        }
    }
}

/// The answer in `buffer` when the connection has ended.
fn end(buffer: &[u8]) -> Result<(Reply, bool), NoReply> {
    let (head, from) = Head::read(buffer)?.ok_or(NoReply::Cut)?;
    let body = body(head.length, &buffer[from..], true)?.ok_or(NoReply::Cut)?;
    Ok((Reply { status: head.status, retry_after: head.retry_after, body }, false))
}

/// The body at the beginning of `bytes`; `None` if it is not complete.
fn body(length: Length, bytes: &[u8], ended: bool) -> Result<Option<Vec<u8>>, NoReply> {
    Ok(match length {
        Length::Bytes(length) => bytes.get(..length).map(<[u8]>::to_vec),
        Length::Chunked => wire::chunks(bytes)?,
        Length::Rest => ended.then(|| bytes.to_vec()),
    })
}

fn why(error: &io::Error) -> NoReply {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS];
    if Errno::from_io_error(error).is_some_and(|errno| own.contains(&errno)) {
        NoReply::NoSocket
    } else {
        NoReply::Connect
    }
}

/// What a refusal says in its body.
#[derive(Debug, Default, Deserialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    cause: Option<&'a str>,
    retry_after_ms: Option<u64>,
}

impl Reply {
    /// The answer as the client's contract knows it, and what it is called in reports: the cause of a refusal, or the
    /// status.
    pub(super) fn read(&self) -> (Answer, String) {
        let refusal: Refusal<'_> = match self.status {
            408 | 429 | 500..=599 => serde_json::from_slice(&self.body).unwrap_or_default(),
            _ => Refusal::default(),
        };
        let name = match (self.status, refusal.cause) {
            (429, Some(cause)) => cause.to_owned(),
            // Something in front of the instance refuses, too, and names no cause.
            (429, None) => "unnamed".to_owned(),
            (200 | 202 | 422, _) => String::new(),
            (status, _) => format!("status {status}"),
        };
        let answer =
            Answer { status: Some(self.status), retry_after: self.retry_after, retry_after_ms: refusal.retry_after_ms };
        (answer, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: Option<u64>, body: &'static str) -> Reply {
        Reply { status, retry_after: retry_after.map(Duration::from_secs), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_refusal_is_read_with_its_cause_and_its_milliseconds() {
        let body = r#"{"type":"urn:logweir:problem:refused","title":"come back later","status":429,"cause":"backlog","retry_after_ms":1234}"#;
        let (answer, name) = reply(429, Some(2), body).read();
        assert_eq!((answer.wait(), name.as_str()), (Some(Duration::from_millis(1_234)), "backlog"));
        let (answer, name) = reply(429, Some(2), "<html>").read();
        assert_eq!((answer.wait(), name.as_str()), (Some(Duration::from_secs(2)), "unnamed"));
        let (answer, name) = reply(503, None, "").read();
        assert_eq!((answer.wait(), name.as_str()), (None, "status 503"));
        assert_eq!(reply(200, None, "").read(), (Answer::of(200), String::new()));
    }

    #[test]
    fn a_long_request_arrives_whole_from_where_it_stands() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (head, body) = ("a head\r\n\r\n".as_bytes(), "b".repeat(8 * 1024 * 1024));
            let whole = [head, body.as_bytes()].concat();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut arrived = vec![0; whole.len()];
                stream.read_exact(&mut arrived).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                arrived == whole
            };
            let mut line = Line::to(listener.local_addr().unwrap());
            let (whole, reply) = tokio::join!(serve, line.exchange(head, body.as_bytes(), 1_000));
            assert!(whole);
            assert_eq!(reply.unwrap().status, 200);
            assert!(line.stream.is_some(), "the connection is kept");
        });
    }

    #[test]
    fn a_socket_that_cannot_be_had_is_no_fault_of_the_target() {
        let why = |errno: rustix::io::Errno| why(&errno.into());
        assert_eq!(why(rustix::io::Errno::MFILE), NoReply::NoSocket);
        assert_eq!(why(rustix::io::Errno::ADDRNOTAVAIL), NoReply::NoSocket);
        assert_eq!(why(rustix::io::Errno::CONNREFUSED), NoReply::Connect);
    }
}
