//! Socket activation: a supervisor listens first, and the server takes the socket over.

use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use crate::{
    client::Client,
    process::{END, Place, Process, Server},
    tracer::Book,
};

/// The exit code for a configuration that is refused, of sysexits.h.
const EXIT_CONFIG: i32 = 78;

/// The server with `listener` as its public port, and with two `sockets` as its admin port, too.
///
/// A descriptor's number is chosen by a shell here, since it cannot be in safe Rust; the shell then becomes the server,
/// so that its process id is the one that `LISTEN_PID` names.
pub(crate) fn activated(place: &Place, listener: TcpListener, sockets: usize) -> Command {
    let mut command = Command::new("/bin/sh");
    place.prepare(&mut command);
    let script = format!("exec 3<&0 4<&0 </dev/null; export LISTEN_FDS={sockets} LISTEN_PID=$$; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_logweir")]);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    command
}

/// A start that is refused because of what the passed socket would open.
fn assert_refused(place: &Place, command: Command, parts: &[&str]) {
    let ended = Process::start(command).wait(END);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(EXIT_CONFIG), ""), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    for part in parts {
        assert!(last.starts_with("logweir: ") && last.contains(part), "nothing of {part}: {last}");
    }
    assert!(!place.path("data").exists(), "a start that fails makes no spool");
}

#[test]
fn a_public_socket_that_was_passed_in_demands_a_key_like_one_that_is_configured() {
    let (place, listener) = (Place::new(), TcpListener::bind("0.0.0.0:0").unwrap());
    let address = listener.local_addr().unwrap();
    let passed = || activated(&place, listener.try_clone().unwrap(), 1);
    assert_refused(&place, passed(), &[&address.to_string(), "passed in", "no key", "[[keys]]"]);

    let mut command = passed();
    command.env("LOGWEIR__KEYS__0__NAME", "sdk").env("LOGWEIR__KEYS__0__KEY", "a-key-of-16-bytes-or-more");
    let server = Server::start(command);
    assert_eq!(server.address, address);
    server.stop();
}

#[test]
fn a_public_admin_socket_that_was_passed_in_demands_a_token_like_one_that_is_configured() {
    let (place, listener) = (Place::new(), TcpListener::bind("0.0.0.0:0").unwrap());
    let address = listener.local_addr().unwrap();
    let passed = || {
        let mut command = activated(&place, listener.try_clone().unwrap(), 2);
        command.env("LOGWEIR__KEYS__0__NAME", "sdk").env("LOGWEIR__KEYS__0__KEY", "a-key-of-16-bytes-or-more");
        command
    };
    assert_refused(&place, passed(), &[&address.to_string(), "passed in", "admin.token"]);

    let mut command = passed();
    command.env("LOGWEIR__ADMIN__TOKEN", "a-token-of-16-bytes-or-more");
    let server = Server::start(command);
    assert_eq!(server.admin, address);
    server.stop();
}

#[test]
fn a_socket_that_was_passed_in_is_served_with_whoever_connected_before_the_start() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = Client::connect(address).unwrap();
    let server = Server::start(activated(&place, listener, 1));
    assert_eq!(server.address, address);
    let mut book = Book::default();
    assert_eq!(book.send(&mut early, "early", 5).unwrap(), 200);
    book.send_one(address, "late", 5);
    drop(early);
    server.stop();
    book.compare(&place.path("data/objects"));
}

#[test]
fn sockets_that_were_passed_to_another_process_are_left_alone() {
    let place = Place::new();
    let mut command = place.command(&[]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let server = Server::start(command);
    let mut book = Book::default();
    book.send_one(server.address, "one", 1);
    server.stop();
    book.compare(&place.path("data/objects"));
}
