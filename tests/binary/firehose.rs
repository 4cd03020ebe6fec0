//! Firehose beside a bucket, for the binary: what arrives there, and what goes wrong there.

use std::collections::BTreeMap;

use crate::{
    bucket::Bucket,
    firehose_server::FirehoseServer,
    process::{Place, Server},
    scrape::Scrape,
    tracer::{Book, STREAMS, name_in},
};

/// The second sink: it fails soon and tries again soon.
const SINK: &str = r#"
[[sinks]]
name = "stream"
kind = "firehose"
delivery_stream = "{stream}"
rejected_stream = "bad"
region = "ap-northeast-2"
endpoint = "{endpoint}"
linger = "20ms"
attempt_timeout = "1500ms"
backoff_min = "10ms"
backoff_max = "300ms"
"#;

/// A bucket and delivery streams.
pub(crate) struct TwoSinks {
    pub(crate) bucket: Bucket,
    pub(crate) firehose: FirehoseServer,
}

impl TwoSinks {
    pub(crate) fn new() -> Self {
        Self { bucket: Bucket::new(), firehose: FirehoseServer::start([]) }
    }

    /// Starts the server in `place` with both sinks; `more` is what the second one is told besides.
    pub(crate) fn serve(&self, place: &Place, variables: &[(&str, &str)], more: &str) -> Server {
        Server::start(self.command(place, variables, more))
    }

    pub(crate) fn command(&self, place: &Place, variables: &[(&str, &str)], more: &str) -> std::process::Command {
        let sink = SINK.replace("{endpoint}", &self.firehose.endpoint()) + more;
        self.bucket.command_with(place, variables, &sink)
    }

    /// How often each event has arrived in its delivery stream.
    pub(crate) fn arrived(&self) -> BTreeMap<String, usize> {
        let mut arrived = BTreeMap::new();
        for line in STREAMS.iter().chain(&["bad"]).flat_map(|stream| self.firehose.lines(stream)) {
            *arrived.entry(name_in(&line)).or_default() += 1;
        }
        arrived
    }

    /// Of what `book` was promised, what has not arrived.
    pub(crate) fn lacking(&self, book: &Book) -> Vec<String> {
        let arrived = self.arrived();
        book.acknowledged.iter().filter(|name| !arrived.contains_key(*name)).cloned().collect()
    }

    /// How many lines have arrived once too often.
    pub(crate) fn doubled(&self) -> usize {
        self.arrived().values().map(|times| times - 1).sum()
    }
}

/// What the second sink has counted, by `outcome`.
pub(crate) fn lines(scrape: &Scrape, outcome: &str) -> f64 {
    scrape.value(&format!("logweir_sink_lines_total{{sink=\"stream\",outcome=\"{outcome}\"}}"))
}
