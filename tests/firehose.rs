//! Firehose: against a stub that holds calls to the real limits and fails where it is told to, and against moto, which
//! somebody else has written from the same documentation.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "firehose/faults.rs"]
mod faults;
#[path = "common/firehose_server.rs"]
mod firehose_server;
#[path = "firehose/limits.rs"]
mod limits;
#[path = "common/live_spool.rs"]
mod live_spool;
#[path = "firehose/moto.rs"]
mod moto;
#[path = "common/moto.rs"]
mod moto_server;
#[path = "firehose/path.rs"]
mod path;

use std::{
    fmt::Write,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use firehose_server::FirehoseServer;
use logweir::{
    batch::{Book, StreamName},
    sink::{FirehoseSettings, FirehoseSink, Packing, Parcel, Targets},
};

const ACCESS_KEY: &str = "AKIALOGWEIRTESTS";
const SECRET_KEY: &str = "a secret that must not be found in a log";
/// The sink's name.
const SINK: &str = "firehose";
/// The delivery stream of the stream `heard`.
const DELIVERY_STREAM: &str = "logweir-heard";

/// What an environment might say.
fn config() -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
    SdkConfig::builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("us-east-1"))
        .build()
}

fn settings(endpoint: String, packing: Packing) -> FirehoseSettings {
    FirehoseSettings {
        sink: SINK.into(),
        region: None,
        endpoint: Some(endpoint),
        connect_timeout: Duration::from_secs(3),
        targets: Targets { delivery_stream: Some("logweir-{stream}".into()), ..Targets::default() },
        packing,
    }
}

fn sink_at(endpoint: String, packing: Packing) -> FirehoseSink {
    FirehoseSink::with_config(&config(), settings(endpoint, packing)).unwrap()
}

fn sink(server: &FirehoseServer, packing: Packing) -> FirehoseSink {
    sink_at(server.endpoint(), packing)
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn parcel(text: impl Into<Vec<u8>>) -> Parcel {
    Parcel::new(stream("heard"), Book::Accepted, text.into())
}

/// A parcel of lines that differ.
fn lines(count: usize) -> Parcel {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "{{\"n\":{number}}}").unwrap();
    }
    parcel(text)
}

/// The lines of a parcel, without their line feeds.
fn texts(parcel: &Parcel) -> Vec<String> {
    let text = parcel.range(0..parcel.lines()).to_vec();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

/// What is logged by this thread, while the guard lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}
