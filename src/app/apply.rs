//! What a server that runs takes over of a configuration that was read again.

use std::sync::atomic::Ordering;

use super::{Server, ceiling::memory_ceiling, policy};
use crate::{
    config::Loaded,
    metrics::{self, Metrics},
    schema::CatalogFull,
    spool::Need,
};

/// The version of the configuration that a server starts with.
pub(super) const FIRST_VERSION: u64 = 1;

/// A configuration that is sound cannot be put in force as things stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// With those that were seen, there would be more streams than there may be.
    #[error("streams: with those that were seen, they would be more than the {max} that limits.streams allows")]
    Streams {
        /// `limits.streams`.
        max: usize,
    },
    /// There were keys, and nobody would need one any more.
    #[error(
        "keys: none is left of those in force, and without any everybody could post; add one, or restart the instance if \
         that is meant"
    )]
    NoKeyLeft,
}

impl Server {
    /// Puts in force what `loaded` says about keys, mutes, hints, quotas, streams and the lags of best-effort sinks: for
    /// every request that comes from now on; and tells which version of the configuration that is. Nothing else of it is
    /// looked at.
    ///
    /// # Errors
    /// [`ApplyError`]; then nothing has changed.
    pub fn apply(&self, loaded: &Loaded) -> Result<u64, ApplyError> {
        let Loaded { config, streams, .. } = loaded;
        // Whatever it listens on: behind a proxy of the same machine a loopback address is everybody's.
        if config.all_keys().next().is_none() && self.service.policies.current().keys.keys().next().is_some() {
            return Err(ApplyError::NoKeyLeft);
        }
        let declared = self.service.catalog.declare(streams.iter().cloned());
        declared.map_err(|CatalogFull { max }| ApplyError::Streams { max })?;
        // Only now: whoever sees the new policy looks at the streams again.
        let policies = &self.service.policies;
        policies.replace(policy::policy(config, Some(&policies.current())));
        let segments = self.spool.shelf();
        for sink in &config.sinks {
            if let Need::BestEffort(most) = sink.terms(&config.spool).need {
                segments.allow_lag(&sink.name, most);
            }
        }
        // Keys with a quota have a part in it.
        let mut config = config.clone();
        config.server.max_connections = self.max_connections;
        self.service.metrics.gauge(&metrics::MEMORY_CEILING, &[]).set(memory_ceiling(&config) as f64);
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        show(&self.service.metrics, version, loaded.config.fingerprint());
        Ok(version)
    }
}

/// Shows which configuration is in force, and the number by which instances are compared.
pub(super) fn show(metrics: &Metrics, version: u64, hash: u64) {
    metrics.gauge(&metrics::CONFIG_VERSION, &[]).set(version as f64);
    metrics.gauge(&metrics::CONFIG_HASH, &[]).set(hash as f64);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        batch::StreamName,
        schema::{Ack, Field, FieldType, Load, OnError, Priority, PrivacyKey, Private, Schema, Stream, UnknownFields},
        warehouse::{Dialect, evolution::compare},
    };

    /// Streams with one field in every form, and a second one behind it or before it, or none.
    fn streams() -> Vec<Stream> {
        let key = Arc::new(PrivacyKey::new(b"0123456789abcdef"));
        let kinds = [
            FieldType::String { max_bytes: 8 },
            FieldType::String { max_bytes: 9 },
            FieldType::Json { max_bytes: 8 },
            FieldType::Int,
        ];
        let mut all = Vec::new();
        for kind in kinds {
            for (required, on_error) in
                [(false, OnError::Reject), (false, OnError::Null), (false, OnError::Truncate), (true, OnError::Reject)]
            {
                for private in [None, Some(Private::Hash), Some(Private::Drop)] {
                    for unknown in [UnknownFields::Keep, UnknownFields::Reject, UnknownFields::Collect] {
                        let field = Field { required, on_error, private, ..Field::new("a", kind) };
                        let (may, must) = (
                            Field::new("b", FieldType::Int),
                            Field { required: true, ..Field::new("b", FieldType::Int) },
                        );
                        for fields in [
                            vec![field.clone()],
                            vec![field.clone(), may.clone()],
                            vec![field.clone(), must],
                            vec![may, field],
                        ] {
                            // Not everything goes together.
                            let Ok(schema) = Schema::new(fields, Some(unknown), None, Some(Arc::clone(&key))) else {
                                continue;
                            };
                            let name = StreamName::new("heard").unwrap();
                            let (ack, priority) = (Ack::default(), Priority::default());
                            all.push(Stream { name, ack, priority, load: Load::Loader, schema });
                        }
                    }
                }
            }
        }
        all
    }

    /// What is taken over without a restart takes nothing away from a table, and where the warehouse cannot follow, it is
    /// refused as `logweir check --since` refuses it.
    #[test]
    fn what_is_taken_over_is_what_a_warehouse_is_told_as_an_addition() {
        let streams = streams();
        let (mut taken, mut refused) = (0, 0);
        for old in &streams {
            for new in streams.iter().filter(|new| new.schema.widens(&old.schema)) {
                for dialect in [Dialect::Redshift, Dialect::Postgres] {
                    let evolutions = compare(std::slice::from_ref(old), std::slice::from_ref(new), dialect);
                    let [evolution] = &evolutions[..] else { panic!("{evolutions:?}") };
                    let names = |stream: &Stream| {
                        stream.schema.fields().iter().map(|field| field.name.clone()).collect::<Vec<_>>()
                    };
                    assert!(names(new).starts_with(&names(old)), "{evolution:?}");
                    if evolution.breaking.is_empty() {
                        assert!(evolution.notes.is_empty(), "{evolution:?}");
                        taken += 1;
                    } else {
                        let cannot_be_null =
                            dialect == Dialect::Redshift && old.schema.required() != new.schema.required();
                        let collected = old.schema.unknown() == UnknownFields::Collect;
                        assert!(cannot_be_null || collected, "{evolution:?}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(taken > 500 && refused > 100, "{taken} {refused}");
    }
}
