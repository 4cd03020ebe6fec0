//! Where a rehearsal may go to: an address that is known before the first packet leaves.
//!
//! A rehearsal is a flood, so it goes to this machine only, unless its owner says otherwise. A name is resolved once, each
//! of its addresses must be a loopback address, and what is connected to later is one of these addresses: no second
//! look-up can point it elsewhere.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
};

/// Somewhere to send requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address that is connected to.
    pub address: SocketAddr,
    /// What the requests' `Host` says.
    pub host: String,
    /// The path that the URL has, without a `/` at its end.
    pub path: String,
}

/// This is nowhere to send a flood to.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The URL cannot be read.
    #[error("{url:?} is no URL of the form http://host:port")]
    Url {
        /// The URL.
        url: String,
    },
    /// TLS is asked for.
    #[error("{url:?}: a rehearsal speaks http only; rehearse behind what ends TLS")]
    Tls {
        /// The URL.
        url: String,
    },
    /// The name has no address.
    #[error("{host:?} cannot be resolved: {error}")]
    Unresolved {
        /// The host.
        host: String,
        /// The operating system's answer.
        error: io::Error,
    },
    /// It is another machine.
    #[error(
        "{host:?} is {address}, which is not this machine: a rehearsal is a flood, and goes to loopback addresses only; \
         if the target is yours to flood, say --i-own-this-target"
    )]
    NotLoopback {
        /// The host.
        host: String,
        /// The first address that is not a loopback address.
        address: SocketAddr,
    },
}

impl Target {
    /// Reads `url` and resolves its host; `owned` lets addresses of other machines pass. Blocks.
    ///
    /// # Errors
    /// [`TargetError`]; nothing was connected to.
    pub fn resolve(url: &str, owned: bool) -> Result<Self, TargetError> {
        let malformed = || TargetError::Url { url: url.to_owned() };
        let parsed: ::http::Uri = url.parse().map_err(|_| malformed())?;
        match parsed.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(TargetError::Tls { url: url.to_owned() }),
            _ => return Err(malformed()),
        }
        let authority =
            parsed.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(malformed)?;
        let path = parsed.path().trim_end_matches('/').to_owned();
        if parsed.query().is_some() {
            return Err(malformed());
        }
        let port = port(authority).ok_or_else(malformed)?;
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
        let unresolved = |error| TargetError::Unresolved { host: bare.to_owned(), error };
        let addresses: Vec<SocketAddr> = (bare, port).to_socket_addrs().map_err(unresolved)?.collect();
        let stranger = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback());
        if let Some(stranger) = stranger.filter(|_| !owned) {
            return Err(TargetError::NotLoopback { host: bare.to_owned(), address: *stranger });
        }
        // A server that listens on 127.0.0.1 only is what a name with two addresses most likely means.
        let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = *first.ok_or_else(|| unresolved(io::ErrorKind::NotFound.into()))?;
        Ok(Self { address, host: authority.as_str().to_owned(), path })
    }
}

/// The port, 80 if none is named; `None` if it is none: a number that does not fit must not become another server's port.
fn port(authority: &::http::uri::Authority) -> Option<u16> {
    let behind = authority.as_str().strip_prefix(authority.host())?;
    match behind.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        Some(_) => None,
        None => behind.is_empty().then_some(80),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_a_target_however_it_is_spelled() {
        for (url, address, path) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", ""),
            ("http://127.9.9.9:1/", "127.9.9.9:1", ""),
            ("http://[::1]:9090/metrics", "[::1]:9090", "/metrics"),
            ("http://[::ffff:127.0.0.1]:81/a/b/", "[::ffff:127.0.0.1]:81", "/a/b"),
            ("http://127.0.0.1", "127.0.0.1:80", ""),
        ] {
            let target = Target::resolve(url, false).unwrap();
            assert_eq!((target.address.to_string().as_str(), target.path.as_str()), (address, path), "{url}");
        }
        let named = Target::resolve("http://localhost:8080", false).unwrap();
        assert!(named.address.ip().is_loopback() && named.host == "localhost:8080");
        assert_eq!(named.to_string(), "http://localhost:8080");
    }

    #[test]
    fn another_machine_is_a_target_only_for_its_owner() {
        for url in
            ["http://192.0.2.1:8080", "http://0.0.0.0:8080", "http://[2001:db8::1]:80", "http://[::ffff:192.0.2.1]:80"]
        {
            let error = Target::resolve(url, false).unwrap_err();
            assert!(matches!(error, TargetError::NotLoopback { .. }), "{url}: {error}");
            assert!(error.to_string().contains("--i-own-this-target"), "{error}");
            assert!(Target::resolve(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_told() {
        for url in
            ["127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://me@127.0.0.1", "/metrics", "http://127.0.0.1/?a"]
        {
            assert!(matches!(Target::resolve(url, true), Err(TargetError::Url { .. })), "{url}");
        }
        for port in ["80800", "65536", "-1", "+80", "8o", ""] {
            for host in ["127.0.0.1", "[::1]"] {
                let url = format!("http://{host}:{port}");
                assert!(matches!(Target::resolve(&url, true), Err(TargetError::Url { .. })), "{url}");
            }
        }
        assert!(matches!(Target::resolve("https://127.0.0.1", true), Err(TargetError::Tls { .. })));
    }
}
