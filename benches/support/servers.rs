//! The servers that are measured, each in a process of its own.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post};

/// The argument under which this program is the bare server.
pub(crate) const BARE: &str = "--bare-server";

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An axum handler that reads the body and answers.
    Bare,
    /// logweir with everything on.
    Logweir,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Logweir => "logweir",
        }
    }
}

/// The core of the servers, and that of the load.
pub(crate) fn cores() -> (usize, usize) {
    let set = rustix::thread::sched_getaffinity(None).expect("the cores can be asked for");
    let mine: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
    (mine[0], mine[mine.len() - 1])
}

/// Lets the calling thread, and what it starts, run on `core` only.
pub(crate) fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).expect("a core of one's own can be chosen");
}

/// A server that runs.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    child: Child,
    _dir: Option<tempfile::TempDir>,
}

impl Target {
    /// Starts a server on `core`; logweir with `settings` from its environment.
    pub(crate) fn start(kind: Kind, core: usize, settings: &[(&str, String)]) -> Self {
        // A child inherits the core of the thread that starts it.
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    pin(core);
                    match kind {
                        Kind::Bare => Self::start_bare(),
                        Kind::Logweir => Self::start_logweir(settings),
                    }
                })
                .join()
                .expect("the server starts")
        })
    }

    fn start_bare() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program).arg(BARE).stdout(Stdio::piped()).spawn().expect("the bare server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().parse().expect("an address");
        Self { kind: Kind::Bare, address, admin: None, child, _dir: None }
    }

    fn start_logweir(settings: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the spool");
        let mut child = Command::new(env!("CARGO_BIN_EXE_logweir"))
            .current_dir(dir.path())
            .env("LOGWEIR__SERVER__LISTEN", "127.0.0.1:0")
            .env("LOGWEIR__ADMIN__LISTEN", "127.0.0.1:0")
            .env("LOGWEIR__LOG__FORMAT", "json")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .spawn()
            .expect("logweir starts");
        let stderr = child.stderr.take().expect("its log is piped");
        let mut lines = BufReader::new(stderr).lines();
        let (address, admin) = loop {
            let line = lines.next().expect("it says where it listens").expect("a line");
            let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
            if line["message"] == "serving" {
                let address = |name: &str| line[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
                break (address("address"), address("admin"));
            }
        };
        // Somebody must read what it logs, or it waits for the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { kind: Kind::Logweir, address, admin: Some(admin), child, _dir: Some(dir) }
    }

    /// CPU time that the server's process has used.
    pub(crate) fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/schedstat", self.child.id());
        // Per thread in nanoseconds, finer than the ticks of /proc/PID/stat.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("its threads can be listed");
        let nanos = tasks.flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_ascii_whitespace().next()?.parse::<u64>().ok()
        });
        let total: u64 = nanos.sum();
        assert!(total > 0, "{path} tells the CPU time");
        Duration::from_nanos(total)
    }

    /// The most memory that it has had.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("its peak memory");
        line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// What it tells of itself, without labels.
    pub(crate) fn metrics(&self) -> HashMap<String, f64> {
        let text = self.scrape();
        let lines = text.lines().filter(|line| line.starts_with("logweir_") && !line.contains('{'));
        lines
            .filter_map(|line| line.split_once(' ').and_then(|(name, value)| Some((name.into(), value.parse().ok()?))))
            .collect()
    }

    /// What one series with labels stands at.
    pub(crate) fn labelled(&self, series: &str) -> f64 {
        let text = self.scrape();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).expect("the series is there")
    }

    fn scrape(&self) -> String {
        let Some(admin) = self.admin else { return String::new() };
        let mut stream = TcpStream::connect(admin).expect("the admin port answers");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it can be asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        text
    }

    /// Ends the server.
    pub(crate) fn stop(mut self) {
        if self.kind == Kind::Logweir {
            let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("a process id");
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be told to end");
            let deadline = Instant::now() + Duration::from_secs(30);
            while Instant::now() < deadline {
                if self.child.try_wait().expect("it can be waited for").is_some() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves bare axum until it is killed.
pub(crate) fn bare() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        std::io::stdout().flush().expect("the address is told");
        let answer = |body: Bytes| async move { format!("{{\"bytes\":{}}}", body.len()) };
        let routes = Router::new().route("/v1/logs/{stream}", post(answer));
        let routes = routes.layer(axum::extract::DefaultBodyLimit::max(16 << 20));
        axum::serve(listener, routes).await.expect("it serves");
    });
    ExitCode::SUCCESS
}
