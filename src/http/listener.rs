//! A listening socket whose failures are waited out.

use std::{
    io,
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    time::Duration,
};

use ::metrics::Counter;
use tokio::time::{Instant, sleep_until};

use super::leaving::Leaving;

/// How long to wait after accepting failed, because descriptors or memory have run out: the connection stays in the
/// socket's queue, and asking again at once would only keep a core busy.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);
/// At most so often a failure is told in the log: fifty lines a second would hide everything else.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    socket: tokio::net::TcpListener,
    /// Failed attempts, of both ports.
    errors: Counter,
    /// A descriptor of no use but that it can be given up: when there is no other, a connection can still be accepted
    /// and told so, instead of hanging in the socket's queue until its client gives up.
    spare: Option<UnixDatagram>,
    /// Where a spare descriptor is had from; `None` if there is none.
    take_spare: fn() -> Option<UnixDatagram>,
    /// The connection that has the spare descriptor's place, until the back-off ends.
    leaving: Option<Leaving>,
    /// When the back-off ends.
    resting: Option<Instant>,
    /// When a failure was last told in the log.
    told: Option<Instant>,
}

impl Listener {
    /// The socket `listener`, which must not block, on the current runtime.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn new(listener: TcpListener, errors: Counter) -> io::Result<Self> {
        let socket = tokio::net::TcpListener::from_std(listener)?;
        Ok(Self { socket, errors, spare: spare(), take_spare: spare, leaving: None, resting: None, told: None })
    }

    /// The next connection, however long it takes; one for which there is no descriptor is sent away with what `last_words`
    /// says. Nothing is lost if this is dropped before it is ready: no connection, and no step of a back-off.
    pub(super) async fn accept(&mut self, last_words: impl Fn() -> Vec<u8>) -> TcpStream {
        loop {
            if let Some(until) = self.resting {
                sleep_until(until).await;
                self.resting = None;
                // In this order, so that the one can have the other's descriptor.
                self.leaving = None;
                self.spare = self.spare.take().or_else(self.take_spare);
            }
            match self.socket.accept().await.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => {
                    self.spare = self.spare.take().or_else(self.take_spare);
                    if self.spare.is_some() {
                        return stream;
                    }
                    // Something else has taken the spare descriptor's place, and this connection the last one there was:
                    // were it served, the next ones would hang.
                    self.send_away(stream, &last_words);
                }
                // The client was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => self.fail(&error, &last_words),
            }
        }
    }

    /// Notes `error`, sends one client away, and begins to rest.
    fn fail(&mut self, error: &io::Error, last_words: &impl Fn() -> Vec<u8>) {
        self.errors.increment(1);
        if self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%error, "a connection could not be accepted");
        }
        self.resting = Some(Instant::now() + ACCEPT_BACKOFF);
        if let Some(stream) = self.accept_by_the_spare() {
            self.send_away(stream, last_words);
        }
    }

    /// Gives the spare descriptor up for one connection.
    fn accept_by_the_spare(&mut self) -> Option<TcpStream> {
        drop(self.spare.take()?);
        let (descriptor, _) = rustix::net::acceptfrom(&self.socket).ok()?;
        let stream = TcpStream::from(descriptor);
        stream.set_nonblocking(true).ok()?;
        Some(stream)
    }

    /// Tells a client to come back, and begins to rest: then its descriptor becomes the spare one.
    fn send_away(&mut self, stream: TcpStream, last_words: &impl Fn() -> Vec<u8>) {
        self.leaving = Some(Leaving::tell(stream, &last_words()));
        self.resting = Some(Instant::now() + ACCEPT_BACKOFF);
    }
}

fn spare() -> Option<UnixDatagram> {
    UnixDatagram::unbound().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// How often there is no descriptor left.
    static MISSING: AtomicUsize = AtomicUsize::new(1);

    /// Something else has opened a file in the place of the spare one, just as a connection took the last.
    #[tokio::test]
    async fn a_connection_that_takes_the_last_descriptor_is_sent_away_and_the_next_one_is_served() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let mut listener = Listener::new(socket, Counter::noop()).unwrap();
        listener.spare = None;
        listener.take_spare = || {
            let missing =
                MISSING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            if missing { None } else { spare() }
        };
        let [mut first, second] = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        let served = listener.accept(|| b"come back".to_vec()).await;
        assert_eq!(served.peer_addr().unwrap(), second.local_addr().unwrap());
        let mut told = [0; 9];
        first.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        first.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"come back");
        assert!(listener.spare.is_some());
    }
}
