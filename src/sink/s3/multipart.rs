//! Objects in parts: an upload is begun, its parts are put one after the other, and completing it makes the object.
//!
//! One part at a time, so that an object on its way takes one part's memory; objects go side by side instead.

use std::time::Duration;

use aws_sdk_s3::{
    Client,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use tokio::{runtime::Handle, time::timeout};

use super::{
    IF_NONE_MATCH, S3Store,
    failure::{Effect, Failed},
    metadata,
};
use crate::sink::{FIRST_PART_BYTES, ObjectBody, ObjectPlan, PART_BYTES};

/// The smallest part that S3 takes, but for the last one, in bytes.
const MIN_PART_BYTES: usize = 5 * 1024 * 1024;
/// How long aborting an upload may take.
const ABORT_TIMEOUT: Duration = Duration::from_secs(30);

// The first part is cut into parts of the usual size.
const _: () = assert!(PART_BYTES >= MIN_PART_BYTES && FIRST_PART_BYTES.is_multiple_of(PART_BYTES));

impl S3Store {
    /// Puts an object that begins with `first` and goes on with `rest`: how many bytes it has.
    pub(super) async fn put_parts(
        &self,
        plan: &ObjectPlan,
        first: Vec<u8>,
        mut rest: ObjectBody,
        conditional: bool,
    ) -> Result<u64, Failed> {
        let mut upload = self.begin(plan).await?;
        let mut bytes = Bytes::from(first);
        let mut len = 0;
        loop {
            len += bytes.len() as u64;
            while !bytes.is_empty() {
                upload.put(bytes.split_to(bytes.len().min(PART_BYTES))).await?;
            }
            let Some(part) = rest.next_part(PART_BYTES).await? else { break };
            bytes = part.bytes.into();
        }
        upload.complete(conditional).await?;
        Ok(len)
    }

    async fn begin(&self, plan: &ObjectPlan) -> Result<Upload, Failed> {
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&plan.place)
            .key(plan.key.to_string())
            .content_type(plan.key.codec().content_type())
            .set_metadata(Some(metadata(plan)))
            .set_storage_class(self.storage_class.clone())
            .set_server_side_encryption(self.encryption.algorithm())
            .set_ssekms_key_id(self.encryption.key_id())
            .checksum_algorithm(ChecksumAlgorithm::Crc32);
        let begun = request.send().await?;
        Ok(Upload {
            client: self.client.clone(),
            bucket: plan.place.clone(),
            key: plan.key.to_string(),
            id: begun.upload_id.unwrap_or_default(),
            parts: Vec::new(),
            abandoned: true,
        })
    }
}

/// An upload that was begun.
struct Upload {
    client: Client,
    bucket: String,
    key: String,
    id: String,
    parts: Vec<CompletedPart>,
    /// Whether it is to be aborted if it is dropped now.
    abandoned: bool,
}

impl Upload {
    async fn put(&mut self, bytes: Bytes) -> Result<(), Failed> {
        let number = self.parts.len() as i32 + 1;
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(bytes));
        let put = request.send().await?;
        // S3 asks for each part's checksum again when it completes the upload; other stores do not tell it.
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(put.e_tag)
            .set_checksum_crc32(put.checksum_crc32)
            .build();
        self.parts.push(part);
        Ok(())
    }

    async fn complete(mut self, conditional: bool) -> Result<(), Failed> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut self.parts))).build();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(parts)
            .set_if_none_match(conditional.then(|| IF_NONE_MATCH.into()));
        // From here on the object may come to be, also if nobody waits for the answer any more.
        self.abandoned = false;
        let answer = request.send().await.map_err(Failed::from);
        self.abandoned = answer.as_ref().is_err_and(|failure| failure.effect != Effect::Unclear);
        answer.map(|_| ())
    }
}

impl Drop for Upload {
    /// Aborts the upload if it was given up, by an error or by being cancelled. Nobody waits for it.
    fn drop(&mut self) {
        if !self.abandoned {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let key = std::mem::take(&mut self.key);
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(&key).upload_id(&self.id);
        runtime.spawn(async move {
            let error = match timeout(ABORT_TIMEOUT, request.send()).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => Failed::from(error).error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            // It was given up because of a failure that is told already; this one is of the same outage.
            tracing::debug!(
                key,
                error,
                "an upload could not be aborted; its parts are left to the bucket's lifecycle rule"
            );
        });
    }
}
