//! Every metric: name, unit, labels and meaning.
//!
//! A metric is declared here once and nowhere else. Whoever counts asks [`Metrics`] for a handle when it is set up and
//! keeps it: counting is then one atomic addition, without a look-up. Labels are bounded: streams by
//! `limits.streams`, sinks by the configuration, keys by a number in `http::policy`, everything else by an enum in the code.

use std::{fmt, time::Instant};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// A metric as it is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// Its name, with the unit at its end.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What its values are.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Its values are counted in buckets with these upper bounds.
    Histogram(Buckets),
}

/// The upper bounds of a histogram's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// 100 µs to 60 s.
    Seconds,
    /// 1 KiB to 64 MiB, by factors of 4.
    Bytes,
    /// 1 to 4096, by factors of 4.
    Count,
    /// 1 s to 30 d: how wrong clocks are.
    Clocks,
}

impl Buckets {
    /// The upper bounds, but for the last, which is infinite.
    pub fn bounds(self) -> &'static [f64] {
        match self {
            Self::Seconds => &[
                0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
                30.0, 60.0,
            ],
            Self::Bytes => {
                &[1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0]
            }
            Self::Count => &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0],
            Self::Clocks => {
                &[1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0]
            }
        }
    }
}

macro_rules! declare {
    ($($(#[$doc:meta])* $const:ident: $kind:expr, $name:literal, $unit:ident, [$($label:literal),*], $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $const: Declared = Declared {
                name: $name,
                kind: $kind,
                unit: Unit::$unit,
                labels: &[$($label),*],
                meaning: $meaning,
            };
        )*
        /// Every metric, in the order of a batch's path.
        pub const ALL: &[Declared] = &[$($const),*];
    };
}

