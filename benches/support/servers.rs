//! The servers that are measured, each in a process of its own.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tempfile::TempDir;

/// The argument under which this program is the bare server.
pub(crate) const BARE: &str = "--bare-server";

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An axum handler that reads the body and answers.
    Bare,
    /// nginx that writes the body into a gzip'd access log.
    Nginx,
    /// logweir with everything on.
    Logweir,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Nginx => "nginx",
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

/// Cores that something runs on: one, or some.
#[derive(Clone, Debug)]
pub(crate) struct Cores(Vec<usize>);

impl From<usize> for Cores {
    fn from(core: usize) -> Self {
        Self(vec![core])
    }
}

impl From<[usize; 2]> for Cores {
    fn from(cores: [usize; 2]) -> Self {
        Self(cores.into())
    }
}

/// Lets the calling thread, and what it starts, run on `cores` only.
pub(crate) fn pin(cores: impl Into<Cores>) {
    let mut set = rustix::thread::CpuSet::new();
    cores.into().0.into_iter().for_each(|core| set.set(core));
    rustix::thread::sched_setaffinity(None, &set).expect("a core of one's own can be chosen");
}

/// How logweir is started.
#[derive(Default)]
pub(crate) struct Launch<'l> {
    /// Its environment.
    pub(crate) settings: &'l [(&'l str, String)],
    /// The text of its configuration file; the embedded default, if there is none.
    pub(crate) config: Option<&'l str>,
    /// What it runs under, a program and its arguments, which becomes logweir; nothing, if it is empty.
    pub(crate) under: &'l [&'l str],
    /// Where it runs, with the spool and the objects; a new directory, if there is none.
    pub(crate) dir: Option<TempDir>,
}

/// The file in nginx's directory into which the bodies are logged.
pub(crate) const NGINX_LOG: &str = "bodies.gz";

/// What nginx is told; `PORT` is replaced.
const NGINX: &str = include_str!("nginx.conf");

/// A server that runs.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    child: Child,
    /// Those that it has started.
    workers: Vec<u32>,
    dir: Option<TempDir>,
}

/// A server that ran.
pub(crate) struct Ended {
    /// Whether it ended as it was told to.
    pub(crate) well: bool,
    /// CPU time that it used, all in all.
    pub(crate) cpu: Duration,
    /// From being told until it had ended.
    pub(crate) took: Duration,
    /// What it left.
    pub(crate) dir: Option<TempDir>,
}

impl Target {
    /// Starts a server on `cores`; logweir with `settings` from its environment.
    pub(crate) fn start(kind: Kind, cores: impl Into<Cores>, settings: &[(&str, String)]) -> Self {
        match kind {
            Kind::Bare => on(cores, Self::start_bare),
            Kind::Nginx => on(cores, Self::start_nginx),
            Kind::Logweir => Self::launch(cores, Launch { settings, ..Launch::default() }),
        }
    }

    /// Starts logweir on `cores`.
    pub(crate) fn launch(cores: impl Into<Cores>, launch: Launch) -> Self {
        on(cores, || Self::start_logweir(launch))
    }

