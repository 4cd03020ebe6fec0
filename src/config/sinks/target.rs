//! What a sink is, with the settings of its kind.

use std::{ops::RangeInclusive, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    config::{ordered::Ordered, period::Period},
    sink::{self, Targets},
};

/// What a sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// A directory, in exactly the layout of a bucket.
    #[default]
    File,
    /// A bucket of S3, or of what speaks like it.
    S3,
    /// Delivery streams of Amazon Data Firehose.
    Firehose,
}

/// How objects are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// gzip, in objects that end in `.ndjson.gz`.
    #[default]
    Gzip,
    /// zstd, in objects that end in `.ndjson.zst`.
    Zstd,
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

/// How lines become records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// As many lines in a record as fit.
    #[default]
    Lines,
    /// One line a record, for destinations that want one document a record.
    Single,
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
    /// Delivery streams.
    Firehose(FirehoseTarget<'s>),
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

/// Delivery streams and how they are reached. Where lines go that are never taken, `Config::undelivered` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirehoseTarget<'s> {
    /// The delivery stream of each stream, with [`Targets::STREAM`] for the stream's name; `None` if every
    /// stream that the sink takes has one of its own.
    pub delivery_stream: Option<&'s str>,
    /// Those that are named otherwise, by stream.
    pub delivery_streams: &'s Ordered<String>,
    /// Where rejected events go, with the placeholder for the stream's name; `None` if they are not sent.
    pub rejected_stream: Option<&'s str>,
    /// How lines become records.
    pub packing: Packing,
    /// How long lines that do not fill a call wait for others.
    pub linger: Period,
    /// The region, if it is not the environment's.
    pub region: Option<&'s str>,
    /// The URL, if it is not AWS's.
    pub endpoint: Option<&'s str>,
    /// Whether they load into tables of Redshift.
    pub into_redshift: bool,
}

impl SinkKind {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::S3 => "s3",
            Self::Firehose => "firehose",
        }
    }

    /// Whether a sink of the kind makes objects of sealed segments. Others send lines as they become durable.
    pub fn has_objects(self) -> bool {
        match self {
            Self::File | Self::S3 => true,
            Self::Firehose => false,
        }
    }
}

impl Codec {
    /// What an object sink is told.
    fn of_objects(self) -> sink::Codec {
        match self {
            Self::Gzip => sink::Codec::Gzip,
            Self::Zstd => sink::Codec::Zstd,
        }
    }

    /// The name in the configuration and in `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        self.of_objects().as_str()
    }

    /// The level that a sink has which names none.
    pub fn default_level(self) -> u32 {
        self.of_objects().default_level()
    }

    /// The levels that there are.
    pub fn levels(self) -> RangeInclusive<u32> {
        self.of_objects().levels()
    }
}

impl FirehoseTarget<'_> {
    /// How long lines wait for others if nothing else is said.
    pub(super) const LINGER: Period = Period::millis(200);

    /// The delivery stream of the accepted events of `stream`; `None` if there is none.
    pub fn accepted(&self, stream: &str) -> Option<String> {
        let own = self.delivery_streams.get(stream).cloned();
        own.or_else(|| self.delivery_stream.map(|pattern| Targets::fill(pattern, stream)))
    }

    /// The delivery stream of the rejected events of `stream`; `None` if they are not sent.
    pub fn rejected(&self, stream: &str) -> Option<String> {
        self.rejected_stream.map(|pattern| Targets::fill(pattern, stream))
    }
}