declare! {
    BUILD_INFO: Kind::Gauge, "logweir_build_info", Count, ["version", "commit"], "1, with the version that runs and the commit that it was built from.";
    RELOADS: Kind::Counter, "logweir_reloads_total", Count, ["outcome"], "Times that the configuration was read again while serving: taken over; or refused, because it was not sound or would break loads, and then nothing has changed.";
    CONFIG_VERSION: Kind::Gauge, "logweir_config_version", Count, [], "Which configuration is in force: 1 is that of the start, and each one that was taken over while serving is one more.";
    CONFIG_HASH: Kind::Gauge, "logweir_config_hash", Count, [], "A number made from every setting in force and from hashes of the keys and the other secrets of this server, but not from passwords of warehouses: instances that serve under the same configuration show the same. It tells nothing about a secret that is random, and whether a guess is right about one that is not.";
    HANDOVERS: Kind::Counter, "logweir_handovers_total", Count, ["outcome"], "Times that a process was to hand over to a successor and serves on, because that failed; and 1, taken over, in a process that is such a successor.";
    READY: Kind::Gauge, "logweir_ready", Count, [], "1 if /readyz answers 200, else 0.";
    UNREADY: Kind::Gauge, "logweir_unready", Count, ["cause"], "1 for each cause for which /readyz answers 503 now, else 0.";
    START_TIME: Kind::Gauge, "logweir_start_time_seconds", Seconds, [], "When the instance began to serve, by its own clock, as seconds since the epoch.";
    TIME: Kind::Gauge, "logweir_time_seconds", Seconds, [], "What the clock says by which events get their received time, as seconds since the epoch, a second ago at most; it stands still where the machine's was set back.";
    MEMORY_CEILING: Kind::Gauge, "logweir_memory_ceiling_bytes", Bytes, [], "What the process may come to need, computed from the configuration.";
    RESIDENT: Kind::Gauge, "logweir_resident_bytes", Bytes, [], "What the process has in memory now.";
    DEMAND: Kind::Gauge, "logweir_demand_ratio", Count, [], "Bytes offered for each byte that the limiting stage can take; not capped at 1. Only what was taken or refused with 429 counts.";
    CAPACITY: Kind::Gauge, "logweir_capacity_bytes_per_second", Bytes, [], "What the durable path can take: bytes per second that it is busy.";

    CONNECTIONS: Kind::Gauge, "logweir_connections", Count, ["worker"], "Open connections of each worker.";
    CONNECTIONS_LIMIT: Kind::Gauge, "logweir_connections_limit", Count, [], "How many connections may be open together.";
    CONNECTIONS_ACCEPTED: Kind::Counter, "logweir_connections_accepted_total", Count, [], "Connections accepted.";
    CONNECTIONS_REFUSED: Kind::Counter, "logweir_connections_refused_total", Count, [], "Connections answered 429 and closed, because there were as many as there may be.";
    CONNECTIONS_CUT: Kind::Counter, "logweir_connections_cut_total", Count, ["cause"], "Connections closed because the client was idle, because a head came too slowly (head), was malformed, or was too large.";
    ACCEPT_PAUSES: Kind::Counter, "logweir_accept_pauses_total", Count, [], "Times that new connections waited for a moment, because refusing took more than its share of the workers' time.";
    ACCEPT_ERRORS: Kind::Counter, "logweir_accept_errors_total", Count, [], "Failed attempts to accept a connection, on either port.";

    REQUESTS: Kind::Counter, "logweir_requests_total", Count, ["outcome"], "Requests to store a batch, by what came of them.";
    KEY_REQUESTS: Kind::Counter, "logweir_key_requests_total", Count, ["key"], "Of these, those with a key that is known, by its name, and (others) for all behind the first 20000 that came since the start; without keys, all that could be read so far.";
    REQUEST_BYTES: Kind::Counter, "logweir_request_bytes_total", Bytes, [], "Bytes of request bodies read, as they came.";
    OFFERED_BYTES: Kind::Counter, "logweir_offered_bytes_total", Bytes, [], "Bytes of request bodies that could have been taken, those of refused requests included: as announced, or as read, or else as is typical.";
    REQUEST_SECONDS: Kind::Histogram(Buckets::Seconds), "logweir_request_seconds", Seconds, [], "From a request's head to its answer, for batches that were taken.";
    CLOCK_SKEW: Kind::Histogram(Buckets::Clocks), "logweir_clock_skew_seconds", Seconds, ["clock"], "How far clients' clocks are ahead of or behind ours, by each X-Sent-At of a batch that could be read, or by what a body says of its sending if that lies ahead; at most 30 days.";
    REFUSING: Kind::Gauge, "logweir_refusing_ratio", Count, [], "The part of the workers' time that goes into refusing requests.";
    REFUSALS: Kind::Counter, "logweir_refusals_total", Count, ["cause"], "Requests answered 429, and connections for want of places, by cause.";

    BACKLOG_SECONDS: Kind::Gauge, "logweir_backlog_seconds", Seconds, [], "How long it would take to make durable what was let in, at the present capacity.";
    WORKER_LAG: Kind::Gauge, "logweir_worker_lag_seconds", Seconds, ["worker"], "How long what a worker has to do waits for its turn.";
    WORKER_BUSY: Kind::Gauge, "logweir_worker_busy_ratio", Count, ["worker"], "The part of a worker's time in which it did something, other than refusing, in the last second.";

    EVENTS_RECEIVED: Kind::Counter, "logweir_events_received_total", Count, ["stream"], "Events of batches that could be parsed.";
    EVENTS: Kind::Counter, "logweir_events_total", Count, ["stream", "verdict"], "Events made durable, by verdict.";
    EVENTS_REFUSED: Kind::Counter, "logweir_events_refused_total", Count, ["stream"], "Events that were parsed and then not taken: the client was told to come back, or had not asked for more than memory.";
    REJECTIONS: Kind::Counter, "logweir_rejections_total", Count, ["stream", "reason"], "Events rejected and made durable as such, by reason.";
    MENDED: Kind::Counter, "logweir_mended_total", Count, ["stream", "mending"], "What was changed on events so that they could be accepted.";

    QUEUE_BYTES: Kind::Gauge, "logweir_queue_bytes", Bytes, [], "The byte reservation in use: bodies, decoding, encoding and queues.";
    QUEUE_LIMIT: Kind::Gauge, "logweir_queue_limit_bytes", Bytes, [], "The byte reservation's limit.";
    OLDEST_UNSYNCED: Kind::Gauge, "logweir_oldest_unsynced_seconds", Seconds, [], "Age of the oldest batch that waits for its sync, or how long the spool's writer has been at something else; 0 if it waits for work.";

    GROUP_BYTES: Kind::Histogram(Buckets::Bytes), "logweir_group_bytes", Bytes, [], "Bytes that one sync made durable.";
    GROUP_BATCHES: Kind::Histogram(Buckets::Count), "logweir_group_batches", Count, [], "Batches that one sync made durable.";
    SYNC_SECONDS: Kind::Histogram(Buckets::Seconds), "logweir_sync_seconds", Seconds, [], "Duration of fdatasync on the open segment.";
    SYNC_ERRORS: Kind::Counter, "logweir_sync_errors_total", Count, [], "Groups that could not be written or synced; their batches were not acknowledged.";
    WRITER_BUSY: Kind::Gauge, "logweir_writer_busy_ratio", Count, [], "The part of the time in which the spool's writer wrote and synced, in the last second.";
    SPOOL_BYTES: Kind::Gauge, "logweir_spool_bytes", Bytes, [], "Disk used by the spool.";
    SPOOL_QUOTA: Kind::Gauge, "logweir_spool_quota_bytes", Bytes, [], "Disk that the spool may use.";
    SPOOL_ROOM: Kind::Gauge, "logweir_spool_room_bytes", Bytes, [], "What the spool can still take: what is left of the quota, or what the file system has free, if that is less.";
    SPOOL_SEGMENTS: Kind::Gauge, "logweir_spool_segments", Count, [], "Sealed segments that a sink still needs.";
    SEALS: Kind::Counter, "logweir_seals_total", Count, ["cause"], "Segments sealed, by what caused it.";
    OLDEST_UNSTORED: Kind::Gauge, "logweir_oldest_unstored_seconds", Seconds, [], "Age of the oldest data that a required sink has not stored; 0 if there is none.";
    TORN_TAILS: Kind::Counter, "logweir_torn_tails_total", Count, [], "Unfinished groups cut from an open segment at the start.";
    QUARANTINED: Kind::Counter, "logweir_quarantined_total", Count, ["what"], "Places of the spool that could not be read and were set aside.";
    QUARANTINED_BYTES: Kind::Counter, "logweir_quarantined_bytes_total", Bytes, [], "Bytes of the spool that could not be read and were set aside.";

    SINK_INFO: Kind::Gauge, "logweir_sink_info", Count, ["sink", "kind", "required"], "1 for each sink that is configured.";
    OBJECTS: Kind::Counter, "logweir_objects_total", Count, ["sink", "outcome"], "Objects that a sink has, by how: stored now, stored before, or under another key because theirs held something else.";
    OBJECT_BYTES: Kind::Counter, "logweir_object_bytes_total", Bytes, ["sink"], "Compressed bytes stored.";
    OBJECT_LINES: Kind::Counter, "logweir_object_lines_total", Count, ["sink"], "Lines stored.";
    STORED_EVENTS: Kind::Counter, "logweir_stored_events_total", Count, ["sink", "stream", "verdict"], "Events that an object sink has, whether this process or an earlier one stored them: since the start it is to come to at least what was made durable before the oldest data that the sink lacks.";
    UPLOAD_SECONDS: Kind::Histogram(Buckets::Seconds), "logweir_upload_seconds", Seconds, ["sink"], "Duration of one attempt to store an object, compression included.";
    UPLOAD_RETRIES: Kind::Counter, "logweir_upload_retries_total", Count, ["sink", "cause"], "Attempts to store an object that failed and are made again.";
    LEDGER_PAGES: Kind::Counter, "logweir_ledger_pages_total", Count, ["sink", "outcome"], "Pages of the books that a sink has, by how: stored now, stored before, or under another key because theirs held something else.";
    HEARTBEATS: Kind::Counter, "logweir_heartbeats_total", Count, ["sink", "outcome"], "Heartbeats written into a sink's books, and those that failed.";
    SINK_LAG_BYTES: Kind::Gauge, "logweir_sink_lag_bytes", Bytes, ["sink"], "Bytes of the spool that the sink does not have: of an object sink of what is sealed, of a line sink of all that is durable.";
    SINK_LAG_SECONDS: Kind::Gauge, "logweir_sink_lag_seconds", Seconds, ["sink"], "Age of the oldest data that the sink does not have, of the same; 0 if it has all.";
    SINK_LAG_LIMIT_BYTES: Kind::Gauge, "logweir_sink_lag_limit_bytes", Bytes, ["sink"], "How many bytes a best-effort sink may lag before it is gone on without.";
    SINK_LAG_LIMIT_SECONDS: Kind::Gauge, "logweir_sink_lag_limit_seconds", Seconds, ["sink"], "How old what a best-effort sink does not have may be before it is gone on without.";
    SINK_SKIPPED_EVENTS: Kind::Counter, "logweir_sink_skipped_events_total", Count, ["sink"], "Events that a best-effort sink will not be given any more, because it lagged too far; counted from where everything before is done, so that lines which it took behind a stretch that is not done count too.";
    SINK_SKIPPED_BYTES: Kind::Counter, "logweir_sink_skipped_bytes_total", Bytes, ["sink"], "Bytes of the spool that a best-effort sink has passed over for that.";
    SINK_LINES: Kind::Counter, "logweir_sink_lines_total", Count, ["sink", "outcome"], "Lines of a line sink: delivered; repeated, which were sent again after a call of unknown outcome and may be there twice; undelivered, which it will never take and which were set aside.";
    SINK_LINE_BYTES: Kind::Counter, "logweir_sink_line_bytes_total", Bytes, ["sink"], "Bytes of lines delivered to a line sink.";
    SINK_CALLS: Kind::Counter, "logweir_sink_calls_total", Count, ["sink", "outcome"], "Calls of a line sink: delivered, in part, later, undelivered (none of its lines will ever be taken), or of unknown outcome.";
    SINK_RECORDS: Kind::Counter, "logweir_sink_records_total", Count, ["sink"], "Records that lines were packed into, those that were sent again included.";
    SINK_RETRIES: Kind::Counter, "logweir_sink_retries_total", Count, ["sink", "cause"], "Calls of a line sink after which lines were sent again, by cause; undelivered if they will never be taken and there is no place to set them aside.";
    SINK_CALL_SECONDS: Kind::Histogram(Buckets::Seconds), "logweir_sink_call_seconds", Seconds, ["sink"], "Duration of one call of a line sink.";
    SINK_DELAY_SECONDS: Kind::Histogram(Buckets::Seconds), "logweir_sink_delay_seconds", Seconds, ["sink"], "From when lines were received to when a line sink had them, by the oldest of each call.";
    SINK_CONCURRENCY: Kind::Gauge, "logweir_sink_concurrency", Count, ["sink"], "Calls that may be on their way to a line sink at the same time, as its throttling allows now.";

    LOAD_ROUNDS: Kind::Counter, "logweir_load_rounds_total", Count, ["outcome"], "Rounds of the loader: ended, interrupted, or failed.";
    LOAD_LAST_SUCCESS: Kind::Gauge, "logweir_load_last_success_seconds", Seconds, [], "When the last round ended in which nothing failed, as seconds since the epoch.";
    LOAD_TRANSACTIONS: Kind::Counter, "logweir_load_transactions_total", Count, ["stream"], "Transactions in which the loader loaded objects.";
    LOAD_OBJECTS: Kind::Counter, "logweir_load_objects_total", Count, ["stream"], "Objects loaded into the warehouse.";
    LOAD_BYTES: Kind::Counter, "logweir_load_bytes_total", Bytes, ["stream"], "Their compressed bytes.";
    LOAD_ROWS: Kind::Counter, "logweir_load_rows_total", Count, ["stream", "outcome"], "Their lines, by what became of them: loaded, duplicate, or conflict.";
    LOAD_LATE_ROWS: Kind::Counter, "logweir_load_late_rows_total", Count, ["stream"], "Of the loaded, those that were received before what was already complete.";
    LOAD_SET_ASIDE: Kind::Gauge, "logweir_load_set_aside", Count, ["stream"], "Objects that cannot be loaded and are set aside.";
    LOAD_WAITING: Kind::Gauge, "logweir_load_waiting", Count, ["stream"], "Objects that no page of the books names yet.";
    LOAD_STRANGERS: Kind::Gauge, "logweir_load_strangers", Count, ["stream"], "What stands among the stream's objects and is none, or is not in the books, as far as the last round looked.";
    LOAD_COMPLETE_THROUGH: Kind::Gauge, "logweir_load_complete_through_seconds", Seconds, ["stream"], "Everything that was received before is loaded, as seconds since the epoch; 0 if nobody knows.";
}

