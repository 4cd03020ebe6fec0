//! What a service manager is told, on a socket as systemd's.

use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    chain::Chain,
    process::{END, Place, Server},
};

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Manager {
    fn new(place: &Place) -> Self {
        let socket = UnixDatagram::bind(place.path("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, told: Vec::new() }
    }

    fn environment(place: &Place) -> [(String, String); 2] {
        let socket = place.path("notify").to_str().unwrap().to_owned();
        [("NOTIFY_SOCKET".into(), socket), ("WATCHDOG_USEC".into(), "300000".into())]
    }

    /// Waits until it is told a line that begins with `wanted`, and gives it back. What comes before is kept.
    fn wait_for(&mut self, wanted: &str) -> String {
        let mut message = [0; 4096];
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            assert!(Instant::now() < deadline, "no {wanted} in {:?}", self.told);
            let len = self.socket.recv(&mut message).unwrap_or_else(|error| panic!("{error}: {:?}", self.told));
            let text = String::from_utf8(message[..len].to_vec()).unwrap();
            let found = text.lines().find(|line| line.starts_with(wanted)).map(str::to_owned);
            self.told.extend(text.lines().map(str::to_owned));
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Whether it was told such a line so far.
    fn was_told(&self, begin: &str) -> bool {
        self.told.iter().any(|line| line.starts_with(begin))
    }
}

#[test]
fn a_service_manager_is_told_of_the_start_of_life_of_a_reload_and_of_the_end_in_this_order() {
    let place = Place::new();
    let mut manager = Manager::new(&place);
    let mut command = place.command(&[]);
    command.envs(Manager::environment(&place)).env("LOGWEIR__DRAIN__LINGER", "1s");
    let server = Server::start(command);
    manager.wait_for("READY=1");
    assert!(!manager.was_told("STOPPING"));
    assert!(manager.was_told("STATUS=serving on 127.0.0.1:"));
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    server.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    assert!(manager.was_told("MONOTONIC_USEC="));
    manager.wait_for("READY=1");
    server.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    manager.wait_for("EXTEND_TIMEOUT_USEC=");
    // It lives while it drains.
    manager.wait_for("WATCHDOG=1");
    assert_eq!(server.wait(END).code, Some(0));
    assert!(!manager.was_told("MAINPID"));
}

#[test]
fn a_service_manager_is_told_which_process_is_the_service_before_that_one_says_that_it_serves() {
    let place = Place::new();
    let mut manager = Manager::new(&place);
    let mut command = place.command(&[]);
    // As systemd does it: for the process that it started alone.
    command.envs(Manager::environment(&place)).env("LOGWEIR__DRAIN__HANDOVER", "300ms");
    let chain = Chain::start(&place, command);
    manager.wait_for("READY=1");
    let first = chain.last();
    chain.signal(first, Signal::USR2);
    let main = manager.wait_for("MAINPID=");
    assert_eq!(main, format!("MAINPID={}", chain.last()));
    assert_eq!(manager.told.iter().filter(|line| *line == "READY=1").count(), 1, "{:?}", manager.told);
    manager.wait_for("READY=1");
    chain.wait_for_end(first);
    assert!(!manager.was_told("STOPPING"), "the service does not stop: {:?}", manager.told);
    let before = manager.told.len();
    manager.wait_for("WATCHDOG=1");
    assert!(manager.told.len() > before, "the successor has the watchdog now");
    chain.stop();
}
