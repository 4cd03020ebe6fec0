//! Socket activation: a supervisor listens first, and the server takes the socket over.

use std::{
    net::TcpListener,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use crate::{
    client::Client,
    process::{Place, Server},
    tracer::Book,
};

#[test]
fn a_socket_that_was_passed_in_is_served_with_whoever_connected_before_the_start() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = Client::connect(address).unwrap();
    // A descriptor's number is chosen by a shell here, since it cannot be in safe Rust; the shell then becomes the
    // server, so that its process id is the one that LISTEN_PID names.
    let mut command = Command::new("/bin/sh");
    place.prepare(&mut command);
    let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_logweir")]);
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let server = Server::start(command);
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
