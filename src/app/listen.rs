//! The listening sockets: passed in, or made.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Config;

/// How many connections may wait to be accepted: what Linux allows by default (net.core.somaxconn).
const BACKLOG: i32 = 4_096;

/// The sockets of both ports.
pub(super) struct Sockets {
    pub(super) public: TcpListener,
    pub(super) admin: TcpListener,
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket cannot be made.
    #[error("cannot listen on {address} ({setting}): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The setting that says so.
        setting: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// What was passed in is no listening TCP socket.
    #[error("the socket that was passed in cannot be used: {0}")]
    Passed(io::Error),
}

/// The sockets that `config` names; those that were passed in (`LISTEN_FDS`, systemd's socket activation) stand before
/// them: the first is the public one, the second the admin's.
pub(super) fn sockets(config: &Config) -> Result<Sockets, ListenError> {
    let mut passed = ListenFd::from_env();
    let mut socket = |place: usize, setting: &'static str, address: SocketAddr| {
        let given = if place < passed.len() { passed.take_tcp_listener(place) } else { Ok(None) };
        match given.map_err(ListenError::Passed)? {
            Some(listener) => Ok(listener),
            None => bind(address).map_err(|source| ListenError::Bind { address, setting, source }),
        }
    };
    Ok(Sockets {
        public: socket(0, "server.listen", config.server.listen)?,
        admin: socket(1, "admin.listen", config.admin.listen)?,
    })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last process's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
