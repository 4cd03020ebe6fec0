//! moto: what AWS does, as somebody else has written it from the same documentation. It never fails in part and checks no
//! limits.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long it may take to start.
const START: Duration = Duration::from_mins(1);

/// A server on loopback, which ends when it is dropped.
pub(crate) struct Moto {
    server: Child,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Moto {
    /// Starts one, if it is installed. Tests that need it say on standard error that they were left out.
    #[expect(clippy::disallowed_macros, clippy::print_stderr, reason = "a test tells what it left out")]
    pub(crate) fn start() -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/moto_server");
        if !program.exists() {
            eprintln!("left out: target/python has no moto_server; tests/run installs it");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { server, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < START, "moto does not start");
            thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
