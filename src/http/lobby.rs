//! The lobby: where a new connection says what it wants before it is given to a worker.
//!
//! A load balancer asks for health on connections of their own. A worker in a flood answers in its turn, behind
//! everything that came before; an answer that comes too late takes the instance out of rotation, and its load falls on
//! the others. So the acceptor's thread, which has little to do, looks at the first bytes of a connection and answers
//! these two questions itself. Everything else goes to a worker, untouched: the bytes are only peeked at.

use std::{net::TcpStream as StdStream, sync::Arc, time::Duration};

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
pub const MAX_LOBBY: usize = 1_024;
/// How long one that says nothing may stand there.
const WAIT: Duration = Duration::from_secs(1);
/// How long a question about health may take from its first byte to the end of its answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Bytes of the head of a question about health.
const MAX_HEAD: usize = 4_096;
/// Bytes that are peeked at: as many as the longest question has.
const PEEKED: usize = 16;

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

/// Looks at what a connection wants: answers it, or gives it back.
async fn receive(stream: TcpStream, desk: &HealthDesk) -> Option<StdStream> {
    let mut first = [0; PEEKED];
    let peeked = timeout(WAIT, stream.peek(&mut first)).await;
    let question = match peeked {
        Ok(Ok(0) | Err(_)) => return None,
        Ok(Ok(bytes)) => Question::of(&first[..bytes]),
        Err(_) => None,
    };
    match question {
        None => stream.into_std().ok(),
        Some(question) => {
            let _ = timeout(ANSWER, answer(stream, question, desk)).await;
            None
        }
    }
}

async fn answer(mut stream: TcpStream, question: Question, desk: &HealthDesk) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, text) = desk.health.answer(question, &desk.published);
    stream.write_all(written(status, text).as_bytes()).await?;
    stream.shutdown().await?;
    // Until the client has read it and goes; closing with something unread would reset the connection.
    while stream.read(&mut [0; PEEKED]).await? > 0 {}
    Ok(())
}

fn written(status: StatusCode, text: &str) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        status.as_u16(),
        text.len()
    )
}
