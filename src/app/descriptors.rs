//! Descriptors: how many files and sockets the process may have open, and how many connections that leaves.
//!
//! Many systems start a process with a soft limit of 1024, which fewer connections than the default allows would use
//! up: then a port accepts nobody, and a segment or an object that must be opened cannot be. So the limit is raised as
//! far as the process may, what everything else needs is set aside, and connections get the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ADMIN_CONNECTIONS;
use crate::{
    config::Config,
    http::{MAX_LOBBY, MAX_PARTING},
};

/// What is open once whatever the configuration says: the standard streams, both listening sockets, the spool's files
/// and directories, the background's runtime and signals; and as many again for what libraries open for a moment.
const BASE_DESCRIPTORS: u64 = 64;
/// A worker's: its runtime's epoll and its wakers.
const WORKER_DESCRIPTORS: u64 = 4;
/// A sink's: its runtime's epoll and its wakers, its cursor, the segment that it reads.
const SINK_DESCRIPTORS: u64 = 6;
/// An upload's: the segment, the object or the connection to the store, a directory to sync, a name to look up.
const UPLOAD_DESCRIPTORS: u64 = 4;
/// With fewer connections than this an instance is of no use behind a load balancer: not to start is better than to seem
/// well. Where `server.max_connections` is less, that is enough.
const MIN_CONNECTIONS: u64 = 64;

/// The limit of open files is far too low to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the limit of open files (RLIMIT_NOFILE) is {limit}, and this configuration needs {needed} at least; raise it with \
     LimitNOFILE= in the systemd unit, --ulimit nofile= of the container, or `ulimit -n`"
)]
pub struct TooFewDescriptors {
    /// The limit.
    pub limit: u64,
    /// What is needed for everything else and for the fewest connections that are of use.
    pub needed: u64,
}

/// Raises the soft limit of open files to the hard one: what the limit is then, `u64::MAX` if there is none.
pub(super) fn raise() -> u64 {
    let found = getrlimit(Resource::Nofile);
    if found.current != found.maximum {
        let wanted = Rlimit { current: found.maximum, maximum: found.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections of `server.max_connections` may be let in with `limit` open files.
///
/// # Errors
/// [`TooFewDescriptors`] if they are too few to serve.
pub(super) fn connections(config: &Config, limit: u64) -> Result<usize, TooFewDescriptors> {
    let (wanted, reserve) = (config.server.max_connections as u64, reserve(config));
    let left = limit.saturating_sub(reserve);
    if left >= wanted {
        return Ok(config.server.max_connections);
    }
    if left < MIN_CONNECTIONS.min(wanted) {
        return Err(TooFewDescriptors { limit, needed: reserve + MIN_CONNECTIONS.min(wanted) });
    }
    tracing::warn!(
        connections = left,
        max_connections = wanted,
        limit,
        reserve,
        "fewer connections are let in than max_connections says, for want of open files"
    );
    Ok(left as usize)
}

/// What is set aside for everything but connections of devices.
fn reserve(config: &Config) -> u64 {
    let uploads: u64 = config.sinks.iter().map(|sink| sink.in_flight() as u64).sum();
    BASE_DESCRIPTORS
        + config.workers() as u64 * WORKER_DESCRIPTORS
        + config.sinks.len() as u64 * SINK_DESCRIPTORS
        + uploads * UPLOAD_DESCRIPTORS
        + (ADMIN_CONNECTIONS + MAX_PARTING + MAX_LOBBY) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_everything_else_leaves() {
        let mut config = Config::default();
        let reserve = reserve(&config);
        let let_in = |config: &Config, limit| connections(config, limit).map_err(|refused| refused.needed);
        assert_eq!(let_in(&config, u64::MAX), Ok(8_192));
        assert_eq!(let_in(&config, 8_192 + reserve), Ok(8_192));
        assert_eq!(let_in(&config, 8_191 + reserve), Ok(8_191));
        assert_eq!(let_in(&config, 64 + reserve), Ok(64));
        assert_eq!(let_in(&config, 63 + reserve), Err(64 + reserve));
        assert_eq!(let_in(&config, 0), Err(64 + reserve));
        config.server.max_connections = 3;
        assert_eq!(let_in(&config, 3 + reserve), Ok(3));
        assert_eq!(let_in(&config, 2 + reserve), Err(3 + reserve));
    }
}
