//! Lines in Amazon Data Firehose, formerly Kinesis Data Firehose.
//!
//! Lines of one stream go to one delivery stream, as [`Targets`] has it, by `PutRecordBatch`: one call, one attempt.
//!
//! # Records
//!
//! | [`Packing`] | a record | for |
//! |---|---|---|
//! | `Lines` | whole lines with their line feeds, up to 500 and up to 1,000 KiB | S3, Redshift, Splunk, HTTP endpoints: what reads NDJSON |
//! | `Single` | one line without its line feed | OpenSearch, Snowflake, Iceberg, and HTTP endpoints that want one document a record |
//!
//! Firehose puts nothing between records: what it writes to S3 is records one behind the other, so the line feeds of
//! `Lines` are ours, and a delivery stream of `Single` into S3 or Splunk has to append a delimiter itself
//! (`AppendDelimiterToRecord`), which would double ours. OpenSearch asks for one single-line document in each record.
//!
//! Firehose bills each record by its length rounded up to 5 KiB: an event of 640 bytes alone costs eight times what it
//! costs among others. 500 lines a record is what Firehose takes apart where a delivery stream de-aggregates records
//! (for dynamic partitioning, or for a transformation); of a record of more it says nothing and takes nothing apart. It
//! is also where rounding has become small: at 640 bytes a line, below one percent.
//!
//! # Limits
//!
//! A call takes 500 records, each of 1,000 KiB before base64, and 4 MiB "for the entire request". Whether the 4 MiB are
//! counted before base64 or behind it, AWS does not say: some have put four records of 1 MB (kolide/fleet#2022), Fluent
//! Bit counts the body, and others have halved what they send to stay below (awslabs/lambda-streams-to-firehose#49). Here
//! the whole *body* stays below, which is true either way: three full records, 3,000 KiB of lines. Calls cost nothing but
//! their round trip.
//!
//! A line that is longer than a record is [`Fate::Never`]; the rest of its parcel is delivered in the same call. In
//! memory: [`FirehoseSink::CALL_MEMORY_BYTES`] for each call on its way.
//!
//! What a delivery stream takes is 1 to 5 MiB a second by default, by region, and can be raised; beyond it, it throttles, and
//! the driver goes slower.
//!
//! # Invariants
//!
//! - **One attempt.** The SDK tries nothing again by itself: it would send all records again where one has failed, and the
//!   driver could not count what is there twice.
//! - **One clock.** The driver's time for an attempt is the only one, but for that of connecting. The SDK's stalled-stream
//!   protection is off, as for [S3](super::S3Store).
//! - **Index by index.** The entries of an answer are matched with the records that were sent by their place and by
//!   nothing else, and only as far as the answer is whole.
//! - **Nothing of the data, and no credentials, is told** in errors and logs: of what Firehose says, a line is repeated.
//!
//! # What an answer means
//!
//! | answer | the lines |
//! |---|---|
//! | 200 | those of a record that has an id are taken |
//! | 200, and a record has an `ErrorCode` | later: `ServiceUnavailableException` throttled, `InternalFailure` server, else other |
//! | 200, and a record is not told of; more told of than sent; or more failures counted than told of | unknown, where not told |
//! | `ServiceUnavailableException`, `ThrottlingException`, `LimitExceededException`, 429 | later, throttled |
//! | `AccessDeniedException`, `ExpiredTokenException`, `UnrecognizedClientException`, `InvalidKMSResourceException`, 403, no credentials | later, denied |
//! | `ResourceNotFoundException`, `InvalidArgumentException`, `ValidationException`, other 4xx | later, other |
//! | other 5xx | unknown, server |
//! | none: no connection could be made | later, network |
//! | none: the connection broke, or no answer that can be read | unknown, network |
//! | none in time | the driver's: unknown |
//!
//! A 5xx without a reason is unknown, since the balancers before a service answer so too, for calls that it has taken
//! (502, 504); and AWS says of `InternalFailure` only that the reason is not known. A call that is refused as a whole
//! (`InvalidArgumentException`) is no verdict on its lines: the limits are kept, and Firehose looks at nothing else of
//! them, so what is wrong is the delivery stream, and people mend it. A stream for which [`Targets`] have no delivery
//! stream, or only a name that none can have, is `Never`: its lines are set aside and told of, and hold up no others. The
//! configuration is checked so that it comes to that only for streams that devices name.
//!
//! # Permissions
//!
//! `firehose:PutRecordBatch` on the delivery streams.
//!
//! # Sources
//!
//! Limits and partial failures: <https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html>.
//! Quotas: <https://docs.aws.amazon.com/firehose/latest/dev/limits.html>. Destinations:
//! <https://docs.aws.amazon.com/firehose/latest/dev/basic-deliver.html>. Billing:
//! <https://aws.amazon.com/firehose/pricing/>. Errors:
//! <https://docs.aws.amazon.com/firehose/latest/APIReference/CommonErrors.html>.

mod answer;
mod client;
mod pack;
mod targets;

