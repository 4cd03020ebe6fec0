//! `[[sinks]]`: where spooled data goes.

mod memory;
mod rules;
mod target;
mod terms;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(super) use self::rules::check;
pub use self::{
    target::{Codec, FirehoseTarget, Packing, S3Target, SinkKind, SinkTarget, Sse},
    terms::SinkStart,
};
use super::{Config, ordered::Ordered, period::Period, size::Size};
use crate::{batch::StreamName, spool::Destination};

/// Where spooled data goes.
///
/// There are two families: *object sinks* (kinds `file` and `s3`) make objects of sealed segments, and *line sinks*
/// (kind `firehose`) send lines as they become durable. The settings below `backoff_max` that only some kinds have are
/// absent for the others, which is checked; [`Sink::target`] tells them by kind.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sink {
    /// Its name, in metrics and in the spool's cursor, in the form of a stream's. A sink under a new name begins where
    /// `start` says.
    pub name: String,
    /// What it is. Default `file`.
    pub kind: SinkKind,
    /// Whether an event counts as stored only once this sink has it, and its lag fills the disk quota. Default true.
    /// Otherwise it is a best-effort sink: beyond its longest lag it goes on at the newest, and what lies between is
    /// counted.
    pub required: bool,
    /// Best effort alone: how many bytes of the spool it may lag, at least two segments and at most half of
    /// `spool.disk_quota` (`spool.memory`, without a disk). Default a quarter of that, or two segments: a dead sink
    /// leaves most of it to the required ones.
    pub max_lag_bytes: Option<Size>,
    /// Best effort alone: how old the oldest event that it does not have may be, 1 s to 30 days, and for an object sink,
    /// which waits for the seal, at least twice `spool.seal_after` (`spool.window`, without a disk). Default 24 h, or
    /// that if it is more: an outage over a night is made up for.
    pub max_lag_age: Option<Period>,
    /// Where it begins if the spool has no cursor of its name. Default `oldest`: it gets everything that is still there.
    pub start: SinkStart,
    /// The streams that it takes. Default `[]`: all.
    pub streams: Vec<String>,
    /// Memory that what is on its way may take: fewer than `concurrency` are then on their way if it does not suffice for
    /// all of them. At least [`Sink::least_memory`]. Default: what `concurrency` needs.
    pub memory: Option<Size>,
    /// Objects or calls that are on their way at the same time, 1 to 32. Default 2: one is compressed while another is
    /// on its way.
    pub concurrency: usize,
    /// How long one attempt to store an object or to send lines may take, 1 s to an hour. Default 60 s.
    pub attempt_timeout: Period,
    /// The first wait between attempts; each further one is about twice as long. Default 200 ms.
    pub backoff_min: Period,
    /// The longest wait between attempts, up to an hour. Default 60 s: an outage that ends is noticed within a minute.
    pub backoff_max: Period,
    /// Object sinks: what stands before the stream in every object's key: empty, or parts of up to 255 bytes that each
    /// end in `/`, up to 512 bytes in all. Default empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Object sinks: how objects are compressed. Default `gzip`, which everything reads.
    pub codec: Option<Codec>,
    /// Object sinks: the codec's level. gzip: 1 to 9, default 1: more costs several times the CPU for a tenth of the bytes.
    /// zstd: 1 to 19, default 1: of lines with random ids, 3 makes more bytes in three times the time.
    pub level: Option<u32>,
    /// Object sinks: the compressed bytes that an object is to have, 1 MiB to 1 GiB: a segment is sealed by size, before
    /// `spool.segment_size`, as soon as its largest stream comes to that, as far as can be told. Default: none. A segment
    /// is sealed for all sinks, so that the smallest of them counts.
    pub object_size: Option<Size>,
    /// Kind `file`: the root directory.
    pub dir: Option<PathBuf>,
    /// Kind `s3`: the bucket.
    pub bucket: Option<String>,
    /// Kinds `s3` and `firehose`: the region. Default: what the AWS SDK finds in the environment or the profile.
    pub region: Option<String>,
    /// Kinds `s3` and `firehose`: the URL of what answers instead of AWS. Default: that of AWS in the region.
    pub endpoint: Option<String>,
    /// Kind `s3`: whether the bucket stands in the path of the URL and not in the host. Default false; many stores
    /// other than AWS want true.
    pub path_style: Option<bool>,
    /// Kind `s3`: the storage class of the objects, as `STANDARD_IA`. Default: the bucket's.
    pub storage_class: Option<String>,
    /// Kind `s3`: how the store encrypts the objects. Default `none`.
    pub sse: Option<Sse>,
    /// Kind `s3`: the id or ARN of the key, if and only if `sse = "kms"`.
    pub kms_key: Option<String>,
    /// Kind `firehose`: the delivery stream of each stream, with the stream's name for `{stream}`: up to 64 letters,
    /// digits, dots, underscores and hyphens. Lines of an undeclared stream for which that is too long are never taken, and
    /// go where `undelivered` says. Needed unless each of `streams` has one in `delivery_streams`.
    pub delivery_stream: Option<String>,
    /// Kind `firehose`: where rejected events go, with the stream's name for `{stream}`. Default: they are not sent; then
    /// a required object sink has them.
    pub rejected_stream: Option<String>,
    /// Kind `firehose`: how lines become records. Default `lines`: Firehose bills each record as 5 KiB at least.
    pub packing: Option<Packing>,
    /// Kind `firehose`: how long lines that do not fill a call wait for others, up to 10 s. Default 200 ms: end to end
    /// within a second, and calls that are not tiny.
    pub linger: Option<Period>,
    /// Kind `firehose`: the object sink in whose place lines are kept that Firehose never takes. Default: the first
    /// required object sink, or else the first object sink.
    pub undelivered: Option<String>,
    /// Kind `firehose`: whether its delivery streams load into tables of Redshift: then no stream that it takes may also
    /// be loaded by logweir. Default false.
    pub into_redshift: Option<bool>,
    /// Kind `firehose`: delivery streams that are named otherwise than `delivery_stream` says, by stream.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub delivery_streams: Ordered<String>,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: SinkKind::File,
            required: true,
            max_lag_bytes: None,
            max_lag_age: None,
            start: SinkStart::Oldest,
            streams: Vec::new(),
            memory: None,
            concurrency: 2,
            attempt_timeout: Period::seconds(60),
            backoff_min: Period::millis(200),
            backoff_max: Period::seconds(60),
            prefix: String::new(),
            codec: None,
            level: None,
            object_size: None,
            dir: None,
            bucket: None,
            region: None,
            endpoint: None,
            path_style: None,
            storage_class: None,
            sse: None,
            kms_key: None,
            delivery_stream: None,
            rejected_stream: None,
            packing: None,
            linger: None,
            undelivered: None,
            into_redshift: None,
            delivery_streams: Ordered::default(),
        }
    }
}

