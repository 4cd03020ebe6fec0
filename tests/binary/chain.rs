//! Processes of the binary that succeed each other. They write one log, since each inherits it from the one before.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::process::{END, Place};

const POLL: Duration = Duration::from_millis(5);
const STARTED: &str = "a successor was started";

/// The processes. Those that still run are killed when it is dropped.
pub(crate) struct Chain {
    first: Child,
    dir: PathBuf,
    log: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Chain {
    /// Starts the first one, and waits until it serves.
    pub(crate) fn start(place: &Place, mut command: Command) -> Self {
        let log = place.path("log");
        let file = File::options().append(true).create(true).open(&log).unwrap();
        // A log from before is another chain's.
        file.set_len(0).unwrap();
        let first = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let nowhere = "127.0.0.1:0".parse().unwrap();
        let dir = place.path("").canonicalize().unwrap();
        let mut chain = Self { first, dir, log, address: nowhere, admin: nowhere };
        let serving = chain.entry("serving", 1);
        let address = |name: &str| serving[name].as_str().unwrap().parse().unwrap();
        (chain.address, chain.admin) = (address("address"), address("admin"));
        chain
    }

    /// The server with the embedded default and `variables`.
    pub(crate) fn serve(place: &Place, variables: &[(&str, &str)]) -> Self {
        let mut command = place.command(&[]);
        command.envs(variables.iter().map(|(name, value)| (format!("LOGWEIR__{name}"), value)));
        Self::start(place, command)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn entries(&self, message: &str) -> Vec<Value> {
        let log = self.log();
        let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries.filter(|entry| entry["message"] == message).collect()
    }

    /// How often `message` was logged so far.
    pub(crate) fn count(&self, message: &str) -> usize {
        self.entries(message).len()
    }

    /// The log entry with `message` that is the `number`th of all processes, which is there or comes soon.
    pub(crate) fn entry(&self, message: &str, number: usize) -> Value {
        let deadline = Instant::now() + END;
        loop {
            if let Some(entry) = self.entries(message).into_iter().nth(number - 1) {
                return entry;
            }
            assert!(Instant::now() < deadline, "no {number} times {message:?}:\n{}", self.log());
            sleep(POLL);
        }
    }

    /// The ids of all processes, in the order in which they were started.
    fn ids(&self) -> Vec<u32> {
        let successors = self.entries(STARTED);
        let id = |entry: Value| u32::try_from(entry["successor"].as_u64().unwrap()).unwrap();
        [self.first.id()].into_iter().chain(successors.into_iter().map(id)).collect()
    }

    /// The process that was started last of those that run.
    pub(crate) fn last(&self) -> u32 {
        let running = self.ids().into_iter().rfind(|id| self.is_ours(*id));
        running.unwrap_or_else(|| panic!("none runs:\n{}", self.log()))
    }

    /// The successor that was started as the `number`th.
    pub(crate) fn successor(&self, number: usize) -> u32 {
        u32::try_from(self.entry(STARTED, number)["successor"].as_u64().unwrap()).unwrap()
    }

    /// Signals a process that is one of these.
    pub(crate) fn signal(&self, id: u32, signal: Signal) {
        assert!(self.is_ours(id), "{id} does not run");
        kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
    }

    /// Whether `id` runs, in the directory of these.
    fn is_ours(&self, id: u32) -> bool {
        runs(id) && fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|dir| dir == self.dir)
    }

    /// Waits until `id` has ended.
    pub(crate) fn wait_for_end(&self, id: u32) {
        let deadline = Instant::now() + END;
        while runs(id) {
            assert!(Instant::now() < deadline, "{id} still runs:\n{}", self.log());
            sleep(POLL);
        }
    }

    /// The process that serves hands over, and ends: the one that serves now.
    pub(crate) fn hand_over(&self) -> u32 {
        let (old, serving) = (self.last(), self.count("serving"));
        self.signal(old, Signal::USR2);
        self.wait_for_end(old);
        self.entry("serving", serving + 1);
        let new = self.last();
        assert_ne!(new, old);
        new
    }

    /// Stops the process that serves in good order: the log of all.
    pub(crate) fn stop(self) -> String {
        let last = self.last();
        self.signal(last, Signal::TERM);
        self.wait_for_end(last);
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        log
    }

    /// The exit code of the first process.
    pub(crate) fn first_code(&mut self) -> Option<i32> {
        self.first.wait().unwrap().code()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for id in self.ids() {
            if self.is_ours(id) {
                let _ = kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), Signal::KILL);
            }
        }
        let _ = self.first.wait();
    }
}

/// Whether the process `id` runs: it has not ended, whether or not somebody has waited for it.
fn runs(id: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat"));
    // The state stands behind the name, which may hold anything.
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}