use std::{borrow::Cow, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_firehose::{Client, primitives::Blob, types::Record};
use metrics::Counter;

pub use self::{pack::Packing, targets::Targets};
pub use crate::aws::SetupError as FirehoseSetupError;

use self::{
    answer::{At, Verdict},
    pack::{CALL_BYTES, CALL_MEMORY_BYTES, Packed, RECORD_BYTES, RECORD_LINES},
};
use super::{BoxFuture, CallLimits, Failure, Fate, Left, LineSink, Outcome, Parcel};
use crate::{
    aws,
    metrics::{Metrics, SINK_RECORDS},
};

/// What a Firehose sink is told. It carries no credentials.
#[derive(Debug, Clone)]
pub struct FirehoseSettings {
    /// The name of the sink.
    pub sink: String,
    /// The region of the delivery streams. Without one, where AWS SDKs look for it (environment, profile, instance metadata),
    /// and `us-east-1` if there is none either but an endpoint is given.
    pub region: Option<String>,
    /// Where Firehose is, as `https://host:port`, if it is not AWS's own: a VPC endpoint, or what stands for it in tests.
    pub endpoint: Option<String>,
    /// The longest that connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// Which delivery stream takes which lines.
    pub targets: Targets,
    /// How lines become records.
    pub packing: Packing,
}

/// Delivery streams of one Firehose endpoint.
#[derive(Debug)]
pub struct FirehoseSink {
    client: Client,
    sink: String,
    targets: Targets,
    packing: Packing,
    records: Counter,
}

impl FirehoseSink {
    /// How many bytes of lines one call takes at the most: what [`LineSink::limits`] says, whatever the packing.
    pub const CALL_LINE_BYTES: usize = CALL_BYTES;
    /// The longest record, in bytes: a longer line is never taken.
    pub const RECORD_BYTES: usize = RECORD_BYTES;
    /// The most lines of a record of [`Packing::Lines`].
    pub const RECORD_LINES: usize = RECORD_LINES;
    /// What one call takes of memory at the most, in bytes, its lines included.
    pub const CALL_MEMORY_BYTES: usize = CALL_MEMORY_BYTES;

    /// The sink of `settings`, with the credentials that AWS SDKs find: environment, profile, web identity, ECS, instance
    /// metadata. Asks neither Firehose nor for credentials yet, but may ask the instance metadata for the region. To be
    /// called on a Tokio runtime.
    ///
    /// # Errors
    /// [`FirehoseSetupError`] if there is no region, or the endpoint cannot be one.
    pub async fn from_environment(settings: FirehoseSettings) -> Result<Self, FirehoseSetupError> {
        let config = aws::environment(settings.region.as_deref()).await;
        Self::with_config(&config, settings)
    }

    /// The sink of `settings`, with the credentials of `config`, and with its region, endpoint and HTTP client where
    /// `settings` has none.
    ///
    /// # Errors
    /// [`FirehoseSetupError`] if there is no region, or the endpoint cannot be one.
    pub fn with_config(config: &SdkConfig, settings: FirehoseSettings) -> Result<Self, FirehoseSetupError> {
        let client = client::client(config, &settings)?;
        let FirehoseSettings { sink, targets, packing, .. } = settings;
        Ok(Self { client, sink, targets, packing, records: Counter::noop() })
    }

    /// Counts its records in `metrics`.
    #[must_use]
    pub fn counted_in(self, metrics: &Metrics) -> Self {
        let records = metrics.counter(&SINK_RECORDS, &[&self.sink]);
        Self { records, ..self }
    }

    async fn send(&self, parcel: &Parcel) -> Outcome {
        let Some(target) = self.targets.find(&parcel.stream, parcel.book) else {
            let (stream, book) = (parcel.stream.as_str(), parcel.book.as_str());
            return never(0..parcel.lines(), format!("no delivery stream takes {book} events of {stream}").into());
        };
        let packed = self.packing.pack(parcel);
        let records = packed.records.iter().map(|lines| {
            let bytes = self.packing.record(parcel, lines);
            Record::builder().data(Blob::from_maybe_shared(bytes)).build()
        });
        let mut verdict = match records.collect::<Result<Vec<_>, _>>() {
            Ok(records) if records.is_empty() => Verdict { records: Vec::new(), after: None, error: None },
            Ok(records) => {
                let count = records.len();
                self.records.increment(count as u64);
                let call = self.client.put_record_batch().delivery_stream_name(&*target).set_records(Some(records));
                Verdict::of(count, call.send().await)
            }
            // Nothing was sent.
            Err(error) => {
                let fates = vec![Some(Fate::Later(Failure::Other)); packed.records.len()];
                Verdict { records: fates, after: None, error: Some(error.into()) }
            }
        };
        verdict.error = verdict.error.map(|error| At { target: target.into_owned(), error }.into());
        self.outcome(parcel, packed, verdict)
    }

    /// What became of the lines, from what became of the records.
    fn outcome(&self, parcel: &Parcel, packed: Packed, verdict: Verdict) -> Outcome {
        let Packed { records, unfit, rest } = packed;
        let failed = records.into_iter().zip(verdict.records);
        let mut left: Vec<_> = failed.filter_map(|(lines, fate)| Some(Left { lines, fate: fate? })).collect();
        left.extend(unfit.into_iter().map(|line| {
            let fate = Fate::Never(self.packing.too_long(parcel.line(line)));
            Left { lines: line..line + 1, fate }
        }));
        if !rest.is_empty() {
            left.push(Left { lines: rest, fate: Fate::Later(Failure::Other) });
        }
        left.sort_by_key(|left| left.lines.start);
        // Neighbours of one fate are sent again as one.
        left.dedup_by(|next, before| {
            let one = before.lines.end == next.lines.start && before.fate == next.fate;
            if one {
                before.lines.end = next.lines.end;
            }
            one
        });
        Outcome { left, after: verdict.after, error: verdict.error }
    }
}

impl LineSink for FirehoseSink {
    fn limits(&self) -> CallLimits {
        self.packing.limits()
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome> {
        Box::pin(self.send(parcel))
    }
}

fn never(lines: std::ops::Range<usize>, reason: Cow<'static, str>) -> Outcome {
    if lines.is_empty() {
        return Outcome::delivered();
    }
    Outcome { left: vec![Left { lines, fate: Fate::Never(reason) }], ..Outcome::default() }
}
