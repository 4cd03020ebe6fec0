//! Objects in S3, and in stores that speak its protocol.
//!
//! An object whose compressed bytes fit [`FIRST_PART_BYTES`](super::FIRST_PART_BYTES) is put in one request, a larger
//! one as a multipart upload. Either way the request that gives the object its key carries `If-None-Match: *`, and what
//! is put is put whole or not at all.
//!
//! # What an answer means
//!
//! In the words of [`Placed`] and [`Failure`](super::Failure):
//!
//! | answer | what the driver is told |
//! |---|---|
//! | 200 | `Stored` |
//! | 412 | the key is taken: the metadata of what it holds is compared, `Existed` if equal, else `Occupied` |
//! | 409 | two requests for one key met: `Conflict` |
//! | 401, 403, no credentials, or expired ones | `Denied` |
//! | 429, 503 `SlowDown`, `Throttling…`, `RequestLimitExceeded` | `Throttled` |
//! | other 5xx, and an error in the body of a 200 | `Server` |
//! | none in time, 408 | `Timeout` |
//! | none, since the connection could not be made or broke | `Network` |
//! | anything else: `NoSuchBucket`, 301 to another region, … | `Other` |
//!
//! # Invariants
//!
//! - **Once (P2).** A put whose answer was lost may have had effect. The next attempt puts the same key on the same
//!   condition and is answered 412, and the comparison finds our own object: this is the usual way, not an exception.
//! - **Nothing is permanent (P7).** Every failure is for the driver to try again. The SDK tries nothing again by itself,
//!   so that there is one back-off, and the metrics see every attempt.
//! - **One clock.** The driver's time for an attempt is the only one, but for that of connecting. The SDK's stalled-stream
//!   protection is off: it watches how fast the body is *taken*, our bodies are in memory and taken in one piece, and it
//!   has failed uploads that were merely slow (awslabs/aws-sdk-rust#1146, quickwit-oss/quickwit#5294).
//! - **No upload is aborted that may have been completed.** Once `CompleteMultipartUpload` is sent, only a definite
//!   refusal (4xx) lets the upload be aborted; an abort that overtakes a slow completion has left objects that can be
//!   listed but not read (ceph/ceph#60771). Any other failed or cancelled upload is aborted, as well as that can be done:
//!   a process that dies, or an answer that is lost, leaves parts behind, unseen and paid for. So every bucket wants a
//!   lifecycle rule `AbortIncompleteMultipartUpload`.
//! - **Lengths and checksums are told beforehand.** Each body is one piece in memory, so the SDK sends `Content-Length`
//!   and the CRC-32 as headers. For a stream it would send them as a trailer of `aws-chunked`, which not every store
//!   takes.
//! - **Parts but the last are equal**, of [`PART_BYTES`](super::PART_BYTES): S3 does not ask for it, Cloudflare R2 does.
//!
//! # Stores that do not know the condition
//!
//! One that refuses it (501, or 400 that names it) is warned of once; from then on each object is looked for and compared
//! before it is put without it. One that ignores it in silence overwrites an object that is put again with the same
//! lines: harmless, since nobody else writes the key.
//!
//! # How the object looks
//!
//! `Content-Type: application/gzip` or `application/zstd`, and no `Content-Encoding`: what is stored *is* a gzip or a
//! zstd file, as its name says. With `Content-Encoding: gzip` browsers and many HTTP libraries decompress it on the way and
//! leave a `.gz` file that is none (vectordotdev/vector#6241, fluent/fluent-bit#3676), while Redshift, Athena and Spark go
//! by the name or by what they are told. The metadata tells the facts of the content, see
//! [`ObjectFacts::metadata`](super::ObjectFacts::metadata).
//!
//! # Limits
//!
//! In memory: one part for each object on its way, 16 MiB at the most. An object has at most 10,000 parts, some 78 GiB
//! compressed. Connections: one for each object on its way; [`aws`](crate::aws) says how many are kept.
//!
//! # Permissions
//!
//! `s3:PutObject`, `s3:AbortMultipartUpload` and `s3:GetObject` on the objects (without the last, 412 is followed by a 403
//! for the comparison), `s3:ListBucket` on the bucket (without it, S3 answers 403 for an object that is not there), and
//! `kms:GenerateDataKey` and `kms:Decrypt` where a KMS key encrypts. The audit needs `s3:ListBucket` and `s3:GetObject`
//! (and `kms:Decrypt`).
//!
//! Only the heartbeats of the books are overwritten. A bucket policy that demands `If-None-Match` has to leave out
//! `*_ledger/heartbeats/*`, and a bucket with versions wants a lifecycle rule for those that are not current there.
//!
//! # Sources
//!
//! Conditions, 409 and 412: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>. Parts:
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>. Errors within a 200:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>. Codes:
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>. Checksums:
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>. The lifecycle rule:
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpu-abort-incomplete-mpu-lifecycle-config.html>. R2's parts:
//! <https://developers.cloudflare.com/r2/objects/multipart-objects/>.

