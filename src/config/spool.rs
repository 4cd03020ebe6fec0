//! `[spool]`: the durable log on disk, or none.

pub(super) mod kind;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::kind::SpoolKind;
use super::{period::Period, report::Report, size::Size};
use crate::spool;

/// The durable log on disk between receiving and everything else; or what waits in memory where nothing is kept. A bare
/// kind, `spool = "none"`, is short for a table with one.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Where what is taken waits for the sinks: `disk` or `none`. Default `disk`. With `none` nothing outlives the
    /// process, and every answer waits until the required sinks have the batch: for places that have no disk of their
    /// own, such as Fargate.
    pub kind: SpoolKind,
    /// The directory, on a disk whose syncs survive a power cut; if relative, to the working directory. Default
    /// `./data/spool`. One process at a time uses it. Only for a disk.
    pub dir: PathBuf,
    /// Disk that the spool may use, at least four segments. Default 10 GiB: what an outage of the sinks can take
    /// before devices are answered 429; `check` tells how long that is. Only for a
    /// disk.
    pub disk_quota: Size,
    /// Memory in which batches wait for the sinks, 4 MiB to 64 GiB: at least four segments and two batches of
    /// `limits.output`. Default 64 MiB, part of the memory ceiling: what comes while it is full is answered 429. Only
    /// without a disk.
    pub memory: Size,
    /// For how long batches are gathered that are stored together, 10 ms to 30 s and less than `ingest.stored_timeout`.
    /// Default 1 s: how long an answer waits at most before its upload begins, and how many objects there are: one for
    /// each stream and window in which something came. A batch that comes a window or more after the last one waits for
    /// nobody; while the required sinks are busy with two windows, the next one stays open. Only without a disk.
    pub window: Period,
    /// Where a segment is sealed by size, at least 1 MiB and twice `limits.output`, at most 4 GiB and a quarter of
    /// `disk_quota`. Default 64 MiB, which becomes an object of some 13 MiB: large enough to scan, small enough to
    /// send again. Without a disk at least 1 MiB, at most a quarter of `memory`, and default 4 MiB: a window that is
    /// full is not waited for.
    pub segment_size: Size,
    /// When a segment is sealed by age, 1 s to a day: how late data reaches the sinks at most, and with the number of
    /// streams how many objects there are. Default 300 s. Only for a disk, as the next two.
    pub seal_after: Period,
    /// By what part of `seal_after` seals vary, 0 to 1. Default 0.2, so that the instances of a fleet do not upload in
    /// the same second.
    pub seal_jitter: f64,
    /// How often batches whose ack is `stored` may cause a seal, 1 ms to an hour. Default 5 s: each seal is an object
    /// for every stream.
    pub early_seal_interval: Period,
    /// The shortest time from the beginning of one sync to that of the next, up to 1 s. Default 2 ms: on a disk that
    /// syncs faster, larger groups cost less and nobody notices the wait.
    pub sync_interval: Period,
    /// Bytes a second that are written at most, up to 1 TiB. Default 0: no limit. It leaves room on a disk that others
    /// use too; a rehearsal makes a slow disk with it. At least `pacing.capacity_floor`, which is believed.
    pub max_rate: Size,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            kind: SpoolKind::Disk,
            dir: "./data/spool".into(),
            disk_quota: Size::gib(10),
            memory: Size::mib(64),
            window: Period::seconds(1),
            segment_size: Size::mib(64),
            seal_after: Period::seconds(300),
            seal_jitter: 0.2,
            early_seal_interval: Period::seconds(5),
            sync_interval: Period::millis(2),
            max_rate: Size::default(),
        }
    }
}

impl Spool {
    /// Whether what was taken outlives the process.
    pub fn keeps(&self) -> bool {
        self.kind == SpoolKind::Disk
    }

    /// What may wait for the sinks before devices are answered 429: on disk, or in memory.
    pub fn quota(&self) -> Size {
        if self.keeps() { self.disk_quota } else { self.memory }
    }

    /// When a segment is sealed by age.
    pub fn seals_after(&self) -> Period {
        if self.keeps() { self.seal_after } else { self.window }
    }

    /// What it takes of the memory, in bytes.
    pub fn in_memory(&self) -> u64 {
        if self.keeps() { 0 } else { self.memory.get().saturating_add(spool::RESERVE_BYTES) }
    }

    /// What the spool is told, with what each object sink makes of its segments and what an object is to have.
    pub(super) fn settings(&self, destinations: Vec<spool::Destination>, object_size: Option<Size>) -> spool::Settings {
        let early = if self.keeps() { self.early_seal_interval } else { self.window };
        spool::Settings {
            dir: self.dir.clone(),
            disk_quota: self.quota().get(),
            segment_size: self.segment_size.get(),
            object_size: object_size.map(Size::get),
            seal_after: self.seals_after().get(),
            // Every window is sealed on request, which knows no jitter.
            seal_jitter: if self.keeps() { self.seal_jitter } else { 0.0 },
            early_seal_interval: early.get(),
            sync_interval: self.sync_interval.get(),
            max_rate: Some(self.max_rate.get()).filter(|rate| *rate > 0),
            destinations,
        }
    }

    pub(super) fn check(&self, report: &mut Report) {
        if self.keeps() && self.dir.as_os_str().is_empty() {
            report.wrong("spool.dir", "is empty", "name a directory, or leave it out for ./data/spool");
        }
        report.within("spool.segment_size", &self.segment_size, &(Size::mib(1)..=Size::gib(4)));
        report.within("spool.seal_after", &self.seal_after, &(Period::seconds(1)..=Period::hours(24)));
        report.within("spool.seal_jitter", &self.seal_jitter, &(0.0..=1.0));
        let early = Period::millis(1)..=Period::hours(1);
        report.within("spool.early_seal_interval", &self.early_seal_interval, &early);
        report.within("spool.sync_interval", &self.sync_interval, &(Period::default()..=Period::seconds(1)));
        report.within("spool.max_rate", &self.max_rate, &(Size::default()..=Size::gib(1024)));
        let (segment, quota) = (self.segment_size, self.disk_quota);
        if self.keeps() && segment.get() > quota.get() / 4 {
            let part = if segment > quota { "" } else { "a quarter of " };
            report.between(
                "spool.segment_size",
                &["spool.disk_quota".into()],
                format!("is {segment}, more than {part}spool.disk_quota ({quota})"),
                "raise the quota to four segments or more: one is written while others wait for the sinks",
            );
        }
    }
}