impl Sink {
    /// A required sink that writes to `dir`.
    pub fn file(name: &str, dir: impl Into<PathBuf>) -> Self {
        Self { name: name.to_owned(), dir: Some(dir.into()), ..Self::default() }
    }

    /// A required sink that writes to `bucket`.
    pub fn s3(name: &str, bucket: &str) -> Self {
        Self { name: name.to_owned(), kind: SinkKind::S3, bucket: Some(bucket.to_owned()), ..Self::default() }
    }

    /// A required sink that sends to the delivery streams that `pattern` names.
    pub fn firehose(name: &str, pattern: &str) -> Self {
        let delivery_stream = Some(pattern.to_owned());
        Self { name: name.to_owned(), kind: SinkKind::Firehose, delivery_stream, ..Self::default() }
    }

    /// What it is, with the settings of its kind. (A sink that lacks its directory or bucket did not pass the checks;
    /// here it has an empty one.)
    pub fn target(&self) -> SinkTarget<'_> {
        match self.kind {
            SinkKind::File => SinkTarget::File { dir: self.dir.as_deref().unwrap_or(Path::new("")) },
            SinkKind::S3 => SinkTarget::S3(S3Target {
                bucket: self.bucket.as_deref().unwrap_or_default(),
                region: self.region.as_deref(),
                endpoint: self.endpoint.as_deref(),
                path_style: self.path_style.unwrap_or_default(),
                storage_class: self.storage_class.as_deref(),
                sse: self.sse.unwrap_or_default(),
                kms_key: self.kms_key.as_deref(),
            }),
            SinkKind::Firehose => SinkTarget::Firehose(FirehoseTarget {
                delivery_stream: self.delivery_stream.as_deref(),
                delivery_streams: &self.delivery_streams,
                rejected_stream: self.rejected_stream.as_deref(),
                packing: self.packing.unwrap_or_default(),
                linger: self.linger.unwrap_or(FirehoseTarget::LINGER),
                region: self.region.as_deref(),
                endpoint: self.endpoint.as_deref(),
                into_redshift: self.into_redshift.unwrap_or_default(),
            }),
        }
    }

    /// What it makes of a segment; `None` for a line sink, which makes no objects.
    pub fn destination(&self) -> Option<Destination> {
        let place = match self.target() {
            SinkTarget::File { dir } => dir.display().to_string(),
            SinkTarget::S3(S3Target { bucket, .. }) => bucket.to_owned(),
            SinkTarget::Firehose(_) => return None,
        };
        Some(Destination {
            sink: self.name.clone(),
            kind: self.kind.as_str().to_owned(),
            place,
            prefix: self.prefix.clone(),
            codec: self.codec().as_str().to_owned(),
            level: self.level(),
            streams: self.streams.clone(),
        })
    }

    /// How its objects are compressed.
    pub fn codec(&self) -> Codec {
        self.codec.unwrap_or_default()
    }

    /// The level of [`Self::codec`].
    pub fn level(&self) -> u32 {
        self.level.unwrap_or(self.codec().default_level())
    }

    /// The same sink, with what is in force for it in `config` by default written out.
    pub(super) fn in_force(&self, config: &Config) -> Self {
        let mut sink = self.clone();
        if !sink.required {
            let (bytes, age) = self.max_lag(&config.spool);
            (sink.max_lag_bytes, sink.max_lag_age) = (Some(bytes), Some(age));
        }
        sink.memory = Some(self.memory.unwrap_or(Size::bytes(self.memory_bytes())));
        match self.target() {
            SinkTarget::File { .. } | SinkTarget::S3(_) => {
                (sink.codec, sink.level) = (Some(self.codec()), Some(self.level()));
            }
            SinkTarget::Firehose(target) => {
                (sink.packing, sink.linger) = (Some(target.packing), Some(target.linger));
                sink.undelivered = config.undelivered(self).map(|keeper| keeper.name.clone());
            }
        }
        sink
    }

    /// Whether it takes `stream`.
    pub fn takes(&self, stream: &str) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|taken| taken == stream)
    }

    /// Whether it takes the rejected events of the streams that it takes. An object sink always does.
    pub fn takes_rejected(&self) -> bool {
        self.kind.has_objects() || self.rejected_stream.is_some()
    }

    /// The streams that it takes; none for all.
    pub fn stream_names(&self) -> Vec<StreamName> {
        // Names that are none did not pass the checks.
        self.streams.iter().filter_map(|name| StreamName::new(name).ok()).collect()
    }
}
