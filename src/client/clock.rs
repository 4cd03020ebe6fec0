//! The two clocks of a device, and its patience: injected, so that a test of an hour takes a moment.

use std::{
    fmt::Debug,
    pin::Pin,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::batch::Millis;

/// A future that is not named.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a device knows of time.
pub trait Clock: Send + Sync + Debug {
    /// How long it has been running; never goes back. Waits and ages within a run are measured by this. On a phone it must
    /// be the clock that goes on while the phone sleeps.
    fn uptime(&self) -> Duration;

    /// What the wall clock shows; may be wrong, and jump. `X-Sent-At` is this, and events should be stamped by it.
    fn wall(&self) -> Millis;

    /// Waits until the uptime is this.
    fn sleep_until(&self, uptime: Duration) -> BoxFuture<'_, ()>;
}

/// The clocks of this machine.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose uptime begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn uptime(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> Millis {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
        i64::try_from(millis).ok().and_then(Millis::new).unwrap_or(Millis::MAX)
    }

    fn sleep_until(&self, uptime: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(uptime.saturating_sub(self.uptime())))
    }
}
