//! The listening sockets: passed in, or made.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    config::{Config, is_loopback},
    http::BACKLOG,
};

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
    /// The public socket that was passed in can be reached from elsewhere, and nobody needs a key.
    #[error(
        "the public socket that was passed in listens on {address}, which others can reach, and there is no key; add a \
         [[keys]] section, or let the supervisor listen on 127.0.0.1"
    )]
    NoKey {
        /// Its address.
        address: SocketAddr,
    },
    /// The admin socket that was passed in can be reached from elsewhere, and nobody needs a token.
    #[error(
        "the admin socket that was passed in listens on {address}, which is not a loopback address, and admin.token is \
         empty; set LOGWEIR__ADMIN__TOKEN, or let the supervisor listen on 127.0.0.1"
    )]
    NoToken {
        /// Its address.
        address: SocketAddr,
    },
    /// What was passed in is no listening TCP socket.
    #[error("the socket that was passed in cannot be used: {0}")]
    Passed(io::Error),
}

/// The sockets that `config` names; those that were passed in (`LISTEN_FDS`, systemd's socket activation) stand before
/// them: the first is the public one, the second the admin's. What the configuration may not open, a supervisor may
/// not open in its place: the rules on addresses are held to what the sockets really listen on.
pub(super) fn sockets(config: &Config) -> Result<Sockets, ListenError> {
    let mut passed = ListenFd::from_env();
    let mut socket = |place: usize, setting: &'static str, address: SocketAddr| {
        let given = if place < passed.len() { passed.take_tcp_listener(place) } else { Ok(None) };
        match given.map_err(ListenError::Passed)? {
            Some(listener) => Ok(listener),
            None => bind(address).map_err(|source| ListenError::Bind { address, setting, source }),
        }
    };
    let public = socket(0, "server.listen", config.server.listen)?;
    let admin = socket(1, "admin.listen", config.admin.listen)?;
    let address = public.local_addr().map_err(ListenError::Passed)?;
    if !is_loopback(address) && config.all_keys().next().is_none() {
        return Err(ListenError::NoKey { address });
    }
    let address = admin.local_addr().map_err(ListenError::Passed)?;
    if !is_loopback(address) && config.admin.token.is_empty() {
        return Err(ListenError::NoToken { address });
    }
    Ok(Sockets { public, admin })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last process's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    Ok(socket.into())
}
