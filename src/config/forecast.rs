//! What a configuration will cost and stand: for `check` and for the start.

use std::{fmt, time::Duration};

use super::{Config, Packing, period::Period, size::Size};
use crate::{schema::Ack, sink::FirehoseSink};

/// What follows from a configuration, before anything has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Streams that are declared, at least 1.
    pub streams: u64,
    /// When a segment is sealed by age, or because answers wait for the sinks.
    pub seal_after: Period,
    /// When it is sealed by size.
    pub segment_size: Size,
    /// The compressed bytes at which it is sealed before.
    pub object_size: Option<Size>,
    /// What the spool may use.
    pub disk_quota: Size,
    /// Whether that is disk, and not memory.
    pub keeps: bool,
    /// Bytes a second that the durable path is believed to take.
    pub capacity_floor: Size,
    /// Whether a sink makes objects of segments, and has books.
    pub objects: bool,
    /// How often a heartbeat is written into the books; `None` for never.
    pub heartbeat: Option<Period>,
}

/// What a delivery stream gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// Records a month.
    pub a_month: u64,
    /// Bytes of lines in them, a month.
    pub bytes: u64,
    /// Bytes that are billed for them, a month: each record is rounded up.
    pub billed: u64,
}

/// How many times smaller gzip at level 1 makes logs, about.
const COMPRESSION: f64 = 5.0;
/// What Firehose rounds every record up to a multiple of, in bytes.
const BILLED_BYTES: u64 = 5 * 1024;
/// The seconds of a month, as clouds count its hours: 730.
const MONTH_SECONDS: f64 = 730.0 * 3_600.0;

impl Forecast {
    /// The example in texts: events a second of a stream, and stored bytes an event.
    pub const EXAMPLE: (u64, u64) = (100, 600);

    /// What follows from `config`.
    pub fn new(config: &Config) -> Self {
        let (spool, seals_after) = (&config.spool, config.spool.seals_after());
        let waited_for = config.streams.iter().any(|(_, stream)| stream.ack == Ack::Stored);
        let early = waited_for && spool.keeps() && config.object_sinks().any(|sink| sink.required);
        Self {
            streams: config.streams.len().max(1) as u64,
            seal_after: if early { seals_after.min(spool.early_seal_interval) } else { seals_after },
            segment_size: spool.segment_size,
            object_size: config.object_size(),
            disk_quota: spool.quota(),
            keeps: spool.keeps(),
            capacity_floor: config.pacing.capacity_floor,
            objects: config.object_sinks().next().is_some(),
            heartbeat: config.ledger.heartbeats.then_some(config.ledger.interval),
        }
    }

    /// Requests a day that the books of each sink cost: a page for each seal, and the heartbeats.
    pub fn book_requests_a_day(&self) -> u64 {
        let heartbeats = self.heartbeat.map_or(0.0, |interval| 86_400.0 / interval.get().as_secs_f64());
        self.seals_a_day() + heartbeats.ceil() as u64
    }

    /// Seals a day by age.
    pub fn seals_a_day(&self) -> u64 {
        (86_400.0 / self.seal_after.get().as_secs_f64()).ceil() as u64
    }

    /// Objects a day in each sink from a steady trickle: the most that sealing by age makes. Sealing by size makes more
    /// only where they are large.
    pub fn objects_a_day(&self) -> u64 {
        self.seals_a_day() * self.streams
    }

    /// About the bytes of an object of a stream that has `events` a second of `bytes` stored bytes, as all of them have.
    pub fn object_bytes(&self, events: u64, bytes: u64) -> u64 {
        self.by_age(events, bytes).min(self.by_size()).min(self.object_size.map_or(u64::MAX, Size::get))
    }

    /// What an object has if its segment is sealed by age.
    pub fn by_age(&self, events: u64, bytes: u64) -> u64 {
        ((events * bytes) as f64 * self.seal_after.get().as_secs_f64() / COMPRESSION) as u64
    }

    /// What an object has if its segment is sealed by size, and every stream has as much of it.
    pub fn by_size(&self) -> u64 {
        (self.segment_size.get() as f64 / self.streams as f64 / COMPRESSION) as u64
    }

    /// The object that a segment of one stream alone becomes.
    pub fn largest_object(&self) -> u64 {
        (self.segment_size.get() as f64 / COMPRESSION) as u64
    }

    /// The `spool.segment_size` from which on objects have `bytes` if it is that which seals segments.
    pub fn segment_for(&self, bytes: Size) -> Size {
        Size::mib(((bytes.get() * self.streams) as f64 * COMPRESSION / 1_048_576.0).ceil() as u64)
    }

    /// What the delivery stream of one stream gets that has `events` a second of `bytes` stored bytes, if lines wait for
    /// `linger`.
    pub fn records(&self, (events, bytes): (u64, u64), packing: Packing, linger: Period) -> Records {
        let together = (events as f64 * linger.get().as_secs_f64()).max(1.0);
        let lines = match packing {
            // Each line has its line feed in the stored bytes.
            Packing::Lines => {
                let fitting =
                    (FirehoseSink::RECORD_BYTES as u64 / bytes.max(1)).clamp(1, FirehoseSink::RECORD_LINES as u64);
                together.min(fitting as f64)
            }
            Packing::Single => 1.0,
        };
        let a_month = events as f64 * MONTH_SECONDS / lines;
        let length = (lines * bytes as f64).ceil() as u64;
        let billed = length.div_ceil(BILLED_BYTES) * BILLED_BYTES;
        let bytes = (events * bytes) as f64 * MONTH_SECONDS;
        Records { a_month: a_month as u64, bytes: bytes as u64, billed: (a_month * billed as f64) as u64 }
    }