    fn start_bare() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program).arg(BARE).stdout(Stdio::piped()).spawn().expect("the bare server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().parse().expect("an address");
        Self { kind: Kind::Bare, address, admin: None, child, workers: Vec::new(), dir: None }
    }

    fn start_nginx() -> Self {
        let dir = directory();
        // Given up again: nginx wants to be told a port.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a port is free");
        let mut text = NGINX.replace("PORT", &address.port().to_string());
        if rustix::process::geteuid().is_root() {
            text.insert_str(0, "user root root;");
        }
        std::fs::write(dir.path().join("nginx.conf"), text).expect("its configuration is written");
        let mut child = Command::new("nginx")
            .arg("-p")
            .arg(format!("{}/", dir.path().display()))
            .args(["-c", "nginx.conf"])
            .spawn()
            .expect("nginx starts");
        // The socket listens before there is a worker; one that answers is there.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !get(address, "/ready").is_ok_and(|answer| answer.ends_with("ready")) {
            let ended = child.try_wait().expect("it can be waited for");
            assert!(ended.is_none() && Instant::now() < deadline, "nginx serves: {ended:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let workers = children(child.id());
        Self { kind: Kind::Nginx, address, admin: None, child, workers, dir: Some(dir) }
    }

    fn start_logweir(Launch { settings, config, under, dir }: Launch) -> Self {
        const PROGRAM: &str = env!("CARGO_BIN_EXE_logweir");
        let dir = dir.unwrap_or_else(directory);
        let mut command = Command::new(under.first().unwrap_or(&PROGRAM));
        if !under.is_empty() {
            command.args(&under[1..]).arg(PROGRAM);
        }
        if let Some(text) = config {
            std::fs::write(dir.path().join("logweir.toml"), text).expect("its configuration is written");
            command.args(["--config", "logweir.toml"]);
        }
        let mut child = command
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
        Self { kind: Kind::Logweir, address, admin: Some(admin), child, workers: Vec::new(), dir: Some(dir) }
    }

    /// Its processes.
    fn processes(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.child.id()).chain(self.workers.iter().copied())
    }

    /// CPU time that the server's processes have used.
    pub(crate) fn cpu(&self) -> Duration {
        let total = self.processes().map(|process| threads_cpu(process).max(process_cpu(process))).sum();
        assert!(total > Duration::ZERO, "the CPU time is told");
        total
    }

    /// The most memory that it has had; what its processes share is counted for each of them.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let peak = |process| {
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
            let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("its peak memory");
            line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
        };
        self.processes().map(peak).sum()
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
        self.admin.map_or_else(String::new, |admin| get(admin, "/metrics").expect("the admin port answers"))
    }

    /// Ends the server.
    pub(crate) fn stop(mut self) -> Ended {
        let signal = match self.kind {
            Kind::Bare => Signal::KILL,
            Kind::Nginx => Signal::QUIT,
            Kind::Logweir => Signal::TERM,
        };
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process id");
        let told = Instant::now();
        rustix::process::kill_process(pid, signal).expect("it can be told to end");
        // It is looked at before it is gone for good.
        let ended = || {
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            rustix::process::waitid(WaitId::Pid(pid), how).expect("it can be waited for").is_some()
        };
        let well = loop {
            if ended() {
                break true;
            }
            if told.elapsed() > Duration::from_secs(30) {
                break false;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let (cpu, took) = (process_cpu(self.child.id()), told.elapsed());
        if !well {
            self.kill();
        }
        let status = self.child.wait().expect("it can be waited for");
        Ended { well: well && (self.kind == Kind::Bare || status.success()), cpu, took, dir: self.dir.take() }
    }

    fn kill(&mut self) {
        for process in self.processes().filter_map(|process| Pid::from_raw(process as i32)) {
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Target {
    /// Leaves nobody behind when a measurement fails.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

/// Does something on `cores`, which a child that is started meanwhile inherits.
pub(crate) fn on<T: Send>(cores: impl Into<Cores>, work: impl FnOnce() -> T + Send) -> T {
    let cores = cores.into();
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            pin(cores);
            work()
        });
        working.join().expect("the server starts")
    })
}

/// A new directory for a server.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for a server")
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// CPU time that this process has used.
pub(crate) fn own_cpu() -> Duration {
    threads_cpu(std::process::id())
}

/// CPU time of the threads that a process has, to the nanosecond.
fn threads_cpu(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let nanos = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// CPU time of a process, also of threads and children of it that have ended, in ticks of 10 ms.
fn process_cpu(process: u32) -> Duration {
    let fields = stat(Path::new("/proc").join(process.to_string()).as_path());
    let ticks: u64 = fields.iter().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("the processes can be listed").flatten();
    let numbered = all.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    numbered.filter(|(_, path)| stat(path).get(1) == Some(&parent.to_string())).map(|(process, _)| process).collect()
}

/// What stands in a process's `stat` behind its name: its state, its parent and so on; nothing, if there is none.
fn stat(process: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    let behind_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    behind_name.split_ascii_whitespace().map(str::to_owned).collect()
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
