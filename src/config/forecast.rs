//! What a configuration will cost and stand: for `check` and for the start.

use std::{fmt, time::Duration};

use bytesize::ByteSize;

use super::{Config, period::Period, size::Size};

/// What follows from a configuration, before anything has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Streams that are declared, at least 1.
    pub streams: u64,
    /// When a segment is sealed by age.
    pub seal_after: Period,
    /// When it is sealed by size.
    pub segment_size: Size,
    /// What the spool may use.
    pub disk_quota: Size,
    /// Whether that is disk, and not memory.
    pub keeps: bool,
    /// Bytes a second that the durable path is believed to take.
    pub capacity_floor: Size,
    /// How often a heartbeat is written into the books; `None` for never.
    pub heartbeat: Option<Period>,
}

/// How many times smaller gzip at level 1 makes logs, about.
const COMPRESSION: f64 = 5.0;
/// The example in the text: events a second of a stream, and stored bytes an event.
const EXAMPLE: (u64, u64) = (100, 600);

impl Forecast {
    /// What follows from `config`.
    pub fn new(config: &Config) -> Self {
        Self {
            streams: config.streams.len().max(1) as u64,
            seal_after: config.spool.seals_after(),
            segment_size: config.spool.segment_size,
            disk_quota: config.spool.quota(),
            keeps: config.spool.keeps(),
            capacity_floor: config.pacing.capacity_floor,
            heartbeat: config.ledger.heartbeats.then_some(config.ledger.interval),
        }
    }

    /// Requests a day that the books of each sink cost: a page for each seal, and the heartbeats.
    pub fn book_requests_a_day(&self) -> u64 {
        let heartbeats = self.heartbeat.map_or(0.0, |interval| 86_400.0 / interval.get().as_secs_f64());
        self.objects_a_day() / self.streams + heartbeats.ceil() as u64
    }

    /// Objects a day in each sink from a steady trickle: the most that sealing by age makes. Sealing by size makes more
    /// only where they are large.
    pub fn objects_a_day(&self) -> u64 {
        (86_400.0 / self.seal_after.get().as_secs_f64()).ceil() as u64 * self.streams
    }

    /// About the bytes of an object of a stream that has `events` a second of `bytes` stored bytes.
    pub fn object_bytes(&self, events: u64, bytes: u64) -> u64 {
        let stored = (events * bytes) as f64 * self.seal_after.get().as_secs_f64();
        (stored.min(self.segment_size.get() as f64) / COMPRESSION) as u64
    }

    /// How long the disk quota lasts while the sinks take nothing and `rate` bytes are stored a second.
    pub fn outage(&self, rate: Size) -> Duration {
        Duration::from_secs(self.disk_quota.get() / rate.get().max(1))
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, bytes) = EXAMPLE;
        let (objects, streams) = (self.objects_a_day(), self.streams);
        write!(f, "up to {} objects a day and stream (sealed every {})", objects / streams, self.seal_after)?;
        if streams > 1 {
            write!(f, ", {objects} for the {streams} streams that are declared")?;
        }
        writeln!(f)?;
        writeln!(f, "the books take {} requests a day more", self.book_requests_a_day())?;
        writeln!(
            f,
            "at {events} events/s of {bytes} stored bytes an object has about {} compressed (at 1:{COMPRESSION})",
            ByteSize(self.object_bytes(events, bytes)),
        )?;
        let lasts = |rate| humantime::format_duration(self.outage(rate));
        write!(
            f,
            "while the sinks take nothing, the {} of {} lasts {} at {}/s and {} at 1 MiB/s",
            if self.keeps { "disk quota" } else { "memory" },
            self.disk_quota,
            lasts(self.capacity_floor),
            self.capacity_floor,
            lasts(Size::mib(1)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SpoolKind;

    #[test]
    fn the_default_is_forecast() {
        let forecast = Forecast::new(&Config::default());
        assert_eq!(forecast.objects_a_day(), 288);
        assert_eq!(forecast.object_bytes(100, 600), 3_600_000);
        assert_eq!(forecast.outage(Size::mib(10)), Duration::from_secs(1_024));
        assert_eq!(forecast.book_requests_a_day(), 288 + 1_440);
        assert_eq!(Forecast { heartbeat: None, ..forecast }.book_requests_a_day(), 288);
        assert_eq!(
            forecast.to_string(),
            "up to 288 objects a day and stream (sealed every 5m)\n\
             the books take 1728 requests a day more\n\
             at 100 events/s of 600 stored bytes an object has about 3.4 MiB compressed (at 1:5)\n\
             while the sinks take nothing, the disk quota of 10 GiB lasts 17m 4s at 10 MiB/s and 2h 50m 40s at 1 MiB/s"
        );
    }

    #[test]
    fn without_a_disk_there_is_an_object_for_each_stream_and_window_and_memory_bridges_no_outage() {
        let mut config = Config::default();
        config.spool.kind = SpoolKind::None;
        let forecast = Forecast::new(&config);
        assert_eq!((forecast.objects_a_day(), forecast.object_bytes(100, 600)), (86_400, 12_000));
        assert!(forecast.to_string().ends_with("the memory of 64 MiB lasts 6s at 10 MiB/s and 1m 4s at 1 MiB/s"));
    }

    #[test]
    fn an_object_is_not_larger_than_its_segment() {
        let forecast = Forecast::new(&Config::default());
        assert_eq!(forecast.object_bytes(100_000, 600), (64 << 20) / 5);
    }

    #[test]
    fn sealing_more_often_and_more_streams_make_more_objects() {
        let forecast = Forecast { streams: 3, seal_after: Period::seconds(7), ..Forecast::new(&Config::default()) };
        assert_eq!(forecast.objects_a_day(), 12_343 * 3);
        assert!(
            forecast
                .to_string()
                .starts_with("up to 12343 objects a day and stream (sealed every 7s), 37029 for the 3 ")
        );
    }
}
