//! What befalls a hand-over that is under way: signals, a crash, and a configuration that says something else by now.

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
};

use rustix::process::Signal;

use crate::{
    chain::Chain,
    handover::{FAILED, GAVE_WAY, NO_MORE, SOON, supervised},
    process::Place,
    tracer::Book,
};

const READY: &str = "the successor is ready: giving way to it";
const READ_AGAIN: &str = "the configuration was read again and is in force";

/// A configuration in a file, which is not looked at unasked.
fn config(drain: &str, more: &str) -> String {
    format!(
        "ingest = {{ undeclared_streams = 'accept' }}\nspool = {{ dir = 'spool' }}\nwatch = {{ interval = '0s' }}\n\
         drain = {{ linger = '0s', {drain} }}\n{more}\n[[sinks]]\nname = 'files'\ndir = 'objects'\n"
    )
}

/// A server that reads its configuration from a file.
fn from_file(place: &Place, text: &str) -> Chain {
    place.write("logweir.toml", text);
    Chain::start(place, place.command(&["--config", "logweir.toml"]))
}

/// A request that is under way for as long as it is kept.
fn slow(chain: &Chain) -> TcpStream {
    let mut slow = TcpStream::connect(chain.address).unwrap();
    slow.write_all(b"POST /v1/logs/heard HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n").unwrap();
    slow
}

#[test]
fn a_successor_that_waits_for_the_spool_follows_its_signals_once_it_serves() {
    let place = Place::new();
    let chain = Chain::serve(&place, &[("DRAIN__HANDOVER", "2s")]);
    let first = chain.last();
    let slow = slow(&chain);
    chain.signal(first, Signal::USR2);
    let successor = chain.successor(1);
    chain.entry(NO_MORE, 1);
    chain.signal(successor, Signal::HUP);
    chain.signal(successor, Signal::USR2);
    chain.wait_for_end(first);
    drop(slow);
    let third = chain.successor(2);
    chain.wait_for_end(successor);
    chain.entry("serving", 3);
    assert_eq!(chain.last(), third);
    let mut book = Book::default();
    book.send_one(chain.address, "behind", 5);
    chain.stop();
    book.compare(&place.path("data/objects"));
}

#[test]
fn a_successor_waits_for_the_one_before_it_whatever_its_own_configuration_says() {
    let place = Place::new();
    let chain = from_file(&place, &config("handover = '4s'", ""));
    let first = chain.last();
    let slow = slow(&chain);
    place.write("logweir.toml", &config("handover = '0s', timeout = '1s'", ""));
    chain.signal(first, Signal::USR2);
    chain.wait_for_end(first);
    drop(slow);
    chain.entry("serving", 2);
    let mut book = Book::default();
    book.send_one(chain.address, "behind", 5);
    chain.stop();
    book.compare(&place.path("objects"));
}

#[test]
fn a_successor_that_is_ready_serves_if_the_one_before_it_is_killed() {
    let place = Place::new();
    let chain = Chain::serve(&place, &[("DRAIN__HANDOVER", "30s")]);
    let mut book = Book::default();
    let first = chain.last();
    chain.signal(first, Signal::USR2);
    chain.entry(READY, 1);
    book.send_one(chain.address, "before", 5);
    chain.signal(first, Signal::KILL);
    chain.wait_for_end(first);
    chain.entry("serving", 2);
    book.send_one(chain.address, "behind", 5);
    chain.stop();
    book.compare(&place.path("data/objects"));
}

#[test]
fn to_give_way_during_a_handover_leaves_nobody_without_a_process() {
    let place = Place::new();
    let chain = Chain::serve(&place, &[("DRAIN__HANDOVER", "2s")]);
    let first = chain.last();
    chain.signal(first, Signal::USR2);
    chain.entry(READY, 1);
    chain.signal(first, Signal::USR1);
    chain.entry("told to give way: that is under way, to the successor", 1);
    chain.wait_for_end(first);
    chain.entry("serving", 2);
    let mut book = Book::default();
    book.send_one(chain.address, "behind", 5);
    chain.stop();
    book.compare(&place.path("data/objects"));
}

#[test]
fn to_give_way_during_a_handover_leaves_the_sockets_to_a_supervisor_that_has_them() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = supervised(&place, &listener, &[("DRAIN__HANDOVER", "1s")]);
    let mut book = Book::default();
    server.signal(Signal::USR2);
    server.entry(READY);
    server.signal(Signal::USR1);
    server.entry("giving way to the next process");
    // It tells its clients so, as without a successor.
    book.send_one(server.address, "meanwhile", 5);
    let ended = server.wait(SOON);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.entry(GAVE_WAY).is_some() && !ended.stderr.contains("nobody else"), "{}", ended.stderr);
    let server = supervised(&place, &listener, &[]);
    book.send_one(server.address, "behind", 5);
    server.stop();
    book.compare(&place.path("data/objects"));
}

