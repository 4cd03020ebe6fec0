//! What a server that runs takes over of a configuration that was read again.

use std::net::SocketAddr;

use super::{Server, ceiling::memory_ceiling, policy};
use crate::{
    config::{Config, Loaded, is_loopback},
    metrics,
    schema::CatalogFull,
    spool::Need,
};

/// A configuration that is sound cannot be put in force as things stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// With those that were seen, there would be more streams than there may be.
    #[error("streams: with those that were seen, they would be more than the {max} that limits.streams allows")]
    Streams {
        /// `limits.streams`.
        max: usize,
    },
    /// The public socket was passed in and can be reached from elsewhere, and nobody would need a key.
    #[error("keys: there is none left, and the public socket listens on {address}, which others can reach")]
    NoKey {
        /// Its address.
        address: SocketAddr,
    },
}

impl Server {
    /// Puts in force what `loaded` says about keys, mutes, hints, quotas, streams and the lags of best-effort sinks: for
    /// every request that comes from now on. Nothing else of it is looked at.
    ///
    /// # Errors
    /// [`ApplyError`]; then nothing has changed.
    pub fn apply(&self, loaded: &Loaded) -> Result<(), ApplyError> {
        let Loaded { config, streams, .. } = loaded;
        let address = self.address();
        if config.all_keys().next().is_none() && !is_loopback(address) {
            return Err(ApplyError::NoKey { address });
        }
        let declared = self.service.catalog.declare(streams.iter().cloned());
        declared.map_err(|CatalogFull { max }| ApplyError::Streams { max })?;
        // Only now: whoever sees the new policy looks at the streams again.
        let policies = &self.service.policies;
        policies.replace(policy::policy(config, Some(&policies.current())));
        let shelf = self.spool.shelf();
        for sink in &config.sinks {
            if let Need::BestEffort(most) = sink.terms(&config.spool).need {
                shelf.allow_lag(&sink.name, most);
            }
        }
        // Keys with a quota have a part in it.
        let mut config = config.clone();
        config.server.max_connections = self.max_connections;
        self.service.metrics.gauge(&metrics::MEMORY_CEILING, &[]).set(memory_ceiling(&config) as f64);
        Ok(())
    }

    /// Shows which configuration is in force: the one that was put in force as the `version`th.
    pub fn show_version(&self, version: u64, config: &Config) {
        let metrics = &self.service.metrics;
        metrics.gauge(&metrics::CONFIG_VERSION, &[]).set(version as f64);
        metrics.gauge(&metrics::CONFIG_HASH, &[]).set(config.fingerprint() as f64);
    }
}
