//! `[limits]`: how large what a device sends may be.

use serde::{Deserialize, Serialize};

use super::{report::Report, size::Size};
use crate::validate;

/// What a request, a batch and an event may be. What is larger is refused or rejected, never cut.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a body as it comes, up to 64 MiB; a larger one is answered 413. Default 1 MiB: a device that gathers
    /// for an hour stays below.
    pub encoded_body: Size,
    /// Bytes of a body once it is decoded, at least `encoded_body`, up to 256 MiB. Default 8 MiB, as JSON compresses
    /// to an eighth or so.
    pub decoded_body: Size,
    /// Decoded bytes for each encoded one, beyond the first 64 KiB decoded, 1 to 10,000. Default 200: no real log
    /// compresses better, and a bomb does.
    pub decode_ratio: u32,
    /// Bytes of the lines that a batch is stored as, accepted and rejected ones together, up to 32 MiB: half of the
    /// largest group that the spool reads again after a crash, and a batch is in one group as a whole. Default 16 MiB: a
    /// small body may become large, since its context is stored with every event.
    pub output: Size,
    /// Events a batch, 1 to 1,000,000. Default 10,000, so that one batch does not hold up a worker.
    pub events: usize,
    /// Bytes of JSON an event, up to 1 MiB. Default 64 KiB, a VARCHAR of Redshift.
    pub event: Size,
    /// Bytes of JSON of a batch's context, up to 1 MiB. Default 16 KiB, since it is stored with every event. With an
    /// event and 4 KiB of server fields it must fit a line of [`validate::MAX_LINE_BYTES`].
    pub context: Size,
    /// Levels of objects and arrays, the event itself being the first, 1 to 1000, which Redshift's SUPER takes.
    /// Default 32.
    pub nesting: usize,
    /// Top-level fields an event, and as many of a context, 1 to 10,000. Default 500.
    pub fields: usize,
    /// Streams, configured or seen, 1 to 4096; one is seen with the first batch for it that can be stored. Default 64:
    /// each is a label in the metrics and an object an hour, and a device that invents names must not fill either.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            encoded_body: Size::mib(1),
            decoded_body: Size::mib(8),
            decode_ratio: 200,
            output: Size::mib(16),
            events: 10_000,
            event: Size::kib(64),
            context: Size::kib(16),
            nesting: 32,
            fields: 500,
            streams: 64,
        }
    }
}

/// What the server's own fields may add to a line.
const SERVER_FIELDS: Size = Size::kib(4);

impl Limits {
    /// Bytes of a stored line, about, at most.
    pub(super) fn line(&self) -> Size {
        self.event.plus(self.context).plus(SERVER_FIELDS)
    }

    /// The limits of validation.
    pub fn validation(&self) -> validate::Limits {
        validate::Limits {
            events: self.events,
            event_bytes: self.event.in_memory(),
            context_bytes: self.context.in_memory(),
            nesting: self.nesting,
            fields: self.fields,
            output_bytes: self.output.in_memory(),
        }
    }

    pub(super) fn check(&self, report: &mut Report) {
        let up_to = |most: Size| Size::bytes(1)..=most;
        report.within("limits.encoded_body", &self.encoded_body, &up_to(Size::mib(64)));
        report.within("limits.decoded_body", &self.decoded_body, &up_to(Size::mib(256)));
        report.within("limits.decode_ratio", &self.decode_ratio, &(1..=10_000));
        report.within("limits.output", &self.output, &up_to(Size::mib(32)));
        report.within("limits.events", &self.events, &(1..=1_000_000));
        report.within("limits.event", &self.event, &up_to(Size::mib(1)));
        report.within("limits.context", &self.context, &up_to(Size::mib(1)));
        report.within("limits.nesting", &self.nesting, &(1..=1_000));
        report.within("limits.fields", &self.fields, &(1..=10_000));
        report.within("limits.streams", &self.streams, &(1..=4_096));
        if self.decoded_body < self.encoded_body {
            report.between(
                "limits.decoded_body",
                &["limits.encoded_body".into()],
                format!("is {}, less than limits.encoded_body ({})", self.decoded_body, self.encoded_body),
                "raise it: a body that is not compressed is as large decoded as encoded",
            );
        }
        let line = self.line();
        let longest = Size::bytes(validate::MAX_LINE_BYTES as u64);
        if line > longest {
            report.between(
                "limits.event",
                &["limits.context".into()],
                format!("and limits.context and 4 KiB make a line of up to {line}, more than {longest}"),
                "lower one of them: Redshift loads no line of more than 4 MB, and may count every character twice",
            );
        }
        if line > self.output {
            report.between(
                "limits.output",
                &["limits.event".into(), "limits.context".into()],
                format!("is {}, less than a line of limits.event, limits.context and 4 KiB ({line})", self.output),
                "raise it, or a batch of one event may be too large",
            );
        }
    }
}
