//! A bucket for the binary: a real S3 server behind a network, both of which can be bad.

use std::{
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    copy_rules::check_tree,
    fault_proxy::{FaultProxy, Weather},
    process::{Place, Server},
    s3_server::{ACCESS_KEY, BAD_DAY, BUCKET, Fault, Operation, S3Server, SECRET_KEY, Seen},
};

/// Segments are small and sealed soon, so that much happens in a short time; an attempt fails soon, and is soon made
/// again.
const CONFIG: &str = r#"
[ingest]
undeclared_streams = "accept"
[limits]
encoded_body = "256KiB"
decoded_body = "256KiB"
output = "512KiB"
[spool]
dir = "spool"
segment_size = "1MiB"
disk_quota = "1GiB"
seal_after = "1s"
[drain]
linger = "0s"
[[sinks]]
name = "lake"
kind = "s3"
bucket = "{bucket}"
endpoint = "{endpoint}"
path_style = true
attempt_timeout = "1500ms"
backoff_min = "10ms"
backoff_max = "300ms"
"#;
/// How long to wait for a request.
const SOON: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// The bucket.
pub(crate) struct Bucket {
    pub(crate) server: S3Server,
    proxy: FaultProxy,
    // The last to go: what stands above runs on it.
    _runtime: Runtime,
}

impl Drop for Bucket {
    /// Whatever was stored is held to the rules of COPY.
    fn drop(&mut self) {
        check_tree(&self.objects());
    }
}

impl Bucket {
    /// An empty one, on a good day.
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (server, proxy) = runtime.block_on(async {
            let server = S3Server::start().await;
            let proxy = FaultProxy::start(server.address()).await;
            (server, proxy)
        });
        Self { server, proxy, _runtime: runtime }
    }

    /// The server in `place`, with this bucket as its only sink, and `variables` as [`Place::serve`] takes them.
    pub(crate) fn command(&self, place: &Place, variables: &[(&str, &str)]) -> Command {
        self.command_with(place, variables, "")
    }

    /// The same, with `more` behind the configuration, such as another sink.
    pub(crate) fn command_with(&self, place: &Place, variables: &[(&str, &str)], more: &str) -> Command {
        let config = CONFIG.replace("{bucket}", BUCKET).replace("{endpoint}", &self.proxy.endpoint()) + more;
        place.write("logweir.toml", &config);
        let mut command = place.command(&["--config", "logweir.toml"]);
        let credentials =
            [("ACCESS_KEY_ID", ACCESS_KEY), ("SECRET_ACCESS_KEY", SECRET_KEY), ("REGION", "ap-northeast-2")];
        command.envs(credentials.map(|(name, value)| (format!("AWS_{name}"), value)));
        command.envs(variables.iter().map(|(name, value)| (format!("LOGWEIR__{name}"), value)));
        command
    }

    /// Starts [`Self::command`].
    pub(crate) fn serve(&self, place: &Place, variables: &[(&str, &str)]) -> Server {
        Server::start(self.command(place, variables))
    }

    /// The directory that holds the objects.
    pub(crate) fn objects(&self) -> PathBuf {
        self.server.objects()
    }

    /// Changes what is between the server and S3.
    pub(crate) fn turn(&self, weather: Weather) {
        self.proxy.turn(weather);
    }

    /// From now on the network and S3 do badly what they do, as numbers from `seed` have it.
    pub(crate) fn bad_day(&self, seed: u64) {
        self.server.fault_at_random(seed, &BAD_DAY);
        self.turn(Weather::Storm(seed));
    }

    /// Everything works again.
    pub(crate) fn good_day(&self) {
        self.server.fault_at_random(0, &[]);
        self.turn(Weather::Clear);
    }

    /// The next object that is put gets no answer, whether it is stored or not.
    pub(crate) fn swallow_next(&self, stored: bool) {
        self.server.fault(Operation::Put, 1, if stored { Fault::SilenceAfter } else { Fault::Silence });
    }

    /// Waits until `count` more requests have met a fault at random, if they do soon.
    pub(crate) fn wait_for_faults(&self, count: usize) {
        let (most, deadline) = (self.server.met_at_random() + count, Instant::now() + SOON);
        while self.server.met_at_random() < most && Instant::now() < deadline {
            sleep(POLL);
        }
    }

    /// Waits until an object is being put, and tells what was until then. `None` if none comes.
    pub(crate) fn wait_for_put(&self) -> Option<Vec<Seen>> {
        let deadline = Instant::now() + SOON;
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            seen.extend(self.server.seen());
            if seen.iter().any(|seen| seen.operation == Operation::Put) {
                return Some(seen);
            }
            sleep(POLL);
        }
        None
    }
}