#[test]
fn a_successor_reads_its_configuration_again_if_the_one_before_it_is_told_to() {
    let place = Place::new();
    let keys = |names: &[&str]| {
        let key = |name: &&str| format!("[[keys]]\nname = '{name}'\nkey = 'the-key-that-is-{name}'\n");
        config("handover = '2s'", &names.iter().map(key).collect::<String>())
    };
    let chain = from_file(&place, &keys(&["leaked", "sound"]));
    let first = chain.last();
    chain.signal(first, Signal::USR2);
    // It has read the old ones.
    chain.entry(READY, 1);
    place.write("logweir.toml", &keys(&["sound"]));
    chain.signal(first, Signal::HUP);
    chain.wait_for_end(first);
    chain.entry("serving", 2);
    let entry = chain.entry(READ_AGAIN, 1);
    assert!(entry["changed"].as_str().unwrap().contains("keys.leaked"), "{entry}");
    chain.stop();
}

/// Hands over, which fails, `number` times by now, because of what is told as `why`; and the first process serves on.
fn fails(chain: &Chain, number: usize, why: &str) {
    let first = chain.last();
    chain.signal(first, Signal::USR2);
    chain.entry(FAILED, number);
    assert!(chain.log().contains(why), "{}", chain.log());
    assert_eq!(chain.last(), first);
}

#[test]
fn a_successor_that_would_listen_elsewhere_is_refused_before_anything_is_given_up() {
    let place = Place::new();
    let with = |public: &str, admin: &str| {
        config("handover = '100ms'", &format!("server = {{ listen = '{public}' }}\nadmin = {{ listen = '{admin}' }}"))
    };
    place.write("logweir.toml", &with("127.0.0.1:0", "127.0.0.1:0"));
    let mut command = place.command(&["--config", "logweir.toml"]);
    command.env_remove("LOGWEIR__SERVER__LISTEN").env_remove("LOGWEIR__ADMIN__LISTEN");
    let chain = Chain::start(&place, command);
    place.write("logweir.toml", &with("127.0.0.2:0", "127.0.0.1:0"));
    fails(&chain, 1, "server.listen names 127.0.0.2:0");
    place.write("logweir.toml", &with("127.0.0.1:0", "127.0.0.1:1"));
    fails(&chain, 2, "admin.listen names 127.0.0.1:1");
    place.write("logweir.toml", &with(&chain.address.to_string(), "127.0.0.1:0"));
    chain.hand_over();
    chain.stop();
}

#[test]
fn a_spool_is_what_it_is_and_not_what_it_is_called() {
    let place = Place::new();
    for dir in ["one", "two"] {
        fs::create_dir(place.path(dir)).unwrap();
    }
    // Somebody had the other one, too.
    place.write("two/lock", "");
    symlink("one", place.path("spool")).unwrap();
    let chain = from_file(&place, &config("handover = '100ms'", ""));
    let mut book = Book::default();
    book.send_one(chain.address, "before", 5);
    let leads_to = |dir: &str| {
        fs::remove_file(place.path("spool")).unwrap();
        symlink(dir, place.path("spool")).unwrap();
    };
    for (number, other) in ["two", "nowhere"].into_iter().enumerate() {
        leads_to(other);
        fails(&chain, number + 1, "names another spool");
    }
    assert_eq!(fs::read_dir(place.path("two")).unwrap().count(), 1);
    leads_to("./one");
    chain.hand_over();
    book.send_one(chain.address, "behind", 5);
    chain.stop();
    book.compare(&place.path("objects"));
}

#[test]
fn a_signal_to_stop_ends_a_process_at_once_that_waits_for_another_ones_spool() {
    let place = Place::new();
    let chain = Chain::serve(&place, &[("DRAIN__HANDOVER", "3s")]);
    let first = chain.last();
    let slow = slow(&chain);
    chain.signal(first, Signal::USR2);
    let successor = chain.successor(1);
    chain.entry(NO_MORE, 1);
    chain.signal(successor, Signal::TERM);
    chain.entry("told to stop before it served", 1);
    chain.wait_for_end(successor);
    drop(slow);
    chain.wait_for_end(first);
    assert_eq!(chain.count("serving"), 1, "{}", chain.log());
}
