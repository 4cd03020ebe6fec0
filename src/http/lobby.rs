//! The lobby: where a new connection says what it wants before it is given to a worker.
//!
//! A load balancer asks for health on connections of their own. A worker in a flood answers in its turn, behind
//! everything that came before; an answer that comes too late takes the instance out of rotation, and its load falls on
//! the others. So the acceptor's thread, which has little to do, looks at the first bytes of a connection and answers
//! these two questions itself. Everything else goes to a worker, untouched: the bytes are only peeked at.

use std::{io, net::TcpStream as StdStream, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::{Health, health::Question};
use crate::queue::Published;

/// How many connections may stand in the lobby; a further one goes straight to a worker.
pub const MAX_LOBBY: usize = 256;
/// How long one that says nothing may stand there.
const WAIT: Duration = Duration::from_secs(1);
/// How long a question about health may take from its first byte to the end of its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Bytes of the head of a question about health; a longer one is for a worker.
const MAX_HEAD: usize = 2_048;

/// The connections that have said nothing yet.
#[derive(Debug)]
pub(super) struct Lobby {
    waiting: JoinSet<Option<StdStream>>,
    health: Arc<HealthDesk>,
}

/// Who answers for health.
#[derive(Debug)]
pub(super) struct HealthDesk {
    pub(super) health: Arc<Health>,
    pub(super) published: Arc<Published>,
}

impl Lobby {
    pub(super) fn new(health: HealthDesk) -> Self {
        Self { waiting: JoinSet::new(), health: Arc::new(health) }
    }

    /// Lets `stream` in; it comes back at once if there is no place.
    pub(super) fn enter(&mut self, stream: StdStream) -> Option<StdStream> {
        if self.waiting.len() >= MAX_LOBBY {
            return Some(stream);
        }
        let health = Arc::clone(&self.health);
        self.waiting.spawn(async move { receive(TcpStream::from_std(stream).ok()?, &health).await });
        None
    }

    /// The next connection that is for a worker. Never ready while the lobby is empty.
    pub(super) async fn next(&mut self) -> StdStream {
        loop {
            match self.waiting.join_next().await {
                Some(Ok(Some(stream))) => return stream,
                // It was answered here, or is gone.
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// The connections that still stand here: they are for the workers, whatever they want.
    pub(super) async fn empty(&mut self) -> Vec<StdStream> {
        let mut left = Vec::new();
        // Nobody waits long: those who say nothing go on after a moment.
        while let Some(stream) = self.waiting.join_next().await {
            left.extend(stream.ok().flatten());
        }
        left
    }
}

/// Answers what a connection asks about health, for as long as it does, and gives it back when it wants something else
/// or nothing.
async fn receive(stream: TcpStream, desk: &HealthDesk) -> Option<StdStream> {
    let mut stream = stream;
    let mut head = [0; MAX_HEAD];
    loop {
        let question = match timeout(WAIT, stream.peek(&mut head)).await {
            Ok(Ok(0) | Err(_)) => return None,
            Ok(Ok(bytes)) => asked(&head[..bytes]),
            Err(_) => None,
        };
        let Some(asked) = question else { return stream.into_std().ok() };
        match timeout(ANSWER, answer(&mut stream, &asked, desk)).await {
            Ok(Ok(())) if !asked.is_last => {}
            _ => return None,
        }
    }
}

/// A question about health that has come as a whole.
struct Asked {
    question: Question,
    /// The length of its head, in bytes.
    len: usize,
    /// Whether the connection ends behind the answer.
    is_last: bool,
}

/// The question that `bytes` begin with. What is no question, or not there as a whole, is for a worker.
fn asked(bytes: &[u8]) -> Option<Asked> {
    let question = Question::of(bytes)?;
    let len = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..len]).ok()?.to_ascii_lowercase();
    // A question has no body; one that says so is no question.
    if text.contains("\r\ncontent-length:") || text.contains("\r\ntransfer-encoding:") {
        return None;
    }
    let is_last = !text.contains(" http/1.1\r\n") || text.contains("\r\nconnection: close");
    Some(Asked { question, len, is_last })
}

async fn answer(stream: &mut TcpStream, asked: &Asked, desk: &HealthDesk) -> io::Result<()> {
    let mut head = [0; MAX_HEAD];
    stream.read_exact(&mut head[..asked.len]).await?;
    let (status, text) = desk.health.answer(asked.question, &desk.published);
    stream.write_all(written(status, text, asked.is_last).as_bytes()).await?;
    if asked.is_last {
        stream.shutdown().await?;
        // Closing with something unread would reset the connection, and take the answer with it.
        while stream.read(&mut head).await? > 0 {}
    }
    Ok(())
}

fn written(status: StatusCode, text: &str, is_last: bool) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    let connection = if is_last { "close" } else { "keep-alive" };
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: \
         {connection}\r\n\r\n{text}",
        status.as_u16(),
        text.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_questions_about_health_are_answered_here() {
        let head = |first: &str, rest: &str| format!("{first}\r\nHost: a\r\n{rest}\r\n");
        let is_last = |text: &str| asked(text.as_bytes()).map(|asked| asked.is_last);
        assert_eq!(is_last(&head("GET /livez HTTP/1.1", "")), Some(false));
        assert_eq!(is_last(&head("GET /readyz HTTP/1.1", "Connection: Close\r\n")), Some(true));
        assert_eq!(is_last(&head("GET /readyz HTTP/1.0", "")), Some(true));
        let two = head("GET /livez HTTP/1.1", "") + &head("GET /readyz HTTP/1.1", "");
        assert_eq!(asked(two.as_bytes()).map(|asked| asked.len), Some(two.len() / 2));
        for other in [
            head("GET /livezz HTTP/1.1", ""),
            head("POST /livez HTTP/1.1", ""),
            head("GET /livez HTTP/1.1", "Content-Length: 3\r\n"),
            head("POST /v1/logs/heard HTTP/1.1", ""),
            "GET /livez HTTP/1.1\r\nHost".to_owned(),
            String::new(),
        ] {
            assert_eq!(is_last(&other), None, "{other}");
        }
    }
}
