//! The script with which a newcomer tries a fleet: three instances behind `HAProxy`, and none left behind Ctrl-C.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{
    account::Account,
    balancer::{is_installed, lasting_address, until},
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
            let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
            let _ = self.0.wait();
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
    assert!(text.lines().count() <= 40, "it is to be read before it is run");
    let (place, address) = (Place::new(), free());
    let mut command = Command::new(SCRIPT);
    command.env("PORT", address.port().to_string()).env("DATA", place.path("")).env("LOGWEIR", PROGRAM);
    // Ctrl-C goes to the whole group that stands before the terminal.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    until("the fleet to serve", || {
        assert_eq!(running.0.try_wait().unwrap(), None, "it ended:\n{}", logs(&place));
        TcpStream::connect(address).is_ok().then_some(())
    });

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

fn log(place: &Path, number: u16) -> std::path::PathBuf {
    place.join(format!("i{number}/log"))
}

fn logs(place: &Place) -> String {
    (1..=3).filter_map(|number| fs::read_to_string(log(&place.path(""), number)).ok()).collect()
}
