//! What the benchmark of sinks works with: lines as they are stored, a Firehose in a process of its own, CPU time.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    ops::Range,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use aws_config::{Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use logweir::{
    batch::{InstanceId, StreamName},
    sink::{Backoff, Filter, FirehoseSettings, FirehoseSink, LineSettings, LineSink, Packing, Targets},
};

use crate::{
    events,
    firehose_server::{FirehoseServer, Totals},
};

/// The argument under which this program is a Firehose.
pub(crate) const SERVER: &str = "--firehose-server";
/// The sink's name.
pub(crate) const SINK: &str = "firehose";
/// How many different lines there are.
const LINES: usize = 1_000;
/// How many events are put at a time when time does not matter.
const BATCH_EVENTS: usize = 100;
/// How many ticks a second /proc/self/stat counts in, on every Linux.
const TICKS: u64 = 100;

/// The stream of all lines.
pub(crate) fn stream() -> StreamName {
    StreamName::new("heard").expect("a name")
}

/// How the driver works.
pub(crate) fn line_settings(instance: InstanceId, concurrency: usize, linger: Duration) -> LineSettings {
    LineSettings {
        sink: SINK.into(),
        instance,
        concurrency,
        stretch_bytes: sink("http://127.0.0.1:9".into(), Packing::Lines).limits().bytes,
        linger,
        attempt_timeout: Duration::from_secs(30),
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
        filter: Filter::default(),
    }
}

/// The sink for a Firehose at `endpoint`.
pub(crate) fn sink(endpoint: String, packing: Packing) -> FirehoseSink {
    let credentials = Credentials::new("AKIALOGWEIRBENCHES", "no secret", None, None, "benches");
    let config = SdkConfig::builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("us-east-1"))
        .build();
    let settings = FirehoseSettings {
        sink: SINK.into(),
        region: None,
        endpoint: Some(endpoint),
        connect_timeout: Duration::from_secs(3),
        targets: Targets { delivery_stream: Some("logweir-{stream}".into()), ..Targets::default() },
        packing,
    };
    FirehoseSink::with_config(&config, settings).expect("a sink")
}

/// Lines as they are stored: an SDK's events with the server's fields.
pub(crate) struct Lines {
    /// Each begins behind the number.
    tails: Vec<String>,
}

impl Lines {
    pub(crate) fn new() -> Self {
        let body: serde_json::Value = serde_json::from_slice(&events::body(0, LINES)).expect("a body");
        let events = body["events"].as_array().expect("events");
        let tail = |event: &serde_json::Value| {
            let event = serde_json::to_string(event).expect("an event is JSON");
            format!(
                "\"event_id\":\"9b2d1f0c7a6e4d5f8a3b2c1d0e9f8a7b\",\"event_time\":\"2026-11-22T09:00:00.123Z\",\
                 \"received_at\":\"2026-11-22T09:00:00.456Z\",\"batch_id\":\"01JDA8Z4X0000000000000000\",{}\n",
                &event[1..]
            )
        };
        Self { tails: events.iter().map(tail).collect() }
    }

    /// The lines of these numbers, each of which tells its own.
    pub(crate) fn numbered(&self, numbers: Range<usize>) -> String {
        let mut text = String::new();
        for number in numbers {
            let _ = write!(text, "{{\"n\":{number},{}", self.tails[number % LINES]);
        }
        text
    }

    /// As many lines as there may be of so many bytes.
    pub(crate) fn at_most(&self, lines: usize, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes);
        for number in 0..lines {
            let line = self.numbered(number..number + 1);
            if text.len() + line.len() > bytes {
                break;
            }
            text.push_str(&line);
        }
        text
    }

    /// So many lines, a batch at a time.
    pub(crate) fn batches(&self, events: usize) -> impl Iterator<Item = String> {
        let starts = (0..events).step_by(BATCH_EVENTS);
        starts.map(move |start| self.numbered(start..(start + BATCH_EVENTS).min(events)))
    }
}

/// The numbers of the lines in a record.
pub(crate) fn numbers(record: &[u8]) -> impl Iterator<Item = usize> {
    let lines = record.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| {
        let text = std::str::from_utf8(line).expect("text");
        let number = text.strip_prefix("{\"n\":").and_then(|text| text.split_once(',')).expect("a number").0;
        number.parse().expect("a number")
    })
}

/// CPU time that this process has used, with threads that have ended.
pub(crate) fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").expect("its own figures");
    // The second field is a name in brackets, in which there may be anything.
    let fields: Vec<&str> = text.rsplit_once(')').expect("a name").1.split_ascii_whitespace().collect();
    let ticks = |place: usize| fields[place].parse::<u64>().expect("ticks");
    Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS)
}

/// What this process has of memory, `VmRSS`, or has had at the most, `VmHWM`, in bytes.
pub(crate) fn resident(what: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("its own figures");
    let line = text.lines().find(|line| line.starts_with(what)).expect("a line of it");
    line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}

/// The most that this process has had of memory is what it has now.
pub(crate) fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("its own figures can be reset");
}

/// A Firehose in a process of its own.
pub(crate) struct Firehose {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    endpoint: String,
}

impl Firehose {
    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.arg(SERVER).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it says where it listens");
        Self { child, output, endpoint: line.trim().to_owned() }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Ends it: what had arrived.
    pub(crate) fn stop(mut self) -> Totals {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it says what arrived");
        self.child.wait().expect("it ends");
        let numbers: Vec<u64> = line.split_ascii_whitespace().map(|text| text.parse().expect("a number")).collect();
        let [calls, records, bytes, billed_bytes, lines] = numbers[..] else { unreachable!("five numbers: {line}") };
        Totals { calls, records, bytes, billed_bytes, lines }
    }
}

/// Is a Firehose until its standard input ends.
pub(crate) fn serve() -> ExitCode {
    let server = FirehoseServer::start_counting();
    println!("{}", server.endpoint());
    std::io::stdout().flush().expect("the address is told");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let Totals { calls, records, bytes, billed_bytes, lines } = server.totals();
    println!("{calls} {records} {bytes} {billed_bytes} {lines}");
    ExitCode::SUCCESS
}
