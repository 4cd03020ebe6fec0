//! Reading a bucket for the audit, and the one object that is overwritten: the books' heartbeat.

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, Object},
};
use bytes::Bytes;

use super::{
    S3Store,
    failure::{Effect, Failed},
};
use crate::sink::{BoxFuture, Failure, Listed, ObjectReader, Page, StoreError, Told};

/// What a heartbeat is told to be.
const JSON: &str = "application/json";

impl S3Store {
    pub(super) async fn replace(&self, bucket: &str, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let request = self
            .client
            .put_object()
            .bucket(bucket)
            .key(key)
            .content_type(JSON)
            .set_server_side_encryption(self.encryption.algorithm())
            .set_ssekms_key_id(self.encryption.key_id())
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(bytes));
        request.send().await.map_err(|error| StoreError::from(Failed::from(error).error))?;
        Ok(())
    }

    pub(super) async fn page(&self, bucket: &str, directory: &str, after: Option<String>) -> Result<Page, StoreError> {
        let request =
            self.client.list_objects_v2().bucket(bucket).prefix(directory).delimiter("/").set_continuation_token(after);
        let listed = request.send().await.map_err(|error| StoreError::from(Failed::from(error).error))?;
        let object = |object: Object| {
            let bytes = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
            object.key.map(|key| Listed { key, bytes })
        };
        let directories = listed.common_prefixes.unwrap_or_default().into_iter().filter_map(|prefix| prefix.prefix);
        Ok(Page {
            // Consoles mark an empty directory by an object of its name.
            objects: listed
                .contents
                .unwrap_or_default()
                .into_iter()
                .filter_map(object)
                .filter(|object| object.key != directory)
                .collect(),
            directories: directories.collect(),
            next: listed.next_continuation_token.filter(|_| listed.is_truncated.unwrap_or_default()),
        })
    }

    pub(super) async fn open(&self, bucket: &str, key: &str) -> Result<Option<Box<dyn ObjectReader>>, StoreError> {
        match self.client.get_object().bucket(bucket).key(key).send().await.map_err(Failed::from) {
            Ok(object) => Ok(Some(Box::new(S3Reader(object.body)))),
            Err(Failed { effect: Effect::Absent, error }) if !is_bucket_missing(&error) => Ok(None),
            Err(failure) => Err(failure.error.into()),
        }
    }

    pub(super) async fn metadata(&self, bucket: &str, key: &str) -> Result<Option<Told>, StoreError> {
        match self.client.head_object().bucket(bucket).key(key).send().await.map_err(Failed::from) {
            Ok(head) => {
                let text = |name: &str| head.metadata()?.get(name).map(String::as_str);
                Ok(Some(Told {
                    events: text("logweir-events").and_then(|text| text.parse().ok()),
                    bytes: text("logweir-bytes").and_then(|text| text.parse().ok()),
                    crc32: text("logweir-crc32").and_then(|text| u32::from_str_radix(text, 16).ok()),
                }))
            }
            Err(Failed { effect: Effect::Absent, .. }) => Ok(None),
            Err(failure) => Err(failure.error.into()),
        }
    }
}

/// A bucket that is not there must not look like an object that was lost.
fn is_bucket_missing(error: &crate::sink::PutError) -> bool {
    error.to_string().contains("NoSuchBucket")
}

/// The bytes of an answer, as they come.
struct S3Reader(ByteStream);

impl ObjectReader for S3Reader {
    fn next_piece(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            match self.0.next().await {
                None => Ok(None),
                Some(Ok(piece)) => Ok(Some(piece)),
                Some(Err(error)) => Err(StoreError { cause: Failure::Network, source: error.into() }),
            }
        })
    }
}
