//! A server that runs, with every kind of sink: what it shows is real.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::tools::logweir;

/// How long anything may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// The secret of the key `sdk`.
const KEY: &str = "a-key-for-these-tests-only";
/// What the admin port wants.
pub(crate) const TOKEN: &str = "a-token-for-these-tests-only";

/// A process that is killed, and waited for, when this is dropped.
pub(crate) struct Owned(pub(crate) Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that runs.
pub(crate) struct Running {
    address: SocketAddr,
    pub(crate) admin: SocketAddr,
    _process: Owned,
    _dir: tempfile::TempDir,
}

impl Running {
    /// Starts one on free ports. Nobody listens where its Firehose should be.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let configuration = format!(
            r#"
            server = {{ listen = "127.0.0.1:0", workers = 2 }}
            admin = {{ listen = "127.0.0.1:0", token = "{TOKEN}" }}
            spool = {{ dir = "spool", seal_after = "1s", disk_quota = "1GiB" }}
            log = {{ format = "json" }}
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
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let (told, serving) = std::sync::mpsc::sync_channel(1_024);
        let reading = move || {
            // To its end, so that the server never waits for a reader.
            for line in log.lines().map_while(Result::ok) {
                let _ = told.try_send(line);
            }
        };
        std::thread::Builder::new().spawn(reading).unwrap();
        let process = Owned(process);
        let (address, admin) = loop {
            let line = serving.recv_timeout(PATIENCE).expect("the server starts");
            let entry: serde_json::Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let field = |name: &str| entry[name].as_str().or(entry["fields"][name].as_str())?.parse().ok();
            if let (Some(address), Some(admin)) = (field("address"), field("admin")) {
                break (address, admin);
            }
        };
        Self { address, admin, _process: process, _dir: dir }
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
        ask(self.address, &(head + body)).0
    }

    /// What it shows.
    pub(crate) fn metrics(&self) -> String {
        let head = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n";
        let (status, text) = ask(self.admin, &format!("{head}Authorization: Bearer {TOKEN}\r\n\r\n"));
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

/// A port on which nobody listens now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What `address` answers to a request that asks for the connection to be closed: status and body.
pub(crate) fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { unchunked(body) } else { body.to_owned() })
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}
