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
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) public: TcpListener,
    pub(super) admin: TcpListener,
    /// Whether a supervisor has the public one, too, and passes it to whomever it starts next.
    pub(super) supervised: bool,
}

impl Sockets {
    /// The same once more.
    ///
    /// # Errors
    /// The operating system's, if there is no descriptor to be had.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        let Self { public, admin, supervised } = self;
        Ok(Self { public: public.try_clone()?, admin: admin.try_clone()?, supervised: *supervised })
    }
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
    /// The process that is succeeded listens elsewhere than is configured: nobody would be served there.
    #[error(
        "{setting} names {named}, and the process that is to be succeeded listens on {held}; to change it, stop that process \
         and start anew"
    )]
    Elsewhere {
        /// The setting.
        setting: &'static str,
        /// What it says.
        named: SocketAddr,
        /// Where the socket listens that would be handed over.
        held: SocketAddr,
    },
    /// What was passed in is no listening TCP socket.
    #[error("the socket that was passed in cannot be used: {0}")]
    Passed(io::Error),
}

/// The sockets that `config` names. Those that were passed in stand before them: `handed_over` by the process that this one
/// succeeds, or by a supervisor (`LISTEN_FDS`, systemd's socket activation), the first as the public one, the second as the
/// admin's. What the configuration may not open, nobody may open in its place: the rules on addresses are held to what the
/// sockets really listen on.
pub(super) fn sockets(config: &Config, handed_over: Option<Sockets>) -> Result<Sockets, ListenError> {
    let found = match handed_over {
        Some(sockets) => {
            compare(config, &sockets)?;
            sockets
        }
        None => activated(config)?,
    };
    check(config, &found)?;
    Ok(found)
}

/// The sockets that a supervisor has passed in, and those that `config` names.
fn activated(config: &Config) -> Result<Sockets, ListenError> {
    let mut passed = ListenFd::from_env();
    let supervised = passed.len() > 0;
    let mut socket = |place: usize, setting: &'static str, address: SocketAddr| {
        let given = if place < passed.len() { passed.take_tcp_listener(place) } else { Ok(None) };
        match given.map_err(ListenError::Passed)? {
            Some(listener) => Ok(listener),
            None => bind(address).map_err(|source| ListenError::Bind { address, setting, source }),
        }
    };
    let public = socket(0, "server.listen", config.server.listen)?;
    let admin = socket(1, "admin.listen", config.admin.listen)?;
    Ok(Sockets { public, admin, supervised })
}

/// Whether sockets that were handed over listen where `config` says. Where a supervisor has the public one, it decides.
fn compare(config: &Config, Sockets { public, admin, supervised }: &Sockets) -> Result<(), ListenError> {
    for (socket, setting, named) in
        [(public, "server.listen", config.server.listen), (admin, "admin.listen", config.admin.listen)]
    {
        let held = socket.local_addr().map_err(ListenError::Passed)?;
        // Port 0 is any.
        let is_named = named == held || (named.port() == 0 && named.ip() == held.ip());
        match (is_named, supervised) {
            (true, _) => {}
            (false, false) => return Err(ListenError::Elsewhere { setting, named, held }),
            (false, true) => {
                tracing::info!(setting, %named, %held, "the socket that was passed in stands before the setting");
            }
        }
    }
    Ok(())
}

/// Whether `config` allows what the sockets open.
fn check(config: &Config, Sockets { public, admin, .. }: &Sockets) -> Result<(), ListenError> {
    let address = public.local_addr().map_err(ListenError::Passed)?;
    if !is_loopback(address) && config.all_keys().next().is_none() {
        return Err(ListenError::NoKey { address });
    }
    let address = admin.local_addr().map_err(ListenError::Passed)?;
    if !is_loopback(address) && config.admin.token.is_empty() {
        return Err(ListenError::NoToken { address });
    }
    Ok(())
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the last process's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    Ok(socket.into())
}
