//! Tables that are read at a glance, and the same for a program.

use serde_json::{Value, json};

use crate::{
    load::Measured,
    proof::{Sample, Stored},
    servers::Kind,
};

/// What the CPU of logweir may be, in µs an event.
struct Limit {
    events: usize,
    must: f64,
    aim: f64,
    /// What bare cost a request where the limits were set, in µs.
    bare: f64,
}

const LIMITS: [Limit; 3] = [
    Limit { events: 1, must: 34.0, aim: 28.0, bare: 23.6 },
    Limit { events: 10, must: 6.5, aim: 5.0, bare: 23.4 },
    Limit { events: 100, must: 4.0, aim: 2.8, bare: 34.8 },
];

/// The part of its core from which on the load could hardly send more.
const LOADED: f64 = 0.95;

/// One server, once.
pub(crate) struct Round {
    pub(crate) measured: Measured,
    /// CPU time from the first request until the server had ended, in seconds.
    pub(crate) whole_cpu: f64,
    /// From being told to end until it had, in seconds.
    pub(crate) end_seconds: f64,
    pub(crate) stored: Option<Stored>,
}

/// One server's rounds at one batch size.
pub(crate) struct Series {
    pub(crate) kind: Kind,
    pub(crate) events: usize,
    pub(crate) rounds: Vec<Round>,
}

impl Round {
    fn rate(&self) -> f64 {
        self.measured.requests as f64 / self.measured.time.as_secs_f64()
    }

    fn micros_a_request(&self) -> f64 {
        self.whole_cpu * 1e6 / self.measured.taken.len().max(1) as f64
    }

    /// How much of its core the server had; what it did not have was not wanted, or was somebody else's.
    fn busy(&self) -> f64 {
        self.measured.cpu.as_secs_f64() / self.measured.time.as_secs_f64()
    }

    fn load_busy(&self) -> f64 {
        self.measured.load_cpu.as_secs_f64() / self.measured.time.as_secs_f64()
    }

    /// The mean of what was observed in a histogram; 0 without it.
    fn mean(&self, histogram: &str) -> f64 {
        let of = |suffix: &str| self.measured.metrics.get(&format!("{histogram}{suffix}")).copied().unwrap_or(0.0);
        of("_sum") / of("_count").max(1.0)
    }

    fn figures(&self, events: usize) -> Value {
        let measured = &self.measured;
        json!({
            "requests": measured.requests, "refused": measured.refused, "seconds": measured.time.as_secs_f64(),
            "requests_a_second": self.rate(), "taken_in_all": measured.taken.len(),
            "cpu_seconds_in_all": self.whole_cpu, "cpu_us_an_event": self.micros_a_request() / events as f64,
            "end_seconds": self.end_seconds, "busy": self.busy(), "load_busy": self.load_busy(),
            "p50_ms": measured.percentile(0.5), "p99_ms": measured.percentile(0.99), "peak_bytes": measured.peak_bytes,
            "stored": self.stored, "metrics": measured.metrics,
        })
    }
}

impl Series {
    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
    }

    /// Half of what lies between the least and the most.
    fn spread(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        let values = self.rounds.iter().map(figure);
        let (least, most) =
            values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
        (most - least) / 2.0
    }

    fn micros_an_event(&self) -> f64 {
        self.median(Round::micros_a_request) / self.events as f64
    }

    fn row(&self, bare: f64) -> String {
        let rate = self.median(Round::rate);
        format!(
            "  {:<8} {:>10.0} {:>10.0} {:>10.2} ± {:<5.2} {:>7.2} {:>6.0} {:>8.1} {:>8.1} {:>8.0} {:>8}",
            self.kind.name(),
            rate,
            rate * self.events as f64,
            self.micros_an_event(),
            self.spread(Round::micros_a_request) / self.events as f64,
            self.micros_an_event() / bare,
            self.median(Round::busy) * 100.0,
            self.median(|round| round.measured.percentile(0.5)),
            self.median(|round| round.measured.percentile(0.99)),
            self.median(|round| round.measured.peak_bytes as f64 / 1e6),
            self.rounds.iter().map(|round| round.measured.refused).sum::<u64>(),
        )
    }

    /// What only logweir does.
    fn spool_and_objects(&self) -> String {
        let sample = self.rounds.iter().rev().find_map(|round| round.stored.as_ref()?.sample);
        let objects = sample.map_or_else(
            || "gzip is not installed: objects were not compared".to_owned(),
            |Sample { plain_bytes, bytes, gzip_bytes }| {
                format!(
                    "objects {:.3} × those of gzip -1 (ratio {:.2}, gzip -1 {:.2})",
                    bytes as f64 / gzip_bytes as f64,
                    plain_bytes as f64 / bytes as f64,
                    plain_bytes as f64 / gzip_bytes as f64
                )
            },
        );
        format!(
            "  logweir: a sync {:.2} ms, a group {:.0} batches, {:.0} kB · {objects}",
            self.median(|round| round.mean("logweir_sync_seconds")) * 1e3,
            self.median(|round| round.mean("logweir_group_batches")),
            self.median(|round| round.mean("logweir_group_bytes")) / 1e3,
        )
    }

    fn figures(&self, bare: f64) -> Value {
        json!({
            "server": self.kind.name(),
            "median": {
                "requests_a_second": self.median(Round::rate),
                "events_a_second": self.median(Round::rate) * self.events as f64,
                "cpu_us_an_event": self.micros_an_event(),
                "cpu_us_an_event_spread": self.spread(Round::micros_a_request) / self.events as f64,
                "to_bare": self.micros_an_event() / bare,
                "busy": self.median(Round::busy),
                "load_busy": self.median(Round::load_busy),
                "p50_ms": self.median(|round| round.measured.percentile(0.5)),
                "p99_ms": self.median(|round| round.measured.percentile(0.99)),
                "peak_bytes": self.median(|round| round.measured.peak_bytes as f64),
                "sync_seconds": self.median(|round| round.mean("logweir_sync_seconds")),
                "group_batches": self.median(|round| round.mean("logweir_group_batches")),
                "group_bytes": self.median(|round| round.mean("logweir_group_bytes")),
            },
            "rounds": self.rounds.iter().map(|round| round.figures(self.events)).collect::<Vec<_>>(),
        })
    }
}