    /// How long the disk quota lasts while the sinks take nothing and `rate` bytes are stored a second.
    pub fn outage(&self, rate: Size) -> Duration {
        Duration::from_secs(self.disk_quota.get() / rate.get().max(1))
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.objects {
            self.tell_objects(f)?;
        }
        let lasts = |rate| Period::from(self.outage(rate));
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

impl Forecast {
    fn tell_objects(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, bytes) = Self::EXAMPLE;
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
            Size::bytes(self.object_bytes(events, bytes)).about(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sink, SpoolKind};

    /// The default, with a sink that makes objects.
    fn config() -> Config {
        Config { sinks: vec![Sink::file("files", "x")], ..Config::default() }
    }

    #[test]
    fn the_default_is_forecast() {
        let forecast = Forecast::new(&config());
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
    fn where_no_sink_makes_objects_none_are_spoken_of() {
        let mut config = Config { sinks: vec![Sink::firehose("hose", "x")], ..Config::default() };
        assert_eq!(
            Forecast::new(&config).to_string(),
            "while the sinks take nothing, the disk quota of 10 GiB lasts 17m 4s at 10 MiB/s and 2h 50m 40s at 1 MiB/s"
        );
        config.sinks.push(Sink::s3("lake", "b"));
        assert!(Forecast::new(&config).to_string().starts_with("up to 288 objects a day"));
    }

    #[test]
    fn without_a_disk_there_is_an_object_for_each_stream_and_window_and_memory_bridges_no_outage() {
        let mut config = config();
        config.spool.kind = SpoolKind::None;
        let forecast = Forecast::new(&config);
        assert_eq!((forecast.objects_a_day(), forecast.object_bytes(100, 600)), (86_400, 12_000));
        assert!(forecast.to_string().ends_with("the memory of 64 MiB lasts 6s at 10 MiB/s and 1m 4s at 1 MiB/s"));
    }

    #[test]
    fn an_object_is_not_larger_than_its_segment() {
        let forecast = Forecast::new(&Config::default());
        assert_eq!(forecast.object_bytes(100_000, 600), (64 << 20) / 5);
        let four = Forecast { streams: 4, ..forecast };
        assert_eq!((four.object_bytes(100_000, 600), four.largest_object()), ((16 << 20) / 5, (64 << 20) / 5));
        assert_eq!(Forecast { object_size: Some(Size::mib(1)), ..forecast }.object_bytes(100_000, 600), 1 << 20);
        assert_eq!((forecast.segment_for(Size::mib(1)), four.segment_for(Size::mib(1))), (Size::mib(5), Size::mib(20)));
    }

    #[test]
    fn answers_that_wait_for_objects_seal_early() {
        let stream = super::super::DeclaredStream { ack: Ack::Stored, ..Default::default() };
        let streams = || [("heard".to_owned(), stream.clone())].into_iter().collect();
        let config = |sinks| Forecast::new(&Config { sinks, streams: streams(), ..Config::default() }).seal_after;
        let files = Sink::file("files", "x");
        assert_eq!(config(vec![files.clone()]), Period::seconds(5));
        assert_eq!(config(vec![Sink { required: false, ..files }]), Period::minutes(5));
    }

    #[test]
    fn records_are_billed_by_five_kibibytes() {
        let records = |packing, linger| Forecast::new(&Config::default()).records((100, 600), packing, linger);
        let seconds = 730 * 3_600;
        let single = records(Packing::Single, Period::millis(200));
        assert_eq!((single.a_month, single.billed), (100 * seconds, 100 * seconds * 5_120));
        let packed = records(Packing::Lines, Period::millis(200));
        // Twenty lines of 600 bytes: three times 5 KiB.
        assert_eq!((packed.a_month, packed.billed), (5 * seconds, 5 * seconds * 3 * 5_120));
        assert_eq!((packed.bytes, single.bytes), (60_000 * seconds, 60_000 * seconds));
        assert_eq!(records(Packing::Lines, Period::default()), single, "what does not wait is not packed");
        // A thousand lines wait together, and a record has 500 at most.
        assert_eq!(records(Packing::Lines, Period::seconds(10)).a_month, 525_600);
        let forecast = Forecast::new(&Config::default());
        let long = forecast.records((100, 10_240), Packing::Lines, Period::seconds(10));
        assert_eq!(long.a_month, seconds, "a record has no more lines than fit");
    }

    #[test]
    fn sealing_more_often_and_more_streams_make_more_objects() {
        let forecast = Forecast { streams: 3, seal_after: Period::seconds(7), ..Forecast::new(&config()) };
        assert_eq!(forecast.objects_a_day(), 12_343 * 3);
        assert!(
            forecast
                .to_string()
                .starts_with("up to 12343 objects a day and stream (sealed every 7s), 37029 for the 3 ")
        );
    }
}
