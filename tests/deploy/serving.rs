//! A server that runs as a package, an image or a unit would run it, and what it answers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a process is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

/// A process that serves. It is killed if it is dropped before it has ended.
pub(crate) struct Serving {
    process: Child,
    /// Its public port.
    pub(crate) address: SocketAddr,
    /// Its admin port.
    pub(crate) admin: SocketAddr,
    /// What its first line says.
    pub(crate) starting: Value,
}

impl Serving {
    /// Starts `command` on free ports, and waits until it serves.
    pub(crate) fn start(mut command: Command) -> Self {
        for (name, value) in
            [("SERVER__LISTEN", "127.0.0.1:0"), ("ADMIN__LISTEN", "127.0.0.1:0"), ("LOG__FORMAT", "json")]
        {
            command.env(format!("LOGWEIR__{name}"), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let (tell, told) = sync_channel(1_024);
        // Read to its end, so that the server never waits for a reader; what nobody takes is let go.
        let reading = move || log.lines().map_while(Result::ok).for_each(|line| drop(tell.try_send(line)));
        thread::Builder::new().spawn(reading).unwrap();
        let mut server = Self {
            process,
            address: ([127, 0, 0, 1], 0).into(),
            admin: ([127, 0, 0, 1], 0).into(),
            starting: Value::Null,
        };
        let mut lines = String::new();
        loop {
            let line = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it does not serve:\n{lines}"));
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            match entry["message"].as_str() {
                Some("starting") => server.starting = entry,
                Some("serving") => {
                    server.address = entry["address"].as_str().unwrap().parse().unwrap();
                    server.admin = entry["admin"].as_str().unwrap().parse().unwrap();
                    return server;
                }
                _ => lines.extend([&line, "\n"]),
            }
        }
    }

    /// Sends a batch: what is answered, from the status on.
    pub(crate) fn post(&self, stream: &str, body: &str) -> String {
        let length = body.len();
        let head =
            format!("POST /v1/logs/{stream} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {length}");
        ask(self.address, &format!("{head}\r\nHost: test\r\nConnection: close\r\n\r\n{body}"))
    }

    /// What the admin port answers, from the status on.
    pub(crate) fn get(&self, path: &str) -> String {
        ask(self.admin, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
    }

    /// Ends it as `systemctl stop` does.
    pub(crate) fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // One that was waited for is left alone: its id may be another's by now.
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        match stream.read(&mut chunk).unwrap() {
            0 => break,
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
    String::from_utf8(answer).unwrap().strip_prefix("HTTP/1.1 ").unwrap().to_owned()
}
