//! Reading a request's body: with memory that was reserved, under a deadline that moves with a minimum rate.

use std::{
    error::Error,
    io::{self, ErrorKind},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::admission::{Exhausted, Reservation, STEP_BYTES};

/// How much of a refused request's body is read and thrown away, so that its connection can be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    /// Bytes.
    pub(super) bytes: u64,
    /// How long they may take.
    pub(super) time: Duration,
}

impl Rest {
    /// Where the client stands at the other end: up to here that is cheaper than a new connection.
    pub(super) const DIRECT: Self = Self { bytes: 64 * 1024, time: Duration::from_millis(250) };
}

/// How slowly a body may come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The time that any body may take.
    pub grace: Duration,
    /// The bytes a second that it must make beyond that.
    pub min_rate: u64,
}

/// A body that was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFailure {
    /// There is no memory for more of it.
    NoRoom,
    /// It is longer than it may be.
    TooLarge { limit: usize },
    /// It came too slowly.
    TooSlow,
    /// Its framing is broken.
    Broken,
    /// The client went away before its end.
    Gone,
}

impl From<Exhausted> for BodyFailure {
    fn from(_: Exhausted) -> Self {
        Self::NoRoom
    }
}

impl From<&hyper::Error> for BodyFailure {
    /// hyper tells what it could not read by an error of `std::io`; whatever else goes wrong is the connection's end.
    fn from(error: &hyper::Error) -> Self {
        let kind = error.source().and_then(|source| source.downcast_ref()).map(io::Error::kind);
        match kind {
            Some(ErrorKind::InvalidInput | ErrorKind::InvalidData) => Self::Broken,
            _ => Self::Gone,
        }
    }
}

/// A body as it came.
pub(super) enum RawBody {
    /// In one piece, which is not copied.
    One(Bytes),
    /// Put together from several.
    Many(Vec<u8>),
}

impl RawBody {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes,
        }
    }
}

/// Reads `incoming`, of at most `limit` bytes. `reservation` holds what its Content-Length says, or grows with it.
pub(super) async fn read(
    incoming: &mut Incoming,
    limit: usize,
    pace: Pace,
    reservation: &mut Reservation,
) -> Result<RawBody, BodyFailure> {
    let expected = incoming.size_hint().exact().and_then(|len| usize::try_from(len).ok());
    let mut deadline = Deadline::new(pace);
    let Some(first) = deadline.next_data(incoming).await? else { return Ok(RawBody::One(Bytes::new())) };
    if incoming.is_end_stream() || expected == Some(first.len()) {
        return if first.len() > limit { Err(BodyFailure::TooLarge { limit }) } else { Ok(RawBody::One(first)) };
    }
    let mut body = Vec::new();
    body.reserve_exact(expected.unwrap_or(STEP_BYTES).min(limit));
    let mut next = Some(first);
    while let Some(data) = next {
        let len = body.len() + data.len();
        if len > limit {
            return Err(BodyFailure::TooLarge { limit });
        }
        if len > body.capacity() {
            let step = STEP_BYTES.max(data.len());
            reservation.grow(step)?;
            body.reserve_exact(body.capacity() + step - body.len());
        }
        body.extend_from_slice(&data);
        deadline.received = body.len() as u64;
        next = deadline.next_data(incoming).await?;
    }
    Ok(RawBody::Many(body))
}

/// When the next piece of a body must have come. A timer is set only if it has not come already.
struct Deadline {
    pace: Pace,
    start: Option<Instant>,
    received: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(pace: Pace) -> Self {
        Self { pace, start: None, received: 0, timer: None }
    }

    /// The next piece that is not empty; `None` at the end.
    async fn next_data(&mut self, incoming: &mut Incoming) -> Result<Option<Bytes>, BodyFailure> {
        loop {
            let frame = std::future::poll_fn(|context| {
                if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(context) {
                    return Poll::Ready(Ok(frame));
                }
                let timer = self.timer();
                timer.as_mut().poll(context).map(|()| Err(BodyFailure::TooSlow))
            });
            match frame.await?.map(|frame| frame.map(Frame::into_data)) {
                None => return Ok(None),
                Some(Ok(Ok(data))) if !data.is_empty() => return Ok(Some(data)),
                // Trailers, which nobody asked for, and empty pieces.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(BodyFailure::from(&error)),
            }
        }
    }

    fn timer(&mut self) -> &mut Pin<Box<Sleep>> {
        let start = *self.start.get_or_insert_with(Instant::now);
        let earned = Duration::from_secs_f64(self.received as f64 / self.pace.min_rate.max(1) as f64);
        let at = start + self.pace.grace + earned;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer
    }
}

/// Reads what is left of a refused request's body and throws it away, if that is no more than
/// `rest` says, so that the connection can be kept. Whether nothing is left; otherwise the connection must be closed behind the answer.
pub(super) async fn drain(incoming: &mut Incoming, rest: Rest) -> bool {
    if incoming.is_end_stream() {
        return true;
    }
    let mut most = rest.bytes;
    if incoming.size_hint().exact().is_some_and(|left| left > most) {
        return false;
    }
    let all = async {
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return false };
            let len = frame.data_ref().map_or(0, Bytes::len) as u64;
            let Some(left) = most.checked_sub(len) else { return false };
            most = left;
        }
        true
    };
    timeout(rest.time, all).await.unwrap_or(false)
}
