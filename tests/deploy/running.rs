//! A server that runs, with every kind of sink: what it shows is real.

use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    owned::{PATIENCE, ask},
    serving::Serving,
    tools::logweir,
};

/// The secret of the key `sdk`.
const KEY: &str = "a-key-for-these-tests-only";
/// What the admin port wants.
pub(crate) const TOKEN: &str = "a-token-for-these-tests-only";

/// A server that runs.
pub(crate) struct Running {
    pub(crate) server: Serving,
    _dir: tempfile::TempDir,
}

impl Running {
    /// Starts one on free ports. Nobody listens where its Firehose should be.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let configuration = format!(
            r#"
            server = {{ workers = 2 }}
            admin = {{ token = "{TOKEN}" }}
            spool = {{ dir = "spool", seal_after = "1s", disk_quota = "1GiB" }}
            [[sinks]]
            name = "files"
            kind = "file"
            dir = "objects"
            [[sinks]]
            name = "hose"
            kind = "firehose"
            required = false
            delivery_stream = "logweir-{{stream}}"
            region = "us-east-1"
            endpoint = "http://127.0.0.1:9"
            [[keys]]
            name = "sdk"
            key = "{KEY}"
            [streams.heard]
            fields = {{ ad_id = {{ type = "string", max_bytes = 64 }} }}
            "#
        );
        fs::write(dir.path().join("logweir.toml"), configuration).unwrap();
        let mut command = Command::new(logweir());
        command.args(["--config", "logweir.toml"]).current_dir(dir.path()).env_clear();
        for (name, value) in [("AWS_ACCESS_KEY_ID", "none"), ("AWS_SECRET_ACCESS_KEY", "none")] {
            command.env(name, value);
        }
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        Self { server: Serving::start(command), _dir: dir }
    }

    /// Sends a batch: the answer's status.
    pub(crate) fn post(&self, stream: &str, body: &str, headers: &[(&str, &str)]) -> u16 {
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        let length = body.len();
        let head = format!(
            "POST /v1/logs/{stream} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Api-Key: {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        ask(self.server.address, &(head + body)).0
    }

    /// What it shows.
    pub(crate) fn metrics(&self) -> String {
        let head = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n";
        let (status, text) = ask(self.server.admin, &format!("{head}Authorization: Bearer {TOKEN}\r\n\r\n"));
        assert_eq!(status, 200, "{text}");
        text
    }

    /// What it shows, once that is as `wanted` says.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let text = self.metrics();
            if wanted(&text) {
                return text;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain until {what}:\n{text}");
            sleep(Duration::from_millis(50));
        }
    }
}
