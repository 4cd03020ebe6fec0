//! What objects in S3 cost the server, against objects in files.
//!
//! The bucket is s3s on loopback, in a process of its own on the load's core. Segments are sealed every 2 s, for both the
//! same. What counts is all that the server uses from the first batch until it has stored everything and ended.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, ExitCode, Stdio},
};

use serde_json::json;

use crate::{
    EVENTS,
    figure::{Figure, Of},
    rig::Rig,
    s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY},
    servers::{self, Launch, Target},
    stored::micros_an_event,
};

/// The argument under which this program is an S3 server.
pub(crate) const SERVER: &str = "--s3-server";
const LIMIT: f64 = 1.1;
/// The embedded default, but for the sink, and sealing more often.
const CONFIG: &str = r#"
[ingest]
undeclared_streams = "accept"
[spool]
dir = "data/spool"
seal_after = "2s"
seal_jitter = 0.0
[drain]
linger = "0s"
[[sinks]]
name = "lake"
SINK
"#;
const FILES: &str = r#"
kind = "file"
dir = "data/objects"
"#;
const S3: &str = r#"
kind = "s3"
bucket = "BUCKET"
endpoint = "ENDPOINT"
path_style = true
"#;

/// The CPU an event with the sink `s3`, to that with the sink `file`.
pub(crate) fn figures(rig: &Rig, rounds: usize) -> Vec<Figure> {
    println!("\ns3: the server's CPU an event in µs, objects in files or in S3, {EVENTS} events a batch");
    let (mut ratios, mut more) = (Vec::new(), Vec::new());
    let run = |sink: &str| {
        let config = CONFIG.replace("SINK", sink);
        let launch = Launch { config: Some(&config), settings: &credentials(), ..Launch::default() };
        let target = Target::launch(rig.server, launch);
        let measured = rig.closed_loop(&target, "heard", EVENTS);
        let objects = target.labelled("logweir_objects_total{sink=\"lake\",outcome=\"stored\"}");
        let rate = measured.requests as f64 / measured.time.as_secs_f64();
        (micros_an_event(&measured, &target.stop(), EVENTS), objects, rate)
    };
    for _ in 0..rounds {
        let files = run(FILES);
        let bucket = Bucket::start(rig.load);
        let s3 = run(&S3.replace("ENDPOINT", &bucket.endpoint).replace("BUCKET", BUCKET));
        bucket.stop();
        println!(
            "  files {:.2} ({:.0} batches/s, {} objects before the end), S3 {:.2} ({:.0} batches/s, {} objects)",
            files.0, files.2, files.1, s3.0, s3.2, s3.1
        );
        more.push(json!({
            "files_us": files.0, "s3_us": s3.0, "files_objects": files.1, "s3_objects": s3.1,
            "files_batches_per_second": files.2, "s3_batches_per_second": s3.2,
        }));
        ratios.push(s3.0 / files.0);
    }
    vec![Figure {
        name: "CPU an event, objects in S3 ÷ objects in files",
        unit: "",
        limit: LIMIT,
        rounds: ratios,
        of: Of::Median,
        more: more.into(),
    }]
}

/// What the SDK finds in the environment.
fn credentials() -> [(&'static str, String); 3] {
    [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY), ("AWS_REGION", "us-east-1")]
        .map(|(name, value)| (name, value.to_owned()))
}

/// An S3 server in a process of its own.
struct Bucket {
    child: Child,
    endpoint: String,
}

impl Bucket {
    fn start(core: usize) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = servers::on(core, || {
            let mut command = Command::new(program);
            command.arg(SERVER).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the S3 server starts")
        });
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        Self { child, endpoint: line.trim().to_owned() }
    }

    /// Ends it, with its objects.
    fn stop(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends");
    }
}

/// Is an S3 server until its standard input ends.
pub(crate) fn serve() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let server = runtime.block_on(S3Server::start());
    println!("{}", server.endpoint());
    std::io::stdout().flush().expect("the address is told");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(server);
    ExitCode::SUCCESS
}
