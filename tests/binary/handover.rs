//! SIGUSR2 and SIGUSR1: an instance goes from one process to the next, and nobody notices but by a longer answer.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    activation::activated,
    bucket::Bucket,
    chain::Chain,
    client::{Client, get},
    crowd::{Crowd, Seen},
    fault_proxy::Weather,
    figures::tell,
    firehose::TwoSinks,
    process::{Ended, Place, Server},
    scrape::Scrape,
    tracer::Book,
};

/// The time for clients to be told: short, since those of a test send all the time.
const SHORT: (&str, &str) = ("DRAIN__HANDOVER", "300ms");
pub(crate) const FAILED: &str = "the hand-over has failed: this process serves on";
pub(crate) const NO_MORE: &str = "nobody is accepted any more: who connects from now on is the next process's";
pub(crate) const GAVE_WAY: &str = "gave way; the next process stores what is left";

/// A hand-over of a test may take this long on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

fn holds(seen: &Seen, log: &str) {
    assert!(seen.errors.is_empty(), "{} of {} requests: {:?}\n{log}", seen.errors.len(), seen.requests, seen.errors);
    assert!(seen.worst < SOON, "somebody waited {:?}", seen.worst);
}

fn handovers(chain: &Chain, outcome: &str) -> f64 {
    Scrape::of(chain.admin).value(&format!("logweir_handovers_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn an_instance_is_handed_over_twice_under_load_to_another_executable_and_nobody_is_refused_or_lost() {
    let place = Place::new();
    let executable = place.path("logweir");
    fs::copy(env!("CARGO_BIN_EXE_logweir"), &executable).unwrap();
    let mut command = Command::new(&executable);
    place.prepare(&mut command);
    command.env(format!("LOGWEIR__{}", SHORT.0), SHORT.1);
    let mut chain = Chain::start(&place, command);
    let crowd = Crowd::start(chain.address, 6, 6, "crowd");
    crowd.wait_for(300);
    for _ in 0..2 {
        // Another file under the same name, as an upgrade makes it.
        fs::copy(&executable, place.path("new")).unwrap();
        fs::rename(place.path("new"), &executable).unwrap();
        let new = chain.hand_over();
        let runs = fs::metadata(format!("/proc/{new}/exe")).unwrap().ino();
        assert_eq!(runs, fs::metadata(&executable).unwrap().ino(), "the one that was there before");
        let input = fs::read_link(format!("/proc/{new}/fd/0")).unwrap();
        assert!(input.to_str().unwrap().starts_with("pipe:"), "the channel is its standard input: {input:?}");
        crowd.wait_for(300);
    }
    assert_eq!(chain.first_code(), Some(0), "{}", chain.log());
    assert!((handovers(&chain, "taken_over") - 1.0).abs() < 0.1);
    let seen = crowd.end();
    let log = chain.stop();
    tell(format_args!("{} requests, {} of them 429, the longest took {:?}", seen.requests, seen.refused, seen.worst));
    holds(&seen, &log);
    let instances: Vec<&str> = log.lines().filter(|line| line.contains("\"instance\":")).collect();
    assert_eq!(instances.len(), 3, "each says which instance it is");
    let audit = seen.book.compare(&place.path("data/objects"));
    assert_eq!(audit.uncertain, 3 * seen.refused, "{audit}");
}

#[test]
fn a_connection_is_answered_whatever_it_was_doing_when_the_instance_was_handed_over() {
    let place = Place::new();
    let chain = Chain::serve(&place, &[("DRAIN__HANDOVER", "4s")]);
    let mut book = Book::default();
    let head =
        b"POST /v1/logs/heard HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 25\r\n\r\n";
    let body = |name: char| format!("[{{\"trace\":\"heard:raw:{name}\"}}]").into_bytes();
    let connect = || TcpStream::connect(chain.address).unwrap();
    let (mut in_body, mut in_head) = (connect(), connect());
    in_body.write_all(head).unwrap();
    in_head.write_all(&head[..30]).unwrap();
    let mut kept = Client::connect(chain.address).unwrap();
    let (mut sends_meanwhile, mut idle) = (Client::connect(chain.address).unwrap(), connect());
    for client in [&mut kept, &mut sends_meanwhile] {
        assert_eq!(book.send(client, &format!("first-{}", book.acknowledged.len()), 1).unwrap(), 200);
    }
    idle.write_all(&[&head[..], &body('i')].concat()).unwrap();
    assert!(read_answer(&mut idle).starts_with("HTTP/1.1 200 "));
    chain.signal(chain.last(), Signal::USR2);
    chain.entry("the successor is ready: giving way to it", 1);
    // It is told, and so closed by both sides.
    let answer = book.ask(&mut sends_meanwhile, "meanwhile", 1).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let mut new = Client::connect(chain.address).unwrap();
    assert_eq!(book.send(&mut new, "new", 1).unwrap(), 200);
    // What was begun before is finished behind the moment from which on nobody is accepted.
    chain.entry(NO_MORE, 1);
    sleep(Duration::from_millis(300));
    let mut waits = Client::connect(chain.address).unwrap();
    in_body.write_all(&body('b')).unwrap();
    in_head.write_all(&[&head[30..], &body('h')].concat()).unwrap();
    for stream in [&mut in_body, &mut in_head] {
        let answer = read_answer(stream);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    }
    // What never sent anything is closed in good order; who connected meanwhile is the successor's.
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    assert_eq!(book.send(&mut waits, "waited", 1).unwrap(), 200);
    chain.entry("serving", 2);
    chain.stop();
    assert_eq!(book.uncertain.len(), 0);
    book.acknowledged.extend(["i", "b", "h"].map(|name| format!("heard:raw:{name}")));
    book.compare(&place.path("data/objects"));
}

/// What comes until the connection's end, or until a whole short answer has.
fn read_answer(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    while !text.ends_with(b"}") {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            read => text.extend_from_slice(&piece[..read]),
        }
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_process_serves_on_if_its_successor_is_not_sound_and_hands_over_once_it_is() {
    let place = Place::new();
    let good = "ingest = { undeclared_streams = 'accept' }\nspool = { dir = 'spool' }\n\
                drain = { linger = '0s', handover = '100ms' }\n[[sinks]]\nname = 'files'\ndir = 'objects'\n";
    place.write("logweir.toml", good);
    let chain = Chain::start(&place, place.command(&["--config", "logweir.toml"]));
    let first = chain.last();
    let crowd = Crowd::start(chain.address, 2, 2, "crowd");
    // Not sound; another spool, which is found out only by both together; not to be read.
    let bad = ["[drain]\nlinger = 'soon'\n", &good.replace("'spool'", "'elsewhere'"), "= ["];
    for (number, bad) in bad.iter().enumerate() {
        place.write("logweir.toml", bad);
        chain.signal(first, Signal::USR2);
        chain.entry(FAILED, number + 1);
        crowd.wait_for(20);
        assert!((handovers(&chain, "failed") - (number as f64 + 1.0)).abs() < 0.1);
    }
    assert!(chain.log().contains("names another spool"), "{}", chain.log());
    assert!(!place.path("elsewhere").exists());
    place.write("logweir.toml", good);
    assert_ne!(chain.hand_over(), first);
    crowd.wait_for(20);
    let seen = crowd.end();
    holds(&seen, &chain.stop());
    seen.book.compare(&place.path("objects"));
}

#[test]
fn a_successor_that_does_not_get_the_lock_ends_and_nothing_is_lost() {
    let place = Place::new();
    let chain = Chain::serve(&place, &[("DRAIN__HANDOVER", "1s"), ("DRAIN__TIMEOUT", "1s")]);
    let mut book = Book::default();
    book.send_one(chain.address, "before", 5);
    let first = chain.last();
    chain.signal(first, Signal::USR2);
    chain.entry("the successor is ready: giving way to it", 1);
    // It sleeps while somebody else takes what it is about to take.
    let successor = chain.last();
    chain.signal(successor, Signal::STOP);
    chain.wait_for_end(first);
    let lock = File::options().write(true).open(place.path("data/spool/lock")).unwrap();
    lock.lock().unwrap();
    chain.signal(successor, Signal::CONT);
    chain.wait_for_end(successor);
    let log = chain.log();
    assert!(log.contains("another process uses the spool"), "{log}");
    assert_eq!(chain.count("serving"), 1);
    drop((lock, chain));
    place.serve(&[]).stop();
    book.compare(&place.path("data/objects"));
}

#[test]
fn a_handover_does_not_wait_for_an_s3_that_is_down_and_nothing_is_lost() {
    let (place, bucket) = (Place::new(), Bucket::new());
    bucket.turn(Weather::Slow(Duration::from_secs(3)));
    let chain = Chain::start(&place, bucket.command(&place, &[("DRAIN__TIMEOUT", "10m"), SHORT]));
    let crowd = Crowd::start(chain.address, 4, 2, "crowd");
    crowd.wait_for(200);
    sleep(Duration::from_secs(2));
    for _ in 0..2 {
        let told = Instant::now();
        chain.hand_over();
        assert!(told.elapsed() < SOON, "it waited for uploads: {:?}", told.elapsed());
        crowd.wait_for(100);
    }
    let left: u64 = (1..=2).map(|number| chain.entry(GAVE_WAY, number)["segments_left"].as_u64().unwrap()).sum();
    assert!(left > 0, "everything was stored before");
    let seen = crowd.end();
    bucket.turn(Weather::Clear);
    let log = chain.stop();
    holds(&seen, &log);
    seen.book.compare(&bucket.objects());
}

#[test]
fn a_handover_gives_firehose_every_line_and_repeats_few() {
    let (place, sinks) = (Place::new(), TwoSinks::new());
    let chain = Chain::start(&place, sinks.command(&place, &[SHORT], ""));
    let crowd = Crowd::start(chain.address, 3, 2, "crowd");
    for _ in 0..2 {
        crowd.wait_for(200);
        chain.hand_over();
    }
    crowd.wait_for(50);
    let seen = crowd.end();
    holds(&seen, &chain.stop());
    seen.book.compare(&sinks.bucket.objects());
    assert_eq!(sinks.lacking(&seen.book), Vec::<String>::new());
    tell(format_args!("{} of {} lines came twice", sinks.doubled(), seen.book.acknowledged.len()));
    assert!(sinks.doubled() * 4 < seen.book.acknowledged.len(), "{} came twice", sinks.doubled());
}

#[test]
fn a_signal_to_stop_ends_a_handover_and_everything_is_stored() {
    let place = Place::new();
    let chain = Chain::serve(&place, &[("DRAIN__HANDOVER", "30s")]);
    let mut book = Book::default();
    book.send_one(chain.address, "before", 5);
    let first = chain.last();
    chain.signal(first, Signal::USR2);
    chain.entry("the successor is ready: giving way to it", 1);
    book.send_one(chain.address, "meanwhile", 5);
    let successor = chain.last();
    chain.signal(first, Signal::TERM);
    chain.wait_for_end(first);
    chain.wait_for_end(successor);
    assert_eq!(chain.count("stopped; everything is stored"), 1, "{}", chain.log());
    assert_eq!(chain.count("serving"), 1);
    drop(chain);
    book.compare(&place.path("data/objects"));
}

#[test]
fn a_signal_to_stop_that_comes_too_late_for_that_reaches_the_successor() {
    let place = Place::new();
    let chain = Chain::serve(&place, &[("DRAIN__HANDOVER", "3s")]);
    let first = chain.last();
    // A request that is under way keeps the first process for a while behind the moment of no return.
    let mut slow = TcpStream::connect(chain.address).unwrap();
    slow.write_all(b"POST /v1/logs/heard HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n").unwrap();
    chain.signal(first, Signal::USR2);
    let successor = chain.successor(1);
    chain.entry(NO_MORE, 1);
    chain.signal(first, Signal::TERM);
    chain.entry("passed on: the successor is what it is for now", 1);
    chain.wait_for_end(first);
    chain.wait_for_end(successor);
    assert_eq!(chain.count("serving"), 1, "{}", chain.log());
}

/// A server that is given `listener`, as a supervisor does it.
pub(crate) fn supervised(place: &Place, listener: &TcpListener, variables: &[(&str, &str)]) -> Server {
    let mut command = activated(place, listener.try_clone().unwrap(), 1);
    command.envs(variables.iter().map(|(name, value)| (format!("LOGWEIR__{name}"), value)));
    Server::start(command)
}

fn give_way(server: Server) -> Ended {
    server.signal(Signal::USR1);
    let ended = server.wait(SOON);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

#[test]
fn a_restart_under_a_supervisor_that_has_the_socket_refuses_nobody() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = supervised(&place, &listener, &[SHORT]);
    let crowd = Crowd::start(server.address, 4, 4, "crowd");
    for _ in 0..2 {
        crowd.wait_for(200);
        let ended = give_way(server);
        assert!(ended.entry(GAVE_WAY).is_some(), "{}", ended.stderr);
        // A while without any process: who connects now waits.
        sleep(Duration::from_millis(500));
        server = supervised(&place, &listener, &[SHORT]);
    }
    crowd.wait_for(200);
    let seen = crowd.end();
    holds(&seen, &server.stop().stderr);
    assert!(seen.worst >= Duration::from_millis(400), "nobody waited: {:?}", seen.worst);
    seen.book.compare(&place.path("data/objects"));
}

#[test]
fn an_instance_that_gives_way_to_nobody_answers_whoever_had_connected() {
    let place = Place::new();
    let server = place.serve(&[SHORT]);
    let mut book = Book::default();
    let mut early = Client::connect(server.address).unwrap();
    server.signal(Signal::USR1);
    assert_eq!(book.send(&mut early, "early", 2).unwrap(), 200);
    let address = server.address;
    let ended = server.wait(SOON);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("nobody else has the listening sockets"), "{}", ended.stderr);
    assert!(Client::connect(address).is_err());
    place.serve(&[]).stop();
    book.compare(&place.path("data/objects"));
}

#[test]
fn an_instance_without_a_disk_stores_what_it_has_before_it_ends_and_is_not_waited_for() {
    let (place, bucket) = (Place::new(), Bucket::new());
    let config = "[spool]\nkind = 'none'\nwindow = '100ms'\n";
    let mut command = bucket.command(&place, &[SHORT]);
    let text = fs::read_to_string(place.path("logweir.toml")).unwrap();
    let head = text.split("[spool]").next().unwrap();
    let rest = &text[text.find("[drain]").unwrap()..];
    place.write("logweir.toml", &format!("{head}{config}{rest}"));
    command.current_dir(place.path(""));
    let chain = Chain::start(&place, command);
    let crowd = Crowd::start(chain.address, 4, 2, "crowd");
    crowd.wait_for(50);
    chain.hand_over();
    crowd.wait_for(50);
    let seen = crowd.end();
    assert_eq!(chain.count("gave way; everything is stored"), 1, "{}", chain.log());
    holds(&seen, &chain.stop());
    seen.book.compare(&bucket.objects());
}

#[test]
fn health_is_asked_through_a_handover_and_stays_good() {
    let place = Place::new();
    let chain = Chain::serve(&place, &[SHORT]);
    let (address, admin) = (chain.address, chain.admin);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(get(address, "/readyz").status, 200);
                assert_eq!(get(admin, "/readyz").status, 200);
                asked += 1;
                sleep(Duration::from_millis(5));
            }
            asked
        });
        chain.hand_over();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(asking.join().unwrap() > 5);
    });
    chain.stop();
}
