//! `[[sinks]]`: where spooled data goes.

mod rules;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(super) use self::rules::check;
use super::period::Period;
use crate::spool::Destination;

/// Where spooled data goes.
///
/// The settings below `kind` that only one kind has are absent for the others, which is checked; [`Sink::target`]
/// tells them by kind.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sink {
    /// Its name, in metrics and in the spool's cursor, in the form of a stream's. A sink under a new name begins at
    /// the oldest segment.
    pub name: String,
    /// What it is. Default `file`.
    pub kind: SinkKind,
    /// Whether an event counts as stored only once this sink has it, and its lag fills the disk quota. Default true.
    pub required: bool,
    /// What stands before the stream in every object's key: empty, or parts of up to 255 bytes that each end in `/`, up
    /// to 512 bytes in all. Default empty.
    pub prefix: String,
    /// The level of gzip, 1 to 9. Default 1: more costs several times the CPU for a tenth of the bytes.
    pub level: u32,
    /// Objects that are stored at the same time, 1 to 32. Default 2: one is compressed while another is on its way.
    pub concurrency: usize,
    /// How long one attempt to store an object may take, 1 s to an hour. Default 60 s.
    pub attempt_timeout: Period,
    /// The first wait between attempts; each further one is about twice as long. Default 200 ms.
    pub backoff_min: Period,
    /// The longest wait between attempts, up to an hour. Default 60 s: an outage that ends is noticed within a minute.
    pub backoff_max: Period,
    /// Kind `file`: the root directory.
    pub dir: Option<PathBuf>,
    /// Kind `s3`: the bucket.
    pub bucket: Option<String>,
    /// Kind `s3`: the bucket's region. Default: what the AWS SDK finds in the environment or the profile.
    pub region: Option<String>,
    /// Kind `s3`: the URL of a store that speaks S3. Default: that of AWS in the region.
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
}

/// What a sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// A directory, in exactly the layout of a bucket.
    #[default]
    File,
    /// A bucket of S3, or of what speaks like it.
    S3,
}

/// How a store encrypts objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sse {
    /// As the bucket does by default.
    #[default]
    None,
    /// With keys of the store.
    S3,
    /// With the key of KMS that `kms_key` names.
    Kms,
}

/// What a sink is, with the settings of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkTarget<'s> {
    /// A directory.
    File {
        /// The root.
        dir: &'s Path,
    },
    /// A bucket.
    S3(S3Target<'s>),
}

/// A bucket and how it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Target<'s> {
    /// The bucket's name.
    pub bucket: &'s str,
    /// Its region, if it is not the environment's.
    pub region: Option<&'s str>,
    /// The store's URL, if it is not AWS's.
    pub endpoint: Option<&'s str>,
    /// Whether the bucket stands in the path of the URL.
    pub path_style: bool,
    /// The objects' storage class, if it is not the bucket's.
    pub storage_class: Option<&'s str>,
    /// How the store encrypts the objects.
    pub sse: Sse,
    /// The id or ARN of the key; present if and only if `sse` is [`Sse::Kms`].
    pub kms_key: Option<&'s str>,
}

impl SinkKind {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::S3 => "s3",
        }
    }
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: SinkKind::File,
            required: true,
            prefix: String::new(),
            level: 1,
            concurrency: 2,
            attempt_timeout: Period::seconds(60),
            backoff_min: Period::millis(200),
            backoff_max: Period::seconds(60),
            dir: None,
            bucket: None,
            region: None,
            endpoint: None,
            path_style: None,
            storage_class: None,
            sse: None,
            kms_key: None,
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
        }
    }

    /// What it makes of a segment.
    pub fn destination(&self) -> Destination {
        let place = match self.target() {
            SinkTarget::File { dir } => dir.display().to_string(),
            SinkTarget::S3(S3Target { bucket, .. }) => bucket.to_owned(),
        };
        Destination {
            sink: self.name.clone(),
            kind: self.kind.as_str().to_owned(),
            place,
            prefix: self.prefix.clone(),
            codec: "gzip".to_owned(),
            level: self.level,
            streams: Vec::new(),
        }
    }
}