/// What other people's tools may rely on, within a major version: names, types, labels and the values that there are. What
/// `deploy/` alerts by and shows is among it.
pub const RELIED_ON: &[&Declared] = &[
    &BUILD_INFO,
    &RELOADS,
    &CONFIG_VERSION,
    &CONFIG_HASH,
    &HANDOVERS,
    &READY,
    &UNREADY,
    &START_TIME,
    &TIME,
    &MEMORY_CEILING,
    &RESIDENT,
    &DEMAND,
    &CAPACITY,
    &CONNECTIONS,
    &CONNECTIONS_LIMIT,
    &CONNECTIONS_REFUSED,
    &ACCEPT_PAUSES,
    &ACCEPT_ERRORS,
    &REQUESTS,
    &KEY_REQUESTS,
    &REQUEST_BYTES,
    &REQUEST_SECONDS,
    &CLOCK_SKEW,
    &REFUSING,
    &REFUSALS,
    &BACKLOG_SECONDS,
    &WORKER_LAG,
    &WORKER_BUSY,
    &EVENTS_RECEIVED,
    &EVENTS,
    &EVENTS_REFUSED,
    &REJECTIONS,
    &QUEUE_BYTES,
    &QUEUE_LIMIT,
    &OLDEST_UNSYNCED,
    &SYNC_SECONDS,
    &SYNC_ERRORS,
    &WRITER_BUSY,
    &SPOOL_BYTES,
    &SPOOL_QUOTA,
    &SPOOL_ROOM,
    &OLDEST_UNSTORED,
    &QUARANTINED,
    &SINK_INFO,
    &OBJECTS,
    &OBJECT_BYTES,
    &STORED_EVENTS,
    &LEDGER_PAGES,
    &UPLOAD_SECONDS,
    &UPLOAD_RETRIES,
    &HEARTBEATS,
    &SINK_LAG_BYTES,
    &SINK_LAG_SECONDS,
    &SINK_LAG_LIMIT_BYTES,
    &SINK_LAG_LIMIT_SECONDS,
    &SINK_SKIPPED_EVENTS,
    &SINK_LINES,
    &SINK_RETRIES,
    &LOAD_ROUNDS,
    &LOAD_LAST_SUCCESS,
    &LOAD_ROWS,
    &LOAD_SET_ASIDE,
    &LOAD_WAITING,
    &LOAD_STRANGERS,
    &LOAD_COMPLETE_THROUGH,
];

