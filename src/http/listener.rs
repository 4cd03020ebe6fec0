//! A listening socket whose failures are waited out.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    time::Duration,
};

use ::metrics::Counter;
use tokio::time::sleep;

/// How long to wait after accepting failed, because descriptors or memory have run out: the connection stays in the
/// socket's queue, and asking again at once would only keep a core busy.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    socket: tokio::net::TcpListener,
    /// Failed attempts, of both ports.
    errors: Counter,
    /// A descriptor of no use but that it can be given up: when there is no other, a connection can still be accepted
    /// and told so, instead of hanging in the socket's queue until its client gives up.
    spare: Option<UnixDatagram>,
}

impl Listener {
    /// The socket `listener`, which must not block, on the current runtime.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn new(listener: TcpListener, errors: Counter) -> io::Result<Self> {
        Ok(Self { socket: tokio::net::TcpListener::from_std(listener)?, errors, spare: spare() })
    }

    /// The next connection, however long it takes; one for which there is no descriptor is sent away with what `last_words`
    /// says. No connection is lost if this is dropped before it is ready.
    pub(super) async fn accept(&mut self, last_words: impl Fn() -> Vec<u8>) -> TcpStream {
        let mut told = false;
        loop {
            match self.socket.accept().await.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => return stream,
                // The client was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.errors.increment(1);
                    // Once until it works again: fifty lines a second would hide everything else.
                    if !told {
                        tracing::warn!(%error, "a connection could not be accepted");
                        told = true;
                    }
                    self.send_one_away(&last_words);
                    sleep(ACCEPT_BACKOFF).await;
                    self.spare = self.spare.take().or_else(spare);
                }
            }
        }
    }

    /// Gives the spare descriptor up for the time that it takes to tell one client to come back.
    fn send_one_away(&mut self, last_words: &impl Fn() -> Vec<u8>) {
        if self.spare.take().is_none() {
            return;
        }
        let accepted = rustix::net::acceptfrom(&self.socket);
        if let Ok((descriptor, _)) = accepted {
            let mut stream = TcpStream::from(descriptor);
            if stream.set_nonblocking(true).is_ok() {
                let _ = stream.write_all(&last_words());
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }
}

fn spare() -> Option<UnixDatagram> {
    UnixDatagram::unbound().ok()
}