mod client;
mod failure;
mod multipart;
mod reading;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ServerSideEncryption, StorageClass},
};

pub use crate::aws::SetupError as S3SetupError;

use self::failure::{Effect, Failed};
use super::{
    BodyError, BoxFuture, FIRST_PART_BYTES, ObjectBody, ObjectPlan, ObjectReader, ObjectStore, Page, Placed, PutError,
    StoreError, Told,
};
use crate::aws;

/// The only condition that S3 knows for it: there is no object of that key.
const IF_NONE_MATCH: &str = "*";

/// What an S3 store is told. It carries no credentials; the bucket comes with each object.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket's region. Without one, where AWS SDKs look for it (environment, profile, instance metadata), and
    /// `us-east-1` if there is none either but an endpoint is given.
    pub region: Option<String>,
    /// Where the store is, as `https://host:port`, if it is not AWS's own.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path instead of in the host's name, as most other stores want it.
    pub path_style: bool,
    /// The storage class; the bucket's default without one.
    pub storage_class: Option<String>,
    /// How the store encrypts objects.
    pub encryption: S3Encryption,
    /// The longest that connecting may take, TLS included.
    pub connect_timeout: Duration,
}

/// How a store encrypts objects at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Encryption {
    /// As the bucket is configured.
    Bucket,
    /// With the store's own keys (SSE-S3, AES-256).
    S3,
    /// With a key of AWS KMS (SSE-KMS).
    Kms {
        /// The key's id, alias or ARN.
        key_id: String,
    },
}

impl S3Encryption {
    fn algorithm(&self) -> Option<ServerSideEncryption> {
        match self {
            Self::Bucket => None,
            Self::S3 => Some(ServerSideEncryption::Aes256),
            Self::Kms { .. } => Some(ServerSideEncryption::AwsKms),
        }
    }

    fn key_id(&self) -> Option<String> {
        match self {
            Self::Bucket | Self::S3 => None,
            Self::Kms { key_id } => Some(key_id.clone()),
        }
    }
}

/// Objects in the buckets of one S3 endpoint.
pub struct S3Store {
    client: Client,
    storage_class: Option<StorageClass>,
    encryption: S3Encryption,
    /// Whether the store takes `If-None-Match`, as far as is known.
    conditional: AtomicBool,
}

impl S3Store {
    /// The store of `settings`, with the credentials that AWS SDKs find: environment, profile, web identity, ECS,
    /// instance metadata. Asks neither S3 nor for credentials yet, but may ask the instance metadata for the region. To be
    /// called on a Tokio runtime.
    ///
    /// # Errors
    /// [`S3SetupError`] if there is no region, or the endpoint cannot be one.
    pub async fn from_environment(settings: S3Settings) -> Result<Self, S3SetupError> {
        let config = aws::environment(settings.region.as_deref()).await;
        Self::with_config(&config, settings)
    }

    /// The store of `settings`, with the credentials of `config`, and with its region, endpoint and HTTP client where
    /// `settings` has none.
    ///
    /// # Errors
    /// [`S3SetupError`] if there is no region, or the endpoint cannot be one.
    pub fn with_config(config: &SdkConfig, settings: S3Settings) -> Result<Self, S3SetupError> {
        Ok(Self {
            client: client::client(config, &settings)?,
            storage_class: settings.storage_class.as_deref().map(StorageClass::from),
            encryption: settings.encryption,
            conditional: AtomicBool::new(true),
        })
    }

