//! The lobby: where a new connection says what it wants before it is given to a worker.
//!
//! A load balancer asks for health on connections of their own. A worker in a flood answers in its turn, behind
//! everything that came before; an answer that comes too late takes the instance out of rotation, and its load falls on
//! the others. So the acceptor's thread, which has little to do, looks at the first bytes of a connection and answers
//! these two questions itself. Everything else goes to a worker, untouched: the bytes are only peeked at.
//!
//! Nobody stays: a connection goes on to a worker after some questions and after a moment, whatever it asks, and
//! whoever has stood here for the longest goes when there is no place for the next. So neither silence nor curiosity
//! keeps anybody else from being answered.

use std::{collections::BTreeMap, io, net::TcpStream as StdStream, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::{Health, health::Question};
use crate::queue::Published;

/// How many connections may stand in the lobby.
pub const MAX_LOBBY: usize = 256;
/// How long one may stand there.
const STAY: Duration = Duration::from_secs(2);
/// How many questions of one connection are answered there.
const MAX_QUESTIONS: usize = 16;
/// How long a question about health may take from its first byte to the end of its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Bytes of the head of a question about health; a longer one is for a worker.
const MAX_HEAD: usize = 2_048;

/// The connections that have not said yet that they are for a worker.
#[derive(Debug)]
pub(super) struct Lobby {
    waiting: JoinSet<(u64, Option<StdStream>)>,
    /// What calls each of them out when it is dropped, the oldest first.
    calls: BTreeMap<u64, oneshot::Sender<()>>,
    /// How many have entered so far.
    entered: u64,
    desk: Arc<HealthDesk>,
}

/// Who answers for health.
#[derive(Debug)]
pub(super) struct HealthDesk {
    pub(super) health: Arc<Health>,
    pub(super) published: Arc<Published>,
}

impl Lobby {
    pub(super) fn new(desk: HealthDesk) -> Self {
        Self { waiting: JoinSet::new(), calls: BTreeMap::new(), entered: 0, desk: Arc::new(desk) }
    }

    /// Whether there is a place. Where there is none, there will be as soon as [`Self::next`] is waited for.
    pub(super) fn has_place(&self) -> bool {
        self.waiting.len() < MAX_LOBBY
    }

    /// Lets `stream` in. If it takes the last place, the connection that entered first is called out.
    pub(super) fn enter(&mut self, stream: StdStream) {
        let (number, desk) = (self.entered, Arc::clone(&self.desk));
        let (call, called) = oneshot::channel();
        self.waiting.spawn(async move { (number, receive(stream, &desk, called).await) });
        self.calls.insert(number, call);
        self.entered += 1;
        if !self.has_place() {
            self.calls.pop_first();
        }
    }

    /// The next connection that is for a worker. Never ready while the lobby is empty.
    pub(super) async fn next(&mut self) -> StdStream {
        match self.next_of_all().await {
            Some(stream) => stream,
            None => std::future::pending().await,
        }
    }

    /// Calls everybody out: they are for the workers now, whatever they want.
    pub(super) fn call_all(&mut self) {
        self.calls.clear();
    }

    /// The next connection that is for a worker; `None` if the lobby is empty.
    pub(super) async fn next_of_all(&mut self) -> Option<StdStream> {
        while let Some(joined) = self.waiting.join_next().await {
            let Ok((number, stream)) = joined else { continue };
            self.calls.remove(&number);
            // Otherwise it was answered here, or is gone.
            if stream.is_some() {
                return stream;
            }
        }
        None
    }
}

/// Answers what a connection asks about health, and gives it back when it wants something else, has been here for long
/// enough, or is `called`.
async fn receive(stream: StdStream, desk: &HealthDesk, mut called: oneshot::Receiver<()>) -> Option<StdStream> {
    let mut stream = TcpStream::from_std(stream).ok()?;
    let stay = Instant::now() + STAY;
    let mut head = [0; MAX_HEAD];
    for _ in 0..MAX_QUESTIONS {
        let question = tokio::select! {
            biased;
            peeked = timeout_at(stay, stream.peek(&mut head)) => match peeked {
                Ok(Ok(0) | Err(_)) => return None,
                Ok(Ok(bytes)) => asked(&head[..bytes]),
                Err(_) => None,
            },
            _ = &mut called => None,
        };
        let Some(mut asked) = question else { break };
        asked.is_last |= desk.health.draining();
        let answered = tokio::select! {
            biased;
            answered = timeout(ANSWER, answer(&mut stream, &asked, desk)) => matches!(answered, Ok(Ok(()))),
            _ = &mut called => false,
        };
        if asked.is_last || !answered {
            return None;
        }
    }
    stream.into_std().ok()
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
    let len = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&bytes[..len]).ok()?.split("\r\n");
    let mut is_last = !lines.next()?.ends_with(" HTTP/1.1");
    for line in lines {
        let (name, value) = line.split_once(':')?;
        match name.trim().to_ascii_lowercase().as_str() {
            // A question has no body; one that says so is no question.
            "content-length" | "transfer-encoding" => return None,
            "connection" => is_last |= value.split(',').any(|token| token.trim().eq_ignore_ascii_case("close")),
            _ => {}
        }
    }
    Some(Asked { question, len: len + 4, is_last })
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
        assert_eq!(is_last(&head("GET /readyz HTTP/1.1", "CONNECTION:close\r\n")), Some(true));
        assert_eq!(is_last(&head("GET /readyz HTTP/1.1", "connection: keep-alive , Close\r\n")), Some(true));
        assert_eq!(is_last(&head("GET /readyz HTTP/1.1", "connection: keep-alive\r\nx: close\r\n")), Some(false));
        assert_eq!(is_last(&head("GET /readyz HTTP/1.0", "")), Some(true));
        let two = head("GET /livez HTTP/1.1", "") + &head("GET /readyz HTTP/1.1", "");
        assert_eq!(asked(two.as_bytes()).map(|asked| asked.len), Some(two.len() / 2));
        for other in [
            head("GET /livezz HTTP/1.1", ""),
            head("POST /livez HTTP/1.1", ""),
            head("GET /livez HTTP/1.1", "Content-Length: 3\r\n"),
            head("GET /livez HTTP/1.1", "transfer-encoding:chunked\r\n"),
            head("GET /livez HTTP/1.1", "no header\r\n"),
            head("POST /v1/logs/heard HTTP/1.1", ""),
            "GET /livez HTTP/1.1\r\nHost".to_owned(),
            String::new(),
        ] {
            assert_eq!(is_last(&other), None, "{other}");
        }
    }
}
