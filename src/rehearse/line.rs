//! A connection to the target, opened when it is needed and kept as long as the target keeps it.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::RETRY_AFTER,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::client::contract::Answer;

/// A request as it is sent, and sent again where the connection had ended before.
pub(super) type Outgoing = Request<Full<Bytes>>;

/// A connection, or the place of one.
#[derive(Debug)]
pub(super) struct Line {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
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
            Self::TooLong => "answer too long",
        }
    }
}

impl Line {
    /// A connection to `address`, which is not open yet.
    pub(super) fn to(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Opens the connection, unless it is.
    pub(super) async fn open(&mut self) -> Result<(), NoReply> {
        if let Some(sender) = &mut self.sender {
            // Ready is whoever has read the last answer to its end. An error is a connection that the target has closed.
            if sender.ready().await.is_ok() {
                return Ok(());
            }
            self.sender = None;
        }
        let stream = TcpStream::connect(self.address).await.map_err(|error| why(&error))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| NoReply::Connect)?;
        // It ends when the sender is dropped or the target closes; what it says of it, the answer says, too.
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        self.sender = Some(sender);
        Ok(())
    }

    /// Sends `request` and reads the answer, of at most `longest` bytes.
    pub(super) async fn exchange(&mut self, request: Outgoing, longest: usize) -> Result<Reply, NoReply> {
        let mut request = request;
        // A connection that the target closed while it was idle has not carried the request: another one does, once.
        for _ in 0..2 {
            self.open().await?;
            let Some(sender) = &mut self.sender else { return Err(NoReply::Connect) };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = Limited::new(body, longest).collect().await.map_err(|error| {
                        self.sender = None;
                        if error.is::<LengthLimitError>() { NoReply::TooLong } else { NoReply::Cut }
                    })?;
                    let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                    let retry_after = seconds.map(Duration::from_secs);
                    return Ok(Reply { status: head.status, retry_after, body: body.to_bytes() });
                }
                Err(mut error) => {
                    self.sender = None;
                    request = error.take_message().ok_or(NoReply::Cut)?;
                }
            }
        }
        Err(NoReply::Cut)
    }

    /// Closes the connection.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }
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
        let refusal: Refusal<'_> = match self.status.as_u16() {
            408 | 429 | 500..=599 => serde_json::from_slice(&self.body).unwrap_or_default(),
            _ => Refusal::default(),
        };
        let name = match (self.status.as_u16(), refusal.cause) {
            (429, Some(cause)) => cause.to_owned(),
            // Something in front of the instance refuses, too, and names no cause.
            (429, None) => "unnamed".to_owned(),
            (200 | 202 | 422, _) => String::new(),
            (status, _) => format!("status {status}"),
        };
        let answer = Answer {
            status: Some(self.status.as_u16()),
            retry_after: self.retry_after,
            retry_after_ms: refusal.retry_after_ms,
        };
        (answer, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: Option<u64>, body: &'static str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: retry_after.map(Duration::from_secs),
            body: Bytes::from_static(body.as_bytes()),
        }
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
    fn a_socket_that_cannot_be_had_is_no_fault_of_the_target() {
        let why = |errno: rustix::io::Errno| why(&errno.into());
        assert_eq!(why(rustix::io::Errno::MFILE), NoReply::NoSocket);
        assert_eq!(why(rustix::io::Errno::ADDRNOTAVAIL), NoReply::NoSocket);
        assert_eq!(why(rustix::io::Errno::CONNREFUSED), NoReply::Connect);
    }
}
