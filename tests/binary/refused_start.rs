//! A start that cannot be: it is told in a sentence and by the exit code, and harms nobody who runs already.

use std::net::TcpListener;

use crate::{
    process::{Ended, Place, Server},
    tracer::Book,
};

/// The exit code for a server that cannot start, of sysexits.h.
const EXIT_UNAVAILABLE: i32 = 69;

/// Asserts that a start ended at once, and told each of `parts` in what it said last.
fn assert_refused(ended: &Ended, parts: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(EXIT_UNAVAILABLE), ""), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    for part in parts {
        assert!(last.starts_with("logweir: ") && last.contains(part), "nothing of {part}: {last}");
    }
}

#[test]
fn a_second_instance_on_the_same_spool_is_refused_and_the_first_does_not_notice() {
    let place = Place::new();
    let first = place.serve(&[]);
    let mut book = Book::default();
    book.send_one(first.address, "before", 5);
    assert_refused(&place.run(&[]), &["data/spool", "another process"]);
    book.send_one(first.address, "after", 5);
    first.stop();
    book.compare(&place.path("data/objects"));
}

#[test]
fn a_port_in_use_is_told_with_the_setting_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, setting) in [("SERVER__LISTEN", "server.listen"), ("ADMIN__LISTEN", "admin.listen")] {
        let place = Place::new();
        let mut command = place.command(&[]);
        command.env(format!("LOGWEIR__{variable}"), &address);
        let ended = crate::process::Process::start(command).wait(crate::process::END);
        assert_refused(&ended, &[&address, setting, "in use"]);
        assert!(!place.path("data").exists(), "a start that fails makes no spool");
    }
}

#[test]
fn a_spool_that_is_something_else_is_not_touched() {
    let place = Place::new();
    place.write("data", "a file, where a directory is to be");
    assert_refused(&place.run(&[]), &["data/spool"]);
    let place = Place::new();
    std::fs::create_dir_all(place.path("data/spool")).unwrap();
    place.write("data/spool/instance", "not an identity");
    assert_refused(&place.run(&[]), &["data/spool/instance", "does not hold an instance's identity"]);
}

#[test]
fn a_port_is_free_again_as_soon_as_its_server_has_ended() {
    let place = Place::new();
    let first = place.serve(&[]);
    let address = first.address;
    let mut book = Book::default();
    // The connection is closed by the server here, so that its port lingers in TIME_WAIT.
    let mut client = crate::client::Client::connect(address).unwrap();
    assert_eq!(book.send(&mut client, "first", 1).unwrap(), 200);
    first.stop();
    let mut command = place.command(&[]);
    command.env("LOGWEIR__SERVER__LISTEN", address.to_string());
    let second = Server::start(command);
    assert_eq!(second.address, address);
    book.send_one(second.address, "second", 1);
    second.stop();
    book.compare(&place.path("data/objects"));
}
