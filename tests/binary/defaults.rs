//! A newcomer's first minute: no configuration, and what the command line says of itself.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    objects,
    process::{Place, status_bytes},
    tracer::Book,
};

#[test]
fn without_any_configuration_a_batch_is_taken_at_once_and_an_object_appears_within_seconds() {
    const FIRST_ANSWER: Duration = Duration::from_secs(5);
    /// Ten seconds to the seal, and time to store.
    const FIRST_OBJECT: Duration = Duration::from_secs(15);
    let place = Place::new();
    let began = Instant::now();
    let server = place.serve(&[]);
    let mut book = Book::default();
    book.send_one(server.address, "first", 10);
    assert!(began.elapsed() < FIRST_ANSWER, "the first answer took {:?}", began.elapsed());
    let root = place.path("data/objects");
    let taken = Instant::now();
    while !objects::keys(&root).iter().any(|key| key.starts_with("traced/")) {
        assert!(taken.elapsed() < FIRST_OBJECT, "there is no object after {:?}", taken.elapsed());
        sleep(Duration::from_millis(20));
    }
    book.compare(&root);
    book.send_one(server.address, "second", 10);
    server.stop();
    book.compare(&root);
}

#[test]
fn an_idle_server_is_small() {
    const SMALL: u64 = 40_000_000;
    let place = Place::new();
    let server = place.serve(&[]);
    Book::default().send_one(server.address, "one", 1);
    sleep(Duration::from_secs(1));
    let resident = status_bytes(server.id(), "VmRSS");
    assert!(resident < SMALL, "{resident} bytes are resident");
    server.stop();
}

#[test]
fn the_public_port_has_its_routes() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mut client = Client::connect(server.address).unwrap();
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/openapi.json", 200), ("/metrics", 404), ("/", 404)] {
        assert_eq!(client.get(path).unwrap().status, status, "{path}");
    }
    let mut admin = Client::connect(server.admin).unwrap();
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/openapi.json", 404)] {
        assert_eq!(admin.get(path).unwrap().status, status, "{path}");
    }
    assert_eq!(client.post_json("Not-A-Stream", &serde_json::json!([{}])).unwrap().status, 404);
    server.stop();
}

#[test]
fn the_command_line_explains_itself() {
    let place = Place::new();
    for (arguments, told) in [
        (&["--help"][..], &["serve", "check", "audit", "--config", "127.0.0.1:8080", "./data/objects"][..]),
        (&["check", "--help"], &["--config", "78", "LOGWEIR__SECTION__KEY"]),
        (&["serve", "--help"], &["--config", "SIGTERM", "stays in the spool"]),
        (&["audit", "--help"], &["--from", "--to", "--sink", "--quick", "69", "78", "_ledger/", "every difference"]),
        (&["--version"], &[concat!("logweir ", env!("CARGO_PKG_VERSION"))]),
    ] {
        let ended = place.run(arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        for told in told {
            assert!(ended.stdout.contains(told), "{arguments:?} does not tell of {told}:\n{}", ended.stdout);
        }
    }
    for arguments in [&["--confg", "x"][..], &["srve"], &["check", "--config"], &["audit", "--from", "2026-11-22"]] {
        let ended = place.run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains("--help"), "{}", ended.stderr);
    }
}
