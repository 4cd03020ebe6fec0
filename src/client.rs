//! The reference SDK client: what a device does, in code. Authors of SDKs port it from here.
//!
//! ```text
//!  log ──► batcher ──► buffer ──► sender ──► transport ──► server
//!   │ sample  │ gather     │ in a      │ when?  one request at a time
//!   │         │ close      │ directory │
//!   │         │ gzip       │ or memory │◄── contract: what an answer means
//!             ▲                        │◄── retry budget: how much may be retries
//!             └──────── hints ◄────────┘◄── what the server asks of all devices
//! ```
//!
//! [`Client::log`] gathers an event and returns at once: it never waits, and never fails. Events become batches by count,
//! size or age (`batcher`), and a batch gets its id then and keeps it. It waits in a directory or in memory (`buffer`)
//! until the server has it, or can never take it, or seven days have passed. What an answer means is a table
//! ([`contract`]); when the device sends again is computed from it ([`pace`]), never sooner than the server says.
//! Everything that is not delivered is counted by its cause ([`Counts`]).
//!
//! # What a port must keep
//!
//! - **The same batch has the same id and the same bytes, however often it is sent.** By them the server gives its events the
//!   same ids again, and the warehouse counts them once. So the envelope is packed once and kept as it will be sent.
//! - **`X-Sent-At` is set anew for each attempt**, from the clock that stamped the events: the server corrects their times
//!   by it. The time does not stand in the body, which is older than the attempt.
//! - **A wait that an answer names holds for the device**, and outlives the process if it is long.
//! - **One request at a time.** Several would take several of the server's slots.
//! - **Everything has a limit**: what is gathered ([`WAITING_FACTOR`]), what waits ([`Settings::buffer_bytes`],
//!   [`MAX_BATCHES`]), how old it gets ([`contract::MAX_AGE`]), how long anything takes ([`Timeouts`]), how much of an answer
//!   is read ([`MAX_ANSWER_BYTES`]). Where something does not fit, the oldest goes, and is counted.
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use logweir::{
//!     batch::StreamName,
//!     client::{Client, Settings},
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Settings {
//!     key: Some("the key of this SDK".into()),
//!     device_id: Some("3f2a9c51d0".into()),
//!     sdk_version: Some("android/2.3.1".into()),
//!     directory: Some("/data/app/logs".into()),
//!     ..Settings::new("https://logs.example.com")
//! })?;
//! let heard = StreamName::new("heard")?;
//! let stop = async { drop(tokio::signal::ctrl_c().await) };
//! let work = async {
//!     client.log(&heard, &serde_json::json!({ "ad_id": "a17", "time": "2026-11-22T20:59:30+09:00" }));
//! };
//! tokio::join!(client.run(stop), work);
//! let left = client.close(Duration::from_secs(5)).await;
//! # assert_eq!(left.batches, 0);
//! # Ok(())
//! # }
//! ```

mod batcher;
mod buffer;
mod clock;
pub mod contract;
mod counts;
mod disk;
mod exchange;
mod hints;
pub mod pace;
mod pauses;
mod retry_budget;
mod sender;
mod settings;
mod shared;
mod transport;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::Notify;

use self::{
    batcher::Batcher,
    buffer::{Buffer, Now},
    exchange::Requests,
    sender::Sender,
    shared::{Shared, lock},
};
pub use self::{
    batcher::{BatchLimits, Label, MAX_EVENT_BYTES, WAITING_FACTOR},
    buffer::MAX_BATCHES,
    clock::{BoxFuture, Clock, SystemClock},
    counts::{Counts, Tally},
    exchange::{DEVICE_ID, MAX_DEVICE_ID_BYTES, MAX_SDK_VERSION_BYTES, SDK_VERSION, SENT_AT},
    hints::{Heeded, Hints, MAX_HINT_AGE, MAX_SEND_INTERVAL, SAMPLING, SEND_INTERVAL},
    retry_budget::RetryBudget,
    sender::KEPT_PAUSE,
    settings::{MAX_CONTEXT_BYTES, Settings, SetupError},
    transport::{AddressError, HttpTransport, MAX_ANSWER_BYTES, MAX_IDLE, NoAnswer, Roots, Timeouts, Transport},
};
use crate::batch::StreamName;

/// A device's client. Events are logged from anywhere; somebody must [`run`](Self::run) it.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    sender: tokio::sync::Mutex<Sender>,
}

impl Client {
    /// A client that speaks HTTP. Its directory is read here, if there is one.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let transport = HttpTransport::new(&settings.server, &settings.roots, settings.timeouts)?;
        Self::with(settings, Arc::new(transport), Arc::new(SystemClock::new()))
    }

    /// A client on another network and in another time: for tests and simulations.
    ///
    /// # Errors
    /// See [`SetupError`]; the server's address is not looked at.
    pub fn with(settings: Settings, transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        settings.validate()?;
        let (device_id, sdk_version) = (settings.device_id.as_deref(), settings.sdk_version.as_deref());
        let requests = Requests::new(settings.key.as_deref(), device_id, sdk_version)?;
        let context = serde_json::Value::Object(settings.context).to_string().into_bytes();
        if context.len() > MAX_CONTEXT_BYTES {
            return Err(SetupError::Context);
        }
        let now = Now { uptime: clock.uptime(), wall: clock.wall() };
        let mut counts = Counts::default();
        let buffer = match settings.directory {
            None => Buffer::in_memory(settings.buffer_bytes),
            Some(path) => Buffer::in_directory(&path, settings.buffer_bytes, now, &mut counts).map_err(|source| {
                let in_use = source.kind() == io::ErrorKind::WouldBlock;
                if in_use { SetupError::InUse(path) } else { SetupError::Directory { path, source } }
            })?,
        };
        let pauses = buffer.kept_pauses(now.wall);
        let shared = Shared {
            clock,
            limits: settings.batch,
            context,
            batcher: Mutex::new(Batcher::new(settings.batch)),
            in_buffer: Mutex::new(buffer.waiting()),
            buffer: Mutex::new(buffer),
            counts: Mutex::new(counts),
            hints: Mutex::new(Heeded::default()),
            gathered: Notify::new(),
            buffered: Notify::new(),
        };
        let sender = Sender::new(transport, requests, pauses, now.uptime);
        Ok(Self { shared: Arc::new(shared), sender: tokio::sync::Mutex::new(sender) })
    }

    /// Takes an event: what becomes a JSON object of at most [`MAX_EVENT_BYTES`]. Never waits; what cannot be taken is
    /// counted.
    pub fn log(&self, stream: &StreamName, event: &impl Serialize) {
        let kept = self.hints().keeps(fastrand::f64());
        // Before the event is serialised: a sample is meant to spare the device, too.
        let json = if kept { serde_json::to_vec(event).ok().filter(|json| is_fit(json)) } else { None };
        {
            let mut counts = lock(&self.shared.counts);
            counts.logged += 1;
            counts.sampled_out += u64::from(!kept);
            counts.unfit += u64::from(kept && json.is_none());
        }
        if let Some(json) = json {
            self.shared.gather(stream, &json);
        }
    }

    /// Gathers and sends until `stop`, and then puts what is gathered into the buffer. What was being sent is sent again.
    /// If it is run twice at a time, the second waits for the first.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut sender = self.sender.lock().await;
        tokio::select! {
            biased;
            () = stop => {}
            () = self.shared.keep() => {}
            () = sender.run(&self.shared, None) => {}
        }
        self.shared.put_all_away().await;
    }

    /// Sends what there is, as far as the server lets it, for at most `within`; then tells what is left. What is left in a
    /// directory is sent by the next client there, under the same ids; what a slow disk has not taken yet by then is written
    /// in the background. If the client still runs, it goes on sending, and this waits.
    pub async fn close(&self, within: Duration) -> Tally {
        let end = self.shared.clock.uptime().saturating_add(within);
        let send = async {
            self.shared.put_all_away().await;
            self.sender.lock().await.run(&self.shared, Some(end)).await;
        };
        tokio::select! {
            // First, so that what is gathered is on its way to the disk however short the time is.
            biased;
            () = send => {}
            () = self.shared.clock.sleep_until(end) => {}
        }
        self.waiting()
    }

    /// What became of everything so far.
    pub fn counts(&self) -> Counts {
        *lock(&self.shared.counts)
    }

    /// What the server asks for at present.
    pub fn hints(&self) -> Hints {
        self.shared.hints()
    }

    /// What waits: gathered, or in the buffer.
    pub fn waiting(&self) -> Tally {
        self.shared.waiting()
    }
}

/// Whether `json`, which is valid, can be an event.
fn is_fit(json: &[u8]) -> bool {
    json.first() == Some(&b'{') && json.len() <= MAX_EVENT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_does_not_wait_for_a_disk_that_hangs() {
        let client = Arc::new(Client::new(Settings::new("http://127.0.0.1:9")).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        client.log(&StreamName::new("heard").unwrap(), &serde_json::json!({}));
        let disk = lock(&client.shared.buffer);
        let closed = runtime.spawn({
            let client = Arc::clone(&client);
            async move { client.close(Duration::from_millis(50)).await }
        });
        let left = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), closed).await });
        drop(disk);
        assert_eq!(left.unwrap().unwrap(), Tally::one(1));
        runtime.block_on(client.shared.with_buffer(|_, _, _| ())).unwrap();
        assert_eq!(client.waiting(), Tally::one(1));
    }
}
