//! The manifest that names the objects of a load, for Redshift, which reads them by itself.
//!
//! `{prefix}_ledger/loads/{load_id}.manifest`, put before the transaction. Its form is that of
//! <https://docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html>: `mandatory`, so that an object
//! that is gone fails the COPY instead of being left out.

use serde::Serialize;

use super::find::Found;
use crate::warehouse::place::{Place, PlaceError};

/// The directory of the manifests, behind the sink's prefix.
const LOADS: &str = "_ledger/loads/";

#[derive(Serialize)]
struct Manifest {
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    url: String,
    mandatory: bool,
    meta: Meta,
}

#[derive(Serialize)]
struct Meta {
    content_length: u64,
}

/// The text of the manifest of `objects` in `bucket`.
fn text(bucket: &str, objects: &[Found]) -> Vec<u8> {
    let entries = objects.iter().map(|object| Entry {
        url: format!("s3://{bucket}/{}", object.key),
        mandatory: true,
        meta: Meta { content_length: object.bytes },
    });
    // Strings and numbers always have a form in JSON.
    serde_json::to_vec(&Manifest { entries: entries.collect() }).unwrap_or_default()
}

/// Puts the manifest of the load `id`: its URL.
pub(super) async fn put(place: &Place, id: &str, objects: &[Found]) -> Result<String, PlaceError> {
    let key = format!("{}{LOADS}{id}.manifest", place.prefix);
    place.overwrite(&key, &text(&place.bucket, objects)).await?;
    Ok(format!("s3://{}/{key}", place.bucket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Hour;

    #[test]
    fn every_object_is_mandatory_and_has_its_length() {
        let found = Found { key: "raw/heard/a.ndjson.gz".into(), hour: Hour(0), bytes: 7, events: 1, crc32: 0 };
        assert_eq!(
            String::from_utf8(text("logs", &[found])).unwrap(),
            "{\"entries\":[{\"url\":\"s3://logs/raw/heard/a.ndjson.gz\",\"mandatory\":true,\
             \"meta\":{\"content_length\":7}}]}"
        );
    }
}
