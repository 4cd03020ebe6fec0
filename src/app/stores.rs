//! The stores that sinks put to, and that the audit and the loader read.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Runtime;

use crate::{
    batch::StreamName,
    config::{self, Config, FirehoseTarget, Sink, SinkTarget, Sse},
    metrics::Metrics,
    sink::{
        FileStore, FirehoseSettings, FirehoseSink, LineSink, ObjectStore, Packing, S3Encryption, S3Settings,
        S3SetupError, S3Store, Targets,
    },
    warehouse::Place,
};

/// How long an endpoint may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An object store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum StoreSetupError {
    /// Its SDK cannot be.
    #[error("cannot set up the sink {sink}: {source}")]
    Sdk {
        /// The sink's name.
        sink: String,
        /// What is wrong.
        source: S3SetupError,
    },
    /// The sink has no store.
    #[error(transparent)]
    NoObjects(#[from] NoObjects),
}

/// A sink was asked for objects that makes none.
#[derive(Debug, thiserror::Error)]
#[error("the sink {sink} is of kind {kind}, which has no objects")]
pub struct NoObjects {
    /// The sink's name.
    pub sink: String,
    /// Its kind, by the name in the configuration.
    pub kind: &'static str,
}

impl NoObjects {
    pub(super) fn of(sink: &Sink) -> Self {
        Self { sink: sink.name.clone(), kind: sink.kind.as_str() }
    }
}

/// The store of `sink`. Asks it nothing yet.
pub(super) fn store(sink: &Sink, runtime: &Runtime) -> Result<Arc<dyn ObjectStore>, StoreSetupError> {
    let bucket = match sink.target() {
        SinkTarget::File { .. } => return Ok(Arc::new(FileStore::default())),
        SinkTarget::S3(bucket) => bucket,
        SinkTarget::Firehose(_) => return Err(NoObjects::of(sink).into()),
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
    Ok(Arc::new(store.map_err(|source| StoreSetupError::Sdk { sink: sink.name.clone(), source })?))
}

/// The service of `sink`, which is of kind Firehose, at `target`. Asks it nothing yet.
pub(super) fn firehose(
    sink: &Sink,
    target: &FirehoseTarget<'_>,
    runtime: &Runtime,
    metrics: &Metrics,
) -> Result<Arc<dyn LineSink>, StoreSetupError> {
    let delivery_streams = target.delivery_streams.iter();
    let settings = FirehoseSettings {
        sink: sink.name.clone(),
        region: target.region.map(Into::into),
        endpoint: target.endpoint.map(Into::into),
        connect_timeout: CONNECT_TIMEOUT,
        targets: Targets {
            delivery_stream: target.delivery_stream.map(Into::into),
            delivery_streams: delivery_streams
                .filter_map(|(stream, name)| Some((StreamName::new(stream).ok()?, name.clone())))
                .collect(),
            rejected_stream: target.rejected_stream.map(Into::into),
        },
        packing: match target.packing {
            config::Packing::Lines => Packing::Lines,
            config::Packing::Single => Packing::Single,
        },
    };
    let service = runtime.block_on(FirehoseSink::from_environment(settings));
    let service = service.map_err(|source| StoreSetupError::Sdk { sink: sink.name.clone(), source })?;
    Ok(Arc::new(service.counted_in(metrics)))
}

/// The sink whose objects are wanted is none.
#[derive(Debug, thiserror::Error)]
pub enum UnknownSink {
    /// There is none of that name.
    #[error("there is no sink {name:?}: the configuration has {known}")]
    Unknown {
        /// The name that was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// It makes none.
    #[error(transparent)]
    NoObjects(#[from] NoObjects),
    /// None was named, and no sink makes any.
    #[error("no sink of the configuration has objects: add one of kind file or s3")]
    None,
}

/// The object sink called `name`; the first required one, or else the first, without a name.
pub(super) fn named<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Sink, UnknownSink> {
    let Some(name) = name else { return config.main_object_sink().ok_or(UnknownSink::None) };
    let Some(sink) = config.sinks.iter().find(|sink| sink.name == name) else {
        let known = config.object_sinks().map(|sink| sink.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(UnknownSink::Unknown { name: name.to_owned(), known });
    };
    if sink.kind.has_objects() { Ok(sink) } else { Err(NoObjects::of(sink).into()) }
}

/// Where `sink` stores.
pub(super) fn place(sink: &Sink, runtime: &Runtime) -> Result<Place, StoreSetupError> {
    let destination = sink.destination().ok_or_else(|| NoObjects::of(sink))?;
    Ok(Place {
        store: store(sink, runtime)?,
        bucket: destination.place,
        prefix: destination.prefix,
        timeout: sink.attempt_timeout.get(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_asked_of_sinks_that_have_some() {
        let config = |sinks| Config { sinks, ..Config::default() };
        let hose = || Sink::firehose("hose", "x");
        let both = config(vec![hose(), Sink { required: false, ..Sink::file("copy", "c") }, Sink::file("files", "f")]);
        let found =
            |config: &Config, name| named(config, name).map(|sink| sink.name.clone()).map_err(|e| e.to_string());
        assert_eq!(found(&both, None).as_deref(), Ok("files"));
        assert_eq!(found(&both, Some("copy")).as_deref(), Ok("copy"));
        let refused = "the sink hose is of kind firehose, which has no objects".to_owned();
        assert_eq!(found(&both, Some("hose")), Err(refused.clone()));
        let unknown = "there is no sink \"lake\": the configuration has copy, files".to_owned();
        assert_eq!(found(&both, Some("lake")), Err(unknown));
        let none = "no sink of the configuration has objects: add one of kind file or s3".to_owned();
        assert_eq!(found(&config(vec![hose()]), None), Err(none));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(place(&hose(), &runtime).map(drop).map_err(|error| error.to_string()), Err(refused));
    }
}
