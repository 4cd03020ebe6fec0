//! A server that runs as a package, an image or a unit would run it, and what it answers.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::sync_channel,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::owned::{Owned, PATIENCE, ask, until};

/// A process that serves. It is killed if it is dropped before it has ended.
pub(crate) struct Serving {
    process: Owned,
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
        let mut process = Owned(command.spawn().unwrap());
        let log = BufReader::new(process.0.stderr.take().unwrap());
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

    /// Sends a batch: what is answered, after its status.
    pub(crate) fn post(&self, stream: &str, body: &str) -> String {
        let length = body.len();
        let head =
            format!("POST /v1/logs/{stream} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {length}");
        told(ask(self.address, &format!("{head}\r\nHost: test\r\nConnection: close\r\n\r\n{body}")))
    }

    /// What the admin port answers, after its status.
    pub(crate) fn get(&self, path: &str) -> String {
        told(ask(self.admin, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")))
    }

    /// Ends it as `systemctl stop` does.
    pub(crate) fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM).unwrap();
        until("the server has ended", || self.process.0.try_wait().unwrap())
    }
}

/// Status and body in one text.
fn told((status, body): (u16, String)) -> String {
    format!("{status} {body}")
}
