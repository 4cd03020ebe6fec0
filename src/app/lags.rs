//! The sinks' lags: once a second it is looked how far each has come, and gone on without one that lags too far. When the
//! quota is used up, the log says which sink holds it.
//!
//! Not by the sinks themselves: one that hangs would not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::metrics::Gauge;
use bytesize::ByteSize;
use tokio::time::{MissedTickBehavior, interval};

use crate::{batch::Clock, config::Config, queue::Published, spool::Shelf};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often the log says that the quota is used up.
const SAID_EVERY: Duration = Duration::from_mins(1);
/// How much of the quota counts as used up, in percent: a batch that finds no room is one that does not fit what is left.
const USED_UP_PERCENT: u64 = 95;

/// What is looked at.
pub(super) struct Lags {
    pub(super) shelf: Arc<Shelf>,
    pub(super) clock: Arc<Clock>,
    pub(super) quota: Quota,
    pub(super) room: Gauge,
}

impl Lags {
    /// Looks until it is dropped.
    pub(super) async fn run(mut self) {
        let mut looks = interval(INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let (segments, clock) = (Arc::clone(&self.shelf), Arc::clone(&self.clock));
            let looked = tokio::task::spawn_blocking(move || {
                segments.keep_up(clock.now());
                segments.free_bytes()
            });
            match looked.await {
                Ok(free) => self.room.set(self.quota.left().min(free.unwrap_or(u64::MAX)) as f64),
                Err(error) => tracing::error!(%error, "how far the sinks have come could not be looked at"),
            }
            self.quota.look(Instant::now(), |sink| self.shelf.lag_bytes(sink));
        }
    }
}

/// What may wait for the sinks, and who holds it.
pub(super) struct Quota {
    published: Arc<Published>,
    bytes: u64,
    sinks: Vec<String>,
    said: Option<Instant>,
    used_up: bool,
}

impl Quota {
    pub(super) fn new(config: &Config, published: Arc<Published>) -> Self {
        let sinks = config.sinks.iter().map(|sink| sink.name.clone()).collect();
        Self { published, bytes: config.spool.quota().get(), sinks, said: None, used_up: false }
    }

    /// Bytes that are left of it.
    fn left(&self) -> u64 {
        self.bytes.saturating_sub(self.published.spool_bytes())
    }

    /// Says at `now`, at most once a minute, that the quota is used up, and by which sink, whose lag in bytes `lag` tells;
    /// and once that there is room again.
    fn look(&mut self, now: Instant, lag: impl Fn(&str) -> u64) {
        let used = self.published.spool_bytes();
        let used_up = used >= self.bytes / 100 * USED_UP_PERCENT;
        if used_up && self.said.is_none_or(|said| now - said >= SAID_EVERY) {
            self.said = Some(now);
            self.used_up = true;
            let furthest = self.sinks.iter().map(|sink| (lag(sink), sink)).max();
            let (bytes, sink) = furthest.map_or((0, ""), |(bytes, sink)| (bytes, sink));
            tracing::warn!(
                sink,
                lag = %ByteSize(bytes),
                used = %ByteSize(used),
                quota = %ByteSize(self.bytes),
                "the quota is used up, and devices are refused, until this sink takes what it lacks"
            );
        }
        if !used_up && self.used_up {
            self.used_up = false;
            tracing::info!(used = %ByteSize(used), quota = %ByteSize(self.bytes), "the quota has room again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_is_used_up_is_said_once_a_minute_and_its_end_once() {
        let published = Arc::<Published>::default();
        let config = Config { sinks: vec![crate::config::Sink::file("files", "objects")], ..Config::default() };
        let mut quota = Quota { bytes: 1_000, ..Quota::new(&config, Arc::clone(&published)) };
        let began = Instant::now();
        let mut look = |used, seconds| {
            published.set_spool_bytes(used);
            quota.look(began + Duration::from_secs(seconds), |_| used);
            (quota.said.map(|said| (said - began).as_secs()), quota.used_up)
        };
        assert_eq!(look(900, 0), (None, false));
        assert_eq!(look(960, 1), (Some(1), true));
        assert_eq!(look(960, 60), (Some(1), true));
        assert_eq!(look(960, 61), (Some(61), true));
        assert_eq!(look(900, 62), (Some(61), false));
        assert_eq!(look(960, 63), (Some(61), false), "it has been said a moment ago");
        assert_eq!(look(960, 121), (Some(121), true));
    }
}
