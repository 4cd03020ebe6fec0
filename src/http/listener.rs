//! A listening socket whose failures are waited out.

use std::{
    io,
    net::{TcpListener, TcpStream},
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
}

impl Listener {
    /// The socket `listener`, which must not block, on the current runtime.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn new(listener: TcpListener, errors: Counter) -> io::Result<Self> {
        Ok(Self { socket: tokio::net::TcpListener::from_std(listener)?, errors })
    }

    /// The next connection, however long it takes. No connection is lost if this is dropped before it is ready.
    pub(super) async fn accept(&self) -> TcpStream {
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
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}
