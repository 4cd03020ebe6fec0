//! One connection: hyper's HTTP/1.1, with deadlines of our own around it.
//!
//! hyper's own header time-out also runs while a kept-alive connection is idle, so it cannot be shorter than a load
//! balancer's idle time-out (60 s). Here the two are told apart by watching when bytes come: a connection is idle
//! until a request's first byte, and from then on its head has a deadline. The clock is looked at a few times in the
//! shorter of the two, not for every request; a deadline is met that much late at the most.
//!
//! # When the instance drains
//!
//! Every answer says that the connection is closed behind it. Once no worker is to have connections any more:
//!
//! - a request that is under way, be it by one byte, is answered;
//! - a connection that is kept and idle is closed, unless something has come that was only not read yet. Who sends just
//!   while it is closed has sent in vain, and is told nothing: HTTP/1.1 has no word for it. That is as long as a packet is
//!   on its way;
//! - one that was made a moment ago and has not said anything yet is waited for, for [`FIRST_BYTE`].

use std::{
    cell::Cell,
    io,
    net::TcpStream,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, header::CONNECTION};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustix::{io::Errno, net::RecvFlags};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{Health, Hints, Problem, respond::Answer, strain::Strain};
use crate::metrics::{self, Metrics};

/// How often in the shorter time-out the clock is looked at.
const LOOKS: u32 = 4;
/// How long a new connection may take to say something before it is closed in a drain: more than a first packet is late.
const FIRST_BYTE: Duration = Duration::from_millis(250);
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
    health: Option<Arc<Health>>,
    begun: Cell<bool>,
    notify: Notify,
}

impl Draining {
    /// Of an instance whose `health` tells whether connections are closed behind their next answer.
    pub(super) fn new(health: Arc<Health>) -> Self {
        Self { health: Some(health), ..Self::default() }
    }

    /// Whether every answer closes its connection.
    fn closes(&self) -> bool {
        self.health.as_ref().is_some_and(|health| health.draining())
    }

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
    /// It was made, and no byte has ever come.
    New(Instant),
    /// A request was answered, and no byte of another one has come.
    Idle(Instant),
    /// A request's head is coming.
    Head(Instant),
    /// A request is being served; its body has a deadline of its own.
    Request,
}

impl Phase {
    /// Whether a connection that is in it may be closed at `now`, if nothing has come meanwhile.
    fn may_end(self, now: Instant) -> bool {
        match self {
            Self::New(since) => now >= since + FIRST_BYTE,
            Self::Idle(_) => true,
            Self::Head(_) | Self::Request => false,
        }
    }
}

/// What is known of a connection, by all that have to do with it.
struct Course {
    phase: Cell<Phase>,
    /// Whether it is to end as soon as it is idle.
    ending: Cell<bool>,
}

/// A socket that notes when a request begins, and that ends when it is idle and is to.
struct Watched<'s> {
    socket: TokioIo<tokio::net::TcpStream>,
    course: Rc<Course>,
    strain: &'s Strain,
}

impl Watched<'_> {
    /// Whether nothing has come that was not read: the kernel is asked, since the runtime may not have heard of it yet.
    fn is_silent(&self) -> bool {
        let peeked = rustix::net::recv(self.socket.inner(), &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !matches!(peeked, Ok((1.., _)) | Err(Errno::INTR))
    }
}

impl Read for Watched<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        let phase = self.course.phase.get();
        match &read {
            Poll::Ready(Ok(())) if matches!(phase, Phase::New(_) | Phase::Idle(_)) => {
                self.course.phase.set(Phase::Head(self.strain.now()));
            }
            // As if the client had closed its side.
            Poll::Pending if self.course.ending.get() && phase.may_end(Instant::now()) && self.is_silent() => {
                return Poll::Ready(Ok(()));
            }
            _ => {}
        }
        read
    }
}

impl Write for Watched<'_> {
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
    let course = Rc::new(Course { phase: Cell::new(Phase::New(Instant::now())), ending: Cell::new(false) });
    let unread = Cell::new(false);
    let service = service_fn(|request| {
        course.phase.set(Phase::Request);
        let (answer, phase, unread) = (answer(request), &course.phase, &unread);
        async move {
            let mut response = answer.await;
            unread.set(response.headers().contains_key(CONNECTION));
            if draining.closes() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // Writing the answer counts as idle time: a client that does not read it is cut like one that is silent.
            phase.set(Phase::Idle(strain.now()));
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let io = Watched { socket: TokioIo::new(socket), course: Rc::clone(&course), strain };
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
                // What follows is polling it again, which reads.
                course.ending.set(true);
                next_look.as_mut().reset(Instant::now() + FIRST_BYTE);
            }
            () = &mut next_look => {
                let now = Instant::now();
                match course.phase.get() {
                    Phase::New(since) | Phase::Idle(since) if now - since >= limits.idle_timeout => break "idle",
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

#[cfg(test)]
mod tests;
