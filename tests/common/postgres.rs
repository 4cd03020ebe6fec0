//! A real PostgreSQL for a test: a cluster of its own in a temporary directory, on a port of loopback, which ends with
//! the test.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long it may take to start.
const START: Duration = Duration::from_mins(1);
/// Debian's user for daemons that own nothing: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;

/// The directory with PostgreSQL's programs: that of the newest version that Debian installed, or wherever `initdb` is
/// found.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists()).max();
    #[expect(clippy::disallowed_methods, reason = "a test finds its tools where the shell does")]
    let paths = std::env::var_os("PATH").unwrap_or_default();
    newest.or_else(|| std::env::split_paths(&paths).find(|path| path.join("initdb").exists()))
}

/// Whether there is a PostgreSQL to start. Tests that need one say on standard error that they were left out.
#[allow(clippy::print_stderr, clippy::disallowed_macros, reason = "a test tells what it left out")]
pub(crate) fn is_installed() -> bool {
    let found = programs().is_some();
    if !found {
        eprintln!("left out: PostgreSQL is not installed");
    }
    found
}

/// A server with an empty database `postgres`, which the user `postgres` owns who needs no password.
pub(crate) struct Postgres {
    dir: tempfile::TempDir,
    server: Option<Child>,
    pub(crate) port: u16,
    settings: Vec<String>,
}

#[allow(dead_code, reason = "each test uses what it needs")]
impl Postgres {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with `settings`, such as `max_connections=5`.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("logweir-postgres-").tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        if is_root() {
            for path in [dir.path(), &data] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let made = command("initdb", dir.path())
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut postgres = Self { dir, server: None, port: 0, settings };
        postgres.resume();
        postgres
    }

    /// Starts the server on its data; at first, and after [`Self::kill`], on the same port.
    pub(crate) fn resume(&mut self) {
        let began = Instant::now();
        loop {
            if self.port == 0 {
                self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            }
            let mut command = command("postgres", self.dir.path());
            command.arg("-D").arg(self.dir.path().join("data"));
            let own = [
                format!("port={}", self.port),
                "listen_addresses=127.0.0.1".to_owned(),
                format!("unix_socket_directories={}", self.dir.path().display()),
                "fsync=off".to_owned(),
            ];
            for setting in own.iter().chain(&self.settings) {
                command.arg("-c").arg(setting);
            }
            let log = fs::File::create(self.dir.path().join("log")).unwrap();
            let mut server = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
            while began.elapsed() < START && server.try_wait().unwrap().is_none() {
                if self.try_query("SELECT 1").is_ok() {
                    self.server = Some(server);
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
            let _ = server.kill();
            let _ = server.wait();
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < START, "PostgreSQL does not start: {log}");
            // Somebody else was faster at the port.
            self.port = 0;
        }
    }

    /// Ends the server at once, as a crash would: what was not committed is gone, and connections break.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            // SIGQUIT is PostgreSQL's immediate shutdown: its children go too, and the next start recovers.
            let _ = Command::new("kill").arg("-QUIT").arg(server.id().to_string()).status();
            let _ = server.wait();
        }
    }

    /// The directory of the server's data and socket.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What psql answers to `sql`: the rows, their columns separated by `|`. Panics if it is refused.
    pub(crate) fn query(&self, sql: &str) -> String {
        self.try_query(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// What psql answers to `sql`, or its error. Stops at the first statement that is refused.
    pub(crate) fn try_query(&self, sql: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "postgres",
        ])
        .args(["-p", &self.port.to_string(), "-f", "-"])
        .env("PGTZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
        let mut psql = psql.spawn().unwrap();
        let mut input = psql.stdin.take().unwrap();
        // What is refused is not read to its end.
        let answer = thread::scope(|scope| {
            scope.spawn(move || drop(input.write_all(sql.as_bytes())));
            psql.wait_with_output().unwrap()
        });
        if answer.status.success() {
            Ok(String::from_utf8(answer.stdout).unwrap().trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&answer.stderr).into_owned())
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(programs().unwrap().join(program));
    // Where it may not be is no place to work in.
    command.current_dir(dir);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