    async fn place(&self, plan: &ObjectPlan, mut body: ObjectBody) -> Result<Placed, PutError> {
        let conditional = self.conditional.load(Ordering::Relaxed);
        if !conditional && let Some(placed) = self.compare(plan).await? {
            return Ok(placed);
        }
        // Even an object without lines has a part: the compressor's header and trailer.
        let first = body.next_part(FIRST_PART_BYTES).await?.ok_or(BodyError::Compress)?;
        let stored = if first.last {
            self.put_whole(plan, first.bytes, conditional).await
        } else {
            self.put_parts(plan, first.bytes, body, conditional).await
        };
        let failure = match stored {
            Ok(bytes) => return Ok(Placed::Stored(bytes)),
            Err(failure) => failure,
        };
        match failure.effect {
            // If it was deleted in between, the next attempt finds the key free.
            Effect::Taken => self.compare(plan).await?.ok_or(failure.error),
            Effect::ConditionUnknown => {
                if self.conditional.swap(false, Ordering::Relaxed) {
                    let (bucket, error) = (&plan.place, &failure.error);
                    tracing::warn!(bucket, %error, "the store refuses if-none-match; comparing before each put instead");
                }
                Err(failure.error)
            }
            Effect::None | Effect::Absent | Effect::Unclear => Err(failure.error),
        }
    }

    /// What the key of `plan` holds: nothing, the same, or something else.
    async fn compare(&self, plan: &ObjectPlan) -> Result<Option<Placed>, PutError> {
        let request = self.client.head_object().bucket(&plan.place).key(plan.key.to_string());
        match request.send().await.map_err(Failed::from) {
            Ok(head) => {
                let told = |name: &str| head.metadata()?.get(name).map(String::as_str);
                Ok(Some(if plan.facts.matches(told) { Placed::Existed } else { Placed::Occupied }))
            }
            Err(Failed { effect: Effect::Absent, .. }) => Ok(None),
            Err(failure) => Err(failure.error),
        }
    }

    /// Puts an object in one request: how many bytes it has.
    async fn put_whole(&self, plan: &ObjectPlan, bytes: Vec<u8>, conditional: bool) -> Result<u64, Failed> {
        let len = bytes.len() as u64;
        let request = self
            .client
            .put_object()
            .bucket(&plan.place)
            .key(plan.key.to_string())
            .content_type(plan.key.codec().content_type())
            .set_metadata(Some(metadata(plan)))
            .set_storage_class(self.storage_class.clone())
            .set_server_side_encryption(self.encryption.algorithm())
            .set_ssekms_key_id(self.encryption.key_id())
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .set_if_none_match(conditional.then(|| IF_NONE_MATCH.into()))
            .body(ByteStream::from(bytes));
        request.send().await?;
        Ok(len)
    }
}

impl ObjectStore for S3Store {
    fn put<'a>(&'a self, plan: &'a ObjectPlan, body: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>> {
        Box::pin(self.place(plan, body))
    }

    fn overwrite<'a>(&'a self, place: &'a str, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.replace(place, key, bytes))
    }

    fn list<'a>(
        &'a self,
        place: &'a str,
        directory: &'a str,
        after: Option<String>,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(self.page(place, directory, after))
    }

    fn get<'a>(
        &'a self,
        place: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Box<dyn ObjectReader>>, StoreError>> {
        Box::pin(self.open(place, key))
    }

    fn told<'a>(&'a self, place: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Told>, StoreError>> {
        Box::pin(self.metadata(place, key))
    }
}

/// The object's user metadata. What has no value is left out: not every store keeps an empty one.
fn metadata(plan: &ObjectPlan) -> HashMap<String, String> {
    let told = plan.facts.metadata().into_iter().filter(|(_, value)| !value.is_empty());
    told.map(|(name, value)| (name.to_owned(), value)).collect()
}
