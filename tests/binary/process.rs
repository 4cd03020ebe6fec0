//! Processes of the binary: started in a directory of their own, watched, and never left behind.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::copy_rules::check_tree;

/// How long a start may take: a machine that compiles meanwhile is slow.
const START: Duration = Duration::from_secs(30);
/// How long a process may take to end, beyond what its settings allow it.
pub(crate) const END: Duration = Duration::from_secs(30);
/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// A directory that processes are started in, one after the other or side by side.
pub(crate) struct Place(TempDir);

impl Drop for Place {
    /// Whatever was stored here is held to the rules of COPY.
    fn drop(&mut self) {
        check_tree(self.0.path());
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, which processes find under `name`.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The binary with `arguments`, on free ports, with a log that a test can read, and nothing else in its
    /// environment: what a developer has set must not decide a test.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_logweir"));
        command.args(arguments);
        self.prepare(&mut command);
        command
    }

    /// Gives any command the directory and the environment of [`Self::command`].
    pub(crate) fn prepare(&self, command: &mut Command) {
        command.current_dir(self.0.path()).env_clear().stdin(Stdio::null());
        for setting in ["SERVER__LISTEN", "ADMIN__LISTEN"] {
            command.env(format!("LOGWEIR__{setting}"), "127.0.0.1:0");
        }
        command.env("LOGWEIR__LOG__FORMAT", "json");
    }

    /// Runs a command that ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Process::start(self.command(arguments)).wait(END)
    }

    /// The server, with the embedded default and `variables` (`SPOOL__SEAL_AFTER` for `LOGWEIR__SPOOL__SEAL_AFTER`).
    pub(crate) fn serve(&self, variables: &[(&str, &str)]) -> Server {
        let mut command = self.command(&[]);
        for (name, value) in variables {
            command.env(format!("LOGWEIR__{name}"), value);
        }
        Server::start(command)
    }
}

/// What a process writes on standard error, line by line, as it comes.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
}

impl Log {
    fn read(&self, stream: impl Read) {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            self.lines.lock().unwrap().0.push(String::from_utf8_lossy(&line).into_owned());
            self.grown.notify_all();
        }
        self.lines.lock().unwrap().1 = true;
        self.grown.notify_all();
    }

    /// Waits for the entry with `message`; `None` if the stream ends or the time is over first.
    fn wait_for(&self, message: &str, limit: Duration) -> Option<Value> {
        let deadline = Instant::now() + limit;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(found) = lines.0.iter().find_map(|line| entry(line).filter(|entry| entry["message"] == message))
            {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.1 || left.is_zero() {
                return None;
            }
            lines = self.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().0.join("\n")
    }
}

fn entry(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(Value::is_object)
}

/// A process that runs. It is killed if it is dropped before it has ended.
pub(crate) struct Process {
    child: Child,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
    stdout: Arc<Log>,
}

/// What a process left when it had ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The log entry with `message`.
    pub(crate) fn entry(&self, message: &str) -> Option<Value> {
        self.stderr.lines().find_map(|line| entry(line).filter(|entry| entry["message"] == message))
    }
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, stdout) = (Arc::<Log>::default(), Arc::<Log>::default());
        let reader = |log: &Arc<Log>, stream: Box<dyn Read + Send>| {
            let log = Arc::clone(log);
            thread::Builder::new().spawn(move || log.read(stream)).unwrap()
        };
        let readers = vec![
            reader(&log, Box::new(child.stderr.take().unwrap())),
            reader(&stdout, Box::new(child.stdout.take().unwrap())),
        ];
        Self { child, log, readers, stdout }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to this process, which has not been waited for and so cannot be another.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the process has ended, within `limit`, and reads the rest of what it wrote.
    pub(crate) fn wait(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}:\n{}", self.log.text());
            thread::sleep(POLL);
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let ended = Ended { code: status.code(), stdout: self.stdout.text(), stderr: self.log.text() };
        assert!(!ended.stderr.contains("panicked"), "a panic:\n{}", ended.stderr);
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that was waited for is left alone: its id may be another's by now.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A process that serves.
pub(crate) struct Server {
    process: Process,
    /// The public address.
    pub(crate) address: SocketAddr,
    /// The admin port's.
    pub(crate) admin: SocketAddr,
}

impl Server {
    /// Starts `command` and waits until it says that it serves.
    pub(crate) fn start(command: Command) -> Self {
        let process = Process::start(command);
        let serving = process.log.wait_for("serving", START);
        let serving = serving.unwrap_or_else(|| panic!("it does not serve:\n{}", process.log.text()));
        let address = |name: &str| serving[name].as_str().unwrap().parse().unwrap();
        Self { address: address("address"), admin: address("admin"), process }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        self.process.log.text()
    }

    /// The log entry with `message`, which is there or comes soon.
    pub(crate) fn entry(&self, message: &str) -> Value {
        self.process
            .log
            .wait_for(message, START)
            .unwrap_or_else(|| panic!("no {message:?}: {}", self.process.log.text()))
    }

    /// Waits until it has ended within `limit`. A server writes nothing on standard output, however it ends.
    pub(crate) fn wait(self, limit: Duration) -> Ended {
        let ended = self.process.wait(limit);
        assert_eq!(ended.stdout, "", "a server speaks on standard error only");
        ended
    }

    /// Asks it to end with SIGTERM, and holds it to ending well.
    pub(crate) fn stop(self) -> Ended {
        self.stop_within(END)
    }

    /// The same, for one that has much to do.
    pub(crate) fn stop_within(self, limit: Duration) -> Ended {
        self.signal(Signal::TERM);
        let ended = self.wait(limit);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended
    }

    /// Ends it as a power cut would, as far as a process can tell.
    pub(crate) fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        let ended = self.wait(END);
        assert_eq!(ended.code, None, "{}", ended.stderr);
        ended
    }
}

/// The value of `name` in a process's `/proc/{id}/status`, in bytes.
pub(crate) fn status_bytes(id: u32, name: &str) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib * 1024
}
