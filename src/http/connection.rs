//! One connection: hyper's HTTP/1.1, with deadlines of our own around it.
//!
//! hyper's own header time-out also runs while a kept-alive connection is idle, so it cannot be shorter than a load
//! balancer's idle time-out (60 s). Here the two are told apart by watching when bytes come: a connection is idle
//! until a request's first byte, and from then on its head has a deadline. The clock is looked at a few times in the
//! shorter of the two, not for every request; a deadline is met that much late at the most.

use std::{
    cell::Cell,
    io,
    net::TcpStream,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, header::CONNECTION};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{Hints, Problem, respond::Answer, strain::Strain};
use crate::metrics::{self, Metrics};

/// How often in the shorter time-out the clock is looked at.
const LOOKS: u32 = 4;
/// How long the last answer of a connection that is cut may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long what a client still sends is thrown away after its last answer.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it, in bytes.
const LINGER_BYTES: usize = 1024 * 1024;
/// How much of it at a time, in bytes: no more than the connection buffered while it was served.
const DISCARD_BYTES: usize = 8 * 1024;
/// Why connections are cut.
const CUT: [&str; 4] = ["idle", "head", "malformed_head", "head_too_large"];

/// Has the metrics of connections that are cut shown before the first of them.
pub(super) fn register_cuts(metrics: &Metrics) {
    for cause in CUT {
        let _ = metrics.counter(&metrics::CONNECTIONS_CUT, &[cause]);
    }
}

/// What a connection may do.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// How many there may be, on all workers together.
    pub most: usize,
    /// Bytes of a request's head, and of anything else that one connection buffers.
    pub head_bytes: usize,
    /// From a request's first byte to the end of its head.
    pub head_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
}

/// Tells every connection of a worker to finish.
#[derive(Debug, Default)]
pub(super) struct Draining {
    begun: Cell<bool>,
    notify: Notify,
}

impl Draining {
    pub(super) fn begin(&self) {
        self.begun.set(true);
        self.notify.notify_waiters();
    }

    async fn wait(&self) {
        let mut notified = pin!(self.notify.notified());
        notified.as_mut().enable();
        if !self.begun.get() {
            notified.await;
        }
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No byte of a request has come.
    Idle(Instant),
    /// A request's head is coming.
    Head(Instant),
    /// A request is being served; its body has a deadline of its own.
    Request,
}

/// A socket that notes when a request begins.
struct Watched {
    socket: TokioIo<tokio::net::TcpStream>,
    phase: Rc<Cell<Phase>>,
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if let (Poll::Ready(Ok(())), Phase::Idle(_)) = (&read, self.phase.get()) {
            self.phase.set(Phase::Head(Instant::now()));
        }
        read
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, parts)
    }
}

/// Serves the connection `stream` with `answer` until it ends, is cut, or has drained. What it costs to refuse is noted
/// in `strain`.
pub(super) async fn serve<F>(
    stream: TcpStream,
    answer: impl Fn(Request<Incoming>) -> F,
    limits: &ConnectionLimits,
    draining: &Draining,
    (strain, metrics): (&Strain, &Metrics),
) where
    F: Future<Output = Answer>,
{
    let socket = match tokio::net::TcpStream::from_std(stream) {
        Ok(socket) => socket,
        Err(error) => return tracing::debug!(%error, "a connection could not be taken up"),
    };
    // Answers are small and whole: waiting for more to send would only delay them.
    let _ = socket.set_nodelay(true);
    let phase = Rc::new(Cell::new(Phase::Idle(Instant::now())));
    let unread = Cell::new(false);
    let service = service_fn(|request| {
        phase.set(Phase::Request);
        let (answer, phase, unread) = (answer(request), &phase, &unread);
        async move {
            let response = answer.await;
            unread.set(response.headers().contains_key(CONNECTION));
            // Writing the answer counts as idle time: a client that does not read it is cut like one that is silent.
            phase.set(Phase::Idle(Instant::now()));
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let io = Watched { socket: TokioIo::new(socket), phase: Rc::clone(&phase) };
    let mut connection = http1::Builder::new()
        .half_close(true)
        .max_buf_size(limits.head_bytes)
        .header_read_timeout(None)
        .serve_connection(io, service);
    let look = limits.head_timeout.min(limits.idle_timeout) / LOOKS;
    let mut next_look = pin!(sleep_until(Instant::now() + look));
    let mut drained = pin!(draining.wait());
    let mut told = false;
    let cut = loop {
        tokio::select! {
            biased;
            ended = strain.time(&mut connection) => {
                if let Err(error) = &ended {
                    tracing::debug!(%error, "a connection ended with an error");
                    if let Some(cause) = broken_head(error) {
                        metrics.counter(&metrics::CONNECTIONS_CUT, &[cause]).increment(1);
                    }
                }
                if unread.get() || ended.is_err() {
                    discard(connection.into_parts().io.socket.into_inner()).await;
                }
                return;
            }
            () = &mut drained, if !told => {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = &mut next_look => {
                let now = Instant::now();
                match phase.get() {
                    Phase::Idle(since) if now - since >= limits.idle_timeout => break "idle",
                    Phase::Head(since) if now - since >= limits.head_timeout => break "head",
                    _ => next_look.as_mut().reset(now + look),
                }
            }
        }
    };
    metrics.counter(&metrics::CONNECTIONS_CUT, &[cut]).increment(1);
    let mut socket = connection.into_parts().io.socket.into_inner();
    if cut == "head" {
        let _ = timeout(LAST_WORDS, async {
            socket.write_all(&Problem::TooSlow.last_words(&Hints::default())).await?;
            socket.shutdown().await
        })
        .await;
    }
}

/// What was wrong with a head that hyper could not read. It has answered 400 or 431 (nothing to the preface of HTTP/2),
/// and closes the connection.
fn broken_head(error: &hyper::Error) -> Option<&'static str> {
    match (error.is_parse_too_large(), error.is_parse()) {
        (true, _) => Some("head_too_large"),
        (false, true) => Some("malformed_head"),
        (false, false) => None,
    }
}

/// Throws away what still comes over `socket`, which says already that nothing more will be answered.
///
/// Closing it with unread bytes in it would reset the connection, and on many systems a reset takes with it what the
/// client has not read yet: the answer.
async fn discard(mut socket: tokio::net::TcpStream) {
    let _ = timeout(LINGER, async {
        // Not within the future, which every open connection holds.
        let mut buffer = vec![0; DISCARD_BYTES];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match socket.read(&mut buffer).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, io::Error>(())
    })
    .await;
}
