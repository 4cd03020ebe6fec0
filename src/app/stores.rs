//! The stores that sinks put to, and that the audit and the loader read.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Runtime;

use crate::{
    config::{Config, Sink, SinkTarget, Sse},
    sink::{FileStore, ObjectStore, S3Encryption, S3Settings, S3SetupError, S3Store},
    warehouse::Place,
};

/// How long a bucket's endpoint may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An object store cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the sink {sink}: {source}")]
pub struct StoreSetupError {
    /// The sink's name.
    pub sink: String,
    /// What is wrong.
    pub source: S3SetupError,
}

/// The store of `sink`. Asks it nothing yet.
pub(super) fn store(sink: &Sink, runtime: &Runtime) -> Result<Arc<dyn ObjectStore>, StoreSetupError> {
    let bucket = match sink.target() {
        SinkTarget::File { .. } => return Ok(Arc::new(FileStore::default())),
        SinkTarget::S3(bucket) => bucket,
    };
    let settings = S3Settings {
        region: bucket.region.map(Into::into),
        endpoint: bucket.endpoint.map(Into::into),
        path_style: bucket.path_style,
        storage_class: bucket.storage_class.map(Into::into),
        encryption: match (bucket.sse, bucket.kms_key) {
            (Sse::None, _) => S3Encryption::Bucket,
            (Sse::S3, _) => S3Encryption::S3,
            (Sse::Kms, key) => S3Encryption::Kms { key_id: key.unwrap_or_default().into() },
        },
        connect_timeout: CONNECT_TIMEOUT,
    };
    let store = runtime.block_on(S3Store::from_environment(settings));
    Ok(Arc::new(store.map_err(|source| StoreSetupError { sink: sink.name.clone(), source })?))
}

/// A sink was named that there is not.
#[derive(Debug, thiserror::Error)]
#[error("there is no sink {name:?}: the configuration has {known}")]
pub struct UnknownSink {
    /// The name that was given.
    pub name: String,
    /// Those that there are.
    pub known: String,
}

/// The sink called `name`; the first required one, or else the first, without a name.
pub(super) fn named<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Sink, UnknownSink> {
    let sink = match name {
        Some(name) => config.sinks.iter().find(|sink| sink.name == name),
        None => config.sinks.iter().find(|sink| sink.required).or(config.sinks.first()),
    };
    sink.ok_or_else(|| UnknownSink {
        name: name.unwrap_or_default().to_owned(),
        known: config.sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Where `sink` stores.
pub(super) fn place(sink: &Sink, runtime: &Runtime) -> Result<Place, StoreSetupError> {
    let destination = sink.destination();
    Ok(Place {
        store: store(sink, runtime)?,
        bucket: destination.place,
        prefix: destination.prefix,
        timeout: sink.attempt_timeout.get(),
    })
}
