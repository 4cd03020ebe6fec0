//! `logweir health`: asks the admin port of an instance on this machine, for containers that have no curl.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use super::{EXIT_DIFFERENCE, EXIT_UNAVAILABLE, fail};
use crate::config::Config;

/// How long connecting may take, and each read and write. An answer needs no lock and no disk.
const PATIENCE: Duration = Duration::from_secs(2);
/// The bytes of an answer that are read: its first line and some headers.
const HEAD: u64 = 1024;

/// Whether the instance that `config` is of lives, or, if `ready`, whether it is to be sent requests.
pub fn health(config: &Config, ready: bool) -> ExitCode {
    let address = reachable(config.admin.listen);
    let path = if ready { "/readyz" } else { "/livez" };
    match ask(address, path) {
        Ok(200) => ExitCode::SUCCESS,
        Ok(status) => fail(EXIT_DIFFERENCE, &format!("http://{address}{path} answers {status}")),
        Err(error) => fail(EXIT_UNAVAILABLE, &format!("http://{address}{path}: {error}")),
    }
}

/// Where a port is asked that listens on `address`: on loopback, if it listens everywhere.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// The status of what `address` answers to a GET of `path`.
fn ask(address: SocketAddr, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut head = Vec::new();
    let mut limited = stream.take(HEAD);
    let mut chunk = [0; HEAD as usize];
    while status(&head).is_none() {
        match limited.read(&mut chunk)? {
            0 => break,
            read => head.extend_from_slice(&chunk[..read]),
        }
    }
    status(&head).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

/// The status in the first line of `head`, once all of that is there.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.1 ")?;
    (rest.len() > 3).then(|| std::str::from_utf8(&rest[..3]).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What is made of a server that answers `answer` and closes.
    fn asked(answer: &'static [u8]) -> io::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::Builder::new()
            .name("server".into())
            .spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 512];
                let read = stream.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1"));
                let _ = stream.write_all(answer);
            })
            .unwrap();
        let status = ask(address, "/livez");
        server.join().unwrap();
        status
    }

    #[test]
    fn the_status_of_an_answer_is_read_and_nothing_else_is_taken_for_one() {
        assert_eq!(asked(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nalive\n").unwrap(), 200);
        assert_eq!(asked(b"HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n").unwrap(), 503);
        for answer in [&b""[..], b"HTTP/1.1 20", b"SSH-2.0-OpenSSH_9.2\r\n", &[b'x'; 4096]] {
            assert!(asked(answer).is_err(), "{answer:?}");
        }
    }

    #[test]
    fn a_port_that_listens_everywhere_is_asked_on_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("127.0.0.1:9090", "127.0.0.1:9090"),
            ("10.0.1.11:9090", "10.0.1.11:9090"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
