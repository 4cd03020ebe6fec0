//! Connections that were refused, kept for a moment so that their clients can read why.
//!
//! Closing a connection with its request unread would reset it, and on many systems a reset takes with it what the
//! client has not read yet: the answer. So a refused client is told at once and closed later, behind whatever it sent
//! until then. Nothing here waits: what has not come is not read.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

/// How long a refused connection is kept.
const PARTING: Duration = Duration::from_secs(1);
/// How many such connections there may be, beside those that are let in; beyond that the oldest is closed earlier.
pub const MAX_PARTING: usize = 256;
/// How much is thrown away at a time, in bytes, and how many times when a connection is looked at: 64 KiB in all.
const DISCARD_BYTES: usize = 8 * 1024;
const DISCARDS: usize = 8;

/// A refused connection. What came over it is thrown away before it is closed.
#[derive(Debug)]
pub(super) struct Leaving {
    since: Instant,
    stream: TcpStream,
}

impl Leaving {
    /// Tells `words` on `stream`, which must not block, and that nothing will follow.
    pub(super) fn tell(mut stream: TcpStream, words: &[u8]) -> Self {
        // Its buffer is empty: a few hundred bytes fit.
        let _ = stream.write_all(words);
        let _ = stream.shutdown(Shutdown::Write);
        Self { since: Instant::now(), stream }
    }

    /// Throws away what has come: whether the client has closed its side.
    fn discard(&mut self) -> bool {
        let mut buffer = [0; DISCARD_BYTES];
        for _ in 0..DISCARDS {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.discard();
    }
}

/// The connections that were refused last.
#[derive(Debug, Default)]
pub(super) struct Parting(VecDeque<Leaving>);

impl Parting {
    /// Keeps `leaving` until [`Self::tidy`] finds that it was long enough.
    pub(super) fn keep(&mut self, leaving: Leaving) {
        self.0.push_back(leaving);
        if self.0.len() > MAX_PARTING {
            self.0.pop_front();
        }
    }

    /// Closes the connections that were kept for long enough, and those whose clients have gone. To be called some times
    /// a second.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.0.retain_mut(|leaving| now.saturating_duration_since(leaving.since) < PARTING && !leaving.discard());
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread::sleep};

    use super::*;

    /// A client, and the server's end of its connection.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, server)
    }

    #[test]
    fn a_client_reads_the_answer_though_its_request_was_never_read() {
        let (mut client, server) = pair();
        client.write_all(&vec![b'x'; 40_000]).unwrap();
        let mut peeked = [0];
        while server.peek(&mut peeked).is_err() {}
        drop(Leaving::tell(server, b"no place"));
        let mut told = [0; 8];
        client.read_exact(&mut told).unwrap();
        assert_eq!((&told, client.read(&mut [0]).unwrap()), (b"no place", 0));
        sleep(Duration::from_millis(50));
        assert!(client.take_error().unwrap().is_none(), "it was reset");
    }

    #[test]
    fn the_refused_are_kept_for_a_moment_and_no_more_than_there_may_be() {
        let (client, server) = pair();
        let mut parting = Parting::default();
        let leave = |parting: &mut Parting| parting.keep(Leaving::tell(server.try_clone().unwrap(), b""));
        leave(&mut parting);
        let now = Instant::now();
        parting.tidy(now);
        assert_eq!(parting.0.len(), 1);
        parting.tidy(now + PARTING);
        assert_eq!(parting.0.len(), 0, "it was long enough");
        (0..=MAX_PARTING).for_each(|_| leave(&mut parting));
        assert_eq!(parting.0.len(), MAX_PARTING);
        drop(client);
        sleep(Duration::from_millis(50));
        parting.tidy(now);
        assert_eq!(parting.0.len(), 0, "the client has gone");
    }
}
