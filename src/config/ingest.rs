//! `[ingest]`: what becomes of a request.

use serde::{Deserialize, Serialize};

use super::{period::Period, report::Report};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// What happens to batches of streams that are not declared. Default `refuse`: a misspelled name shows at the
    /// first request, and not months later in the warehouse.
    pub undeclared_streams: UndeclaredStreams,
    /// How long an answer waits for the sinks if the stream's ack is `stored`, up to 55 s; then it is 202, with the
    /// ack `spooled`. Default 10 s. An ALB gives up after 60 s. If nothing is kept (`spool.kind = "none"`) it is 503
    /// then: what nobody has made durable is to be sent again.
    pub stored_timeout: Period,
}

/// What happens to batches of streams that are not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UndeclaredStreams {
    /// They are answered 404.
    #[default]
    Refuse,
    /// They are taken, with any fields, up to `limits.streams` streams.
    Accept,
}

impl Default for Ingest {
    fn default() -> Self {
        Self { undeclared_streams: UndeclaredStreams::Refuse, stored_timeout: Period::seconds(10) }
    }
}

impl Ingest {
    pub(super) fn check(&self, report: &mut Report) {
        report.within("ingest.stored_timeout", &self.stored_timeout, &(Period::millis(1)..=Period::seconds(55)));
    }
}