/// The servers at one batch size; bare is the first, logweir the last.
pub(crate) struct Table(pub(crate) Vec<Series>);

impl Table {
    fn ends(&self) -> (&Series, &Series) {
        (&self.0[0], &self.0[self.0.len() - 1])
    }

    pub(crate) fn text(&self) -> String {
        let (bare, logweir) = self.ends();
        let mut lines = vec![
            format!("{} {} a batch", bare.events, if bare.events == 1 { "event" } else { "events" }),
            format!(
                "  {:<8} {:>10} {:>10} {:>18} {:>7} {:>6} {:>8} {:>8} {:>8} {:>8}",
                "server",
                "requests/s",
                "events/s",
                "CPU µs an event",
                "÷ bare",
                "busy %",
                "p50 ms",
                "p99 ms",
                "peak MB",
                "refused"
            ),
        ];
        lines.extend(self.0.iter().map(|series| series.row(bare.micros_an_event())));
        lines.push(logweir.spool_and_objects());
        let loaded = self.0.iter().filter(|series| series.median(Round::load_busy) > LOADED);
        let loaded: Vec<_> = loaded.map(|series| series.kind.name()).collect();
        if !loaded.is_empty() {
            lines.push(format!("  the load's core was the limit of the requests/s of {}", loaded.join(" and ")));
        }
        lines.join("\n")
    }

    fn limit(&self) -> Option<(&'static Limit, f64)> {
        let (bare, _) = self.ends();
        let limit = LIMITS.iter().find(|limit| limit.events == bare.events)?;
        Some((limit, bare.median(Round::micros_a_request) / limit.bare))
    }

    fn limit_row(&self) -> Option<String> {
        let (limit, scale) = self.limit()?;
        let reached = self.ends().1.micros_an_event();
        let shown = |most: f64| format!("{most:.2} {}", if reached <= most { "met" } else { "not met" });
        Some(format!(
            "  {:>8} {:>9.2} {:>14} {:>14} {:>14} {:>14} {:>14}",
            limit.events,
            reached,
            shown(limit.must),
            shown(limit.aim),
            shown(limit.must * scale),
            shown(limit.aim * scale),
            format!("{:.1} / {:.1}", limit.bare * scale, limit.bare),
        ))
    }

    pub(crate) fn figures(&self) -> Value {
        let (bare, logweir) = self.ends();
        let reached = logweir.micros_an_event();
        let limits = self.limit().map(|(limit, scale)| {
            let judged = |most: f64| json!({ "us_an_event": most, "met": reached <= most });
            json!({
                "must": judged(limit.must), "aim": judged(limit.aim),
                "must_scaled": judged(limit.must * scale), "aim_scaled": judged(limit.aim * scale),
                "bare_us_a_request": limit.bare * scale, "bare_us_a_request_where_set": limit.bare,
            })
        });
        json!({
            "events_a_batch": bare.events, "limits": limits,
            "servers": self.0.iter().map(|series| series.figures(bare.micros_an_event())).collect::<Vec<_>>(),
        })
    }
}

/// What logweir's CPU may be, beside what it is; nothing for other batch sizes than those that have a limit.
pub(crate) fn limits(tables: &[Table]) -> Option<String> {
    let rows: Vec<String> = tables.iter().filter_map(Table::limit_row).collect();
    let head = format!(
        "limits of logweir's CPU in µs an event; scaled by what bare costs a request here and where they were set\n  {:>8} {:>9} \
         {:>14} {:>14} {:>14} {:>14} {:>14}",
        "a batch", "reached", "must", "aim", "must, scaled", "aim, scaled", "bare µs"
    );
    (!rows.is_empty()).then(|| format!("{head}\n{}", rows.join("\n")))
}
