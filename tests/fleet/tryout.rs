//! The script with which a newcomer tries a fleet: three instances behind `HAProxy`, and none left behind Ctrl-C.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    account::Account,
    balancer::{end, is_installed, lasting_address, until},
    device::{Batch, Device},
    haproxy::Haproxy,
    process::Place,
    release::PROGRAM,
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/try-a-fleet.sh");
/// How far above the first port the admin ports begin.
const ADMIN: u16 = 1_010;

/// The script, told to end if a test is over before.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            end(&mut self.0);
        }
    }
}

/// An address with free ports where the script looks for them.
fn free() -> SocketAddr {
    until("ports for a fleet", || {
        let first = lasting_address();
        let others = (1..=3).flat_map(|number| [number, ADMIN + number]);
        let is_free = |port| TcpListener::bind((first.ip(), first.port() + port)).is_ok();
        others.into_iter().all(is_free).then_some(first)
    })
}

#[test]
fn a_fleet_to_try_serves_in_one_command_and_ends_with_ctrl_c() {
    if !is_installed::<Haproxy>() {
        return;
    }
    let text = fs::read_to_string(SCRIPT).unwrap();
    assert!(text.lines().count() <= 55, "it is to be read before it is run");
    let (place, address) = (Place::new(), free());
    std::os::unix::fs::symlink(PROGRAM, place.path("logweir")).unwrap();
    let mut running = Running(script(&place, ".", address).stdout(Stdio::piped()).spawn().unwrap());
    until("the fleet to serve", || {
        assert_eq!(running.0.try_wait().unwrap(), None, "it ended:\n{}", logs(&place));
        TcpStream::connect(address).is_ok().then_some(())
    });

    // Another one at the same port, with data of its own, starts nothing and pretends nothing.
    let mut second = Running(script(&place, "another", address).stdout(Stdio::piped()).spawn().unwrap());
    let refused = until("the second to end", || second.0.try_wait().unwrap());
    let said = BufReader::new(second.0.stdout.take().unwrap()).lines().next();
    assert!(refused.code() == Some(1) && said.is_none(), "{refused}: {said:?}");
    assert!(!place.path("another").exists(), "it started instances");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut account = Account::default();
    for number in 0..9 {
        let batch = Batch::new(format!("b{number}"), 2, 10);
        let answer = runtime.block_on(Device::new(address).send(&batch)).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        account.acknowledge(&batch, answer.served_by().unwrap());
    }
    assert_eq!(account.by_server.len(), 3, "{account:?}");

    kill_process_group(Pid::from_child(&running.0), Signal::INT).unwrap();
    let status = until("the fleet to end", || running.0.try_wait().unwrap());
    assert!(status.success(), "{status}:\n{}", logs(&place));
    for number in 1..=3 {
        let port = address.port() + number;
        assert!(TcpStream::connect((address.ip(), port)).is_err(), "i{number} still listens");
        let log = fs::read_to_string(log(place.path("").as_path(), number)).unwrap();
        assert!(log.contains("stopped; everything is stored"), "{log}");
    }
    assert!(TcpStream::connect(address).is_err(), "HAProxy still listens");
    assert_eq!(account.compare(&place.path("objects")).events, 18);
}

/// The script, started in `place`, from which its paths count.
fn script(place: &Place, data: &str, address: SocketAddr) -> Command {
    let mut command = Command::new(SCRIPT);
    command.current_dir(place.path("")).env("PORT", address.port().to_string());
    command.env("DATA", data).env("LOGWEIR", "./logweir");
    // Ctrl-C goes to the whole group that stands before the terminal.
    command.process_group(0).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn log(place: &Path, number: u16) -> std::path::PathBuf {
    place.join(format!("i{number}/log"))
}

fn logs(place: &Place) -> String {
    (1..=3).filter_map(|number| fs::read_to_string(log(&place.path(""), number)).ok()).collect()
}
