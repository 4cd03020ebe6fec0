//! The limit of open files: raised as far as the process may, and never the reason why a port falls silent.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::{
    client::{Client, get},
    process::{END, Place, Process, Server},
};

/// The exit code for a configuration that cannot be served here, of sysexits.h.
const EXIT_CONFIG: i32 = 78;
/// Clock ticks a second in /proc: the same on every Linux that runs today.
const TICKS: u64 = 100;

/// The server, started with this soft and this hard limit of open files.
fn limited(place: &Place, soft: u64, hard: u64) -> Command {
    let mut command = Command::new("/bin/sh");
    place.prepare(&mut command);
    let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_logweir")]);
    command
}

/// The soft and the hard limit that the process has.
fn limits(id: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// The processor's time that the process has used.
fn used(id: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<_> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS)
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let place = Place::new();
    let mut command = limited(&place, 200, 4_000);
    command.env("LOGWEIR__SERVER__MAX_CONNECTIONS", "1000");
    let server = Server::start(command);
    assert_eq!(limits(server.id()), (4_000, 4_000));
    let ended = server.stop();
    assert!(!ended.stderr.contains("open files"), "there is nothing to warn of: {}", ended.stderr);
}

#[test]
fn more_connections_than_there_can_be_files_are_told_and_lowered() {
    let place = Place::new();
    let server = Server::start(limited(&place, 1_000, 1_000));
    let told = server.entry("fewer connections are let in than max_connections says, for want of open files");
    assert_eq!(
        (&told["level"], &told["limit"], &told["max_connections"]),
        (&"WARN".into(), &1_000.into(), &8_192.into())
    );
    let most = told["connections"].as_u64().unwrap();
    assert!((64..1_000).contains(&most), "{told}");
    // So many are served, and one more is told so, where without the clamp the port would fall silent.
    let clients: Vec<_> = (0..most).map(|_| Client::connect(server.address).unwrap()).collect();
    let refused = || {
        let answer = get(server.address, "/openapi.json");
        answer.status == 429 && answer.json()["cause"] == "connections"
    };
    // A connection that says nothing is counted after a moment.
    assert!(
        (0..100).any(|_| refused() || (sleep(Duration::from_millis(50)), false).1),
        "one more was served beside {most}: {}",
        get(server.admin, "/metrics").text()
    );
    assert_eq!(get(server.address, "/livez").status, 200, "whoever asks for health is answered beside them");
    assert_eq!(get(server.admin, "/livez").status, 200);
    drop(clients);
    server.stop();
}

#[test]
fn a_limit_of_open_files_that_is_far_too_low_is_refused() {
    let place = Place::new();
    let ended = Process::start(limited(&place, 100, 100)).wait(END);
    assert_eq!(ended.code, Some(EXIT_CONFIG), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    for part in ["logweir: ", "100", "RLIMIT_NOFILE", "LimitNOFILE", "ulimit -n"] {
        assert!(last.contains(part), "nothing of {part}: {last}");
    }
    assert!(!place.path("data").exists(), "a start that fails makes no spool");
}

/// A descriptor may still run out, since others share the machine's. Both ports must wait then, not spin.
#[test]
fn a_port_that_cannot_accept_waits_for_a_moment_and_goes_on() {
    let place = Place::new();
    let server = place.serve(&[]);
    assert_eq!(get(server.admin, "/livez").status, 200);
    let id = Pid::from_raw(server.id().cast_signed()).unwrap();
    // As many as the standard streams and one more: the process has them long since.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(Some(id), Resource::Nofile, Rlimit { current: Some(4), maximum }).unwrap();
    let mut waiting = [server.address, server.admin].map(|address| Client::connect(address).unwrap());
    let (began, so_far) = (Instant::now(), used(server.id()));
    sleep(Duration::from_secs(2));
    let (elapsed, used) = (began.elapsed(), used(server.id()).saturating_sub(so_far));
    assert!(used < elapsed / 4, "{used:?} of {elapsed:?} were spent on failing to accept");
    prlimit(Some(id), Resource::Nofile, before).unwrap();
    for client in &mut waiting {
        assert_eq!(client.get("/livez").unwrap().status, 200);
    }
    let metrics = get(server.admin, "/metrics").text();
    let errors = metrics.lines().find_map(|line| line.strip_prefix("logweir_accept_errors_total ")).unwrap();
    assert!((10..1_000).contains(&errors.parse::<u64>().unwrap()), "{errors}");
    let told = server.stop().stderr.matches("a connection could not be accepted").count();
    assert!((1..=2).contains(&told), "each port tells it once: {told}");
}

#[test]
fn when_descriptors_have_run_out_a_connection_is_told_so_with_the_one_that_is_spared() {
    let place = Place::new();
    let server = place.serve(&[]);
    assert_eq!(get(server.admin, "/livez").status, 200);
    let id = Pid::from_raw(server.id().cast_signed()).unwrap();
    let open = fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap();
    let open: BTreeSet<u64> = open.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect();
    // Behind its last descriptor, so that the spared one is below; what it inherited stands far above. A few are free in
    // between, where a file was open for a moment.
    let last = open.into_iter().reduce(|last, next| if next - last < 16 { next } else { last }).unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(Some(id), Resource::Nofile, Rlimit { current: Some(last + 1), maximum }).unwrap();
    // Who is served keeps a descriptor; some more become free when a connection of before, or a file, is closed.
    let mut held = Vec::new();
    let mut told = 0;
    while told < 30 {
        assert!(held.len() < 100, "descriptors run out");
        let mut client = Client::connect(server.address).unwrap();
        let answer = client.get("/openapi.json").unwrap();
        held.push(client);
        if answer.status != 200 {
            // One after the other has the descriptor that is spared, and each reads its answer to the end.
            assert_eq!((answer.status, &answer.json()["cause"]), (429, &"connections".into()));
            told += 1;
        }
    }
    drop(held);
    prlimit(Some(id), Resource::Nofile, Rlimit { current: before.current, maximum }).unwrap();
    let metrics = get(server.admin, "/metrics").text();
    let counted = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let refused = counted("logweir_connections_refused_total").unwrap();
    assert!(refused >= 30, "{refused}");
    assert_eq!(counted("logweir_refusals_total{cause=\"connections\"}"), Some(refused));
    assert_eq!(counted("logweir_offered_bytes_total"), Some(refused * 65_536), "each may have come with what is usual");
    server.stop();
}