/// Where handles come from, and where they are read: one for each server.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    started: Instant,
}

/// What a counter with labels stands at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Which metric it is, as it is declared.
    pub metric: &'static Declared,
    /// The labels' values, in the order of their declaration.
    pub labels: Vec<String>,
    /// What it stands at.
    pub value: u64,
}

const METADATA: Metadata<'static> = Metadata::new("logweir", Level::INFO, None);

impl Metrics {
    /// An empty set, with every metric described.
    ///
    /// # Errors
    /// [`BuildError`] if a histogram's buckets are not sound, which the tests exclude.
    pub fn new() -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for metric in ALL {
            if let Kind::Histogram(buckets) = metric.kind {
                builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), buckets.bounds())?;
            }
        }
        let recorder = builder.build_recorder();
        for metric in ALL {
            let name = KeyName::from_const_str(metric.name);
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, Some(metric.unit), metric.meaning.into()),
                Kind::Gauge => recorder.describe_gauge(name, Some(metric.unit), metric.meaning.into()),
                Kind::Histogram(_) => recorder.describe_histogram(name, Some(metric.unit), metric.meaning.into()),
            }
        }
        let handle = recorder.handle();
        Ok(Self { recorder, handle, started: Instant::now() })
    }

    /// The handle of a counter. One that was never added to is shown as 0 from now on.
    pub fn counter(&self, metric: &Declared, labels: &[&str]) -> Counter {
        debug_assert_eq!(metric.kind, Kind::Counter);
        let counter = self.recorder.register_counter(&key(metric, labels), &METADATA);
        counter.increment(0);
        counter
    }

    /// The handle of a gauge.
    pub fn gauge(&self, metric: &Declared, labels: &[&str]) -> Gauge {
        debug_assert_eq!(metric.kind, Kind::Gauge);
        self.recorder.register_gauge(&key(metric, labels), &METADATA)
    }

    /// The handle of a histogram.
    pub fn histogram(&self, metric: &Declared, labels: &[&str]) -> Histogram {
        debug_assert!(matches!(metric.kind, Kind::Histogram(_)));
        self.recorder.register_histogram(&key(metric, labels), &METADATA)
    }

    /// What Prometheus reads.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// What the counters of `wanted` stand at.
    ///
    /// The recorder shows its values as text only, so the text is read: some tens of microseconds for each stream. To be
    /// asked once a minute, not for every batch.
    pub fn counts(&self, wanted: &[&'static Declared]) -> Vec<Count> {
        let text = self.render();
        let counts = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.strip_suffix('}')?.split_once('{')?;
            let metric = *wanted.iter().find(|metric| metric.name == name)?;
            let labels = metric.labels.iter().map(|label| {
                let (_, behind) = labels.split_once(&format!("{label}=\""))?;
                behind.split_once('"').map(|(value, _)| value.to_owned())
            });
            Some(Count { metric, labels: labels.collect::<Option<_>>()?, value: value.parse().ok()? })
        });
        counts.collect()
    }

    /// Sorts what histograms have gathered into their buckets. To be called every few seconds, whether or not somebody
    /// reads: until then they keep every value.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// How long this set exists.
    pub fn uptime(&self) -> std::time::Duration {
        self.started.elapsed()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn key(metric: &Declared, values: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let labels: Vec<Label> =
        metric.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(KeyName::from_const_str(metric.name), labels)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_prefixed_and_end_in_their_unit() {
        let mut names = HashSet::new();
        for metric in ALL {
            assert!(names.insert(metric.name), "{} is declared twice", metric.name);
            assert!(metric.name.starts_with("logweir_"), "{}", metric.name);
            assert!(metric.meaning.ends_with('.'), "{}", metric.name);
            let stem = match metric.kind {
                Kind::Counter => metric.name.strip_suffix("_total").expect("a counter ends in _total"),
                _ => metric.name,
            };
            match metric.unit {
                Unit::Bytes => assert!(stem.ends_with("_bytes") || stem.ends_with("_bytes_per_second"), "{stem}"),
                Unit::Seconds => assert!(stem.ends_with("_seconds"), "{stem}"),
                _ => {}
            }
        }
    }

    #[test]
    fn what_is_counted_can_be_asked_for() {
        let metrics = Metrics::new().unwrap();
        metrics.counter(&EVENTS, &["heard", "accepted"]).increment(3);
        metrics.counter(&EVENTS_RECEIVED, &["heard"]).increment(u64::MAX);
        metrics.counter(&REQUESTS, &["accepted"]).increment(1);
        let count = |metric, labels: &[&str], value| Count {
            metric,
            labels: labels.iter().map(ToString::to_string).collect(),
            value,
        };
        let mut counts = metrics.counts(&[&EVENTS, &EVENTS_RECEIVED]);
        counts.sort_by_key(|count| count.value);
        assert_eq!(counts, [count(&EVENTS, &["heard", "accepted"], 3), count(&EVENTS_RECEIVED, &["heard"], u64::MAX)]);
    }

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::new().unwrap();
        metrics.counter(&REQUESTS, &["accepted"]).increment(3);
        metrics.gauge(&READY, &[]).set(1.0);
        metrics.histogram(&SYNC_SECONDS, &[]).record(0.0003);
        metrics.upkeep();
        let text = metrics.render();
        for line in [
            "# TYPE logweir_requests_total counter",
            "logweir_requests_total{outcome=\"accepted\"} 3",
            "logweir_ready 1",
            "logweir_sync_seconds_bucket{le=\"0.0005\"} 1",
            "logweir_sync_seconds_bucket{le=\"0.0002\"} 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
