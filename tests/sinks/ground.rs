//! A spool of lines that are all different.

use std::sync::Arc;

use logweir::{
    batch::Book,
    metrics::Metrics,
    spool::{Destination, Shelf},
};
use tempfile::TempDir;

use crate::segments::{self, Batch, RECEIVED};

/// The streams that lines are dealt to.
pub(crate) const STREAMS: [&str; 3] = ["heard", "shown", "started"];

/// A line of the ground.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) stream: &'static str,
    pub(crate) book: Book,
    pub(crate) text: String,
}

/// Sealed segments, and what is in them.
pub(crate) struct Ground {
    dir: TempDir,
    /// In the order of the spool.
    pub(crate) lines: Vec<Line>,
}

impl Ground {
    /// Some segments of batches, as numbers from `random` have it.
    pub(crate) fn new(random: &mut fastrand::Rng, destinations: Vec<Destination>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut lines = Vec::new();
        let mut segments = Vec::new();
        for _ in 0..random.usize(1..4) {
            let mut batches = Vec::new();
            for _ in 0..random.usize(1..12) {
                let stream = STREAMS[random.usize(..STREAMS.len())];
                let book = if random.u8(..5) == 0 { Book::Rejected } else { Book::Accepted };
                let mut text = String::new();
                for _ in 0..random.usize(1..20) {
                    let line = line(lines.len(), random.usize(..40));
                    text.push_str(&line);
                    text.push('\n');
                    lines.push(Line { stream, book, text: line });
                }
                let received = RECEIVED + random.i64(0..2 * 3_600_000);
                batches.push(Batch { stream, book, received, lines: text });
            }
            segments.push(batches);
        }
        drop(segments::append(dir.path(), destinations, segments));
        Self { dir, lines }
    }

    /// Starts the process anew: nothing comes to what there is.
    pub(crate) fn open(&self, destinations: Vec<Destination>) -> (Arc<Shelf>, Arc<Metrics>) {
        segments::append(self.dir.path(), destinations, vec![Vec::new()])
    }
}

/// The line of a number, with so many bytes more.
pub(crate) fn line(number: usize, more: usize) -> String {
    format!("{{\"event_id\":\"{number:08}\",\"more\":\"{}\"}}", "x".repeat(more))
}
