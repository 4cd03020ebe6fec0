//! The streams of this instance: those that are configured, and those that were seen.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{Ack, Schema, Stream};
use crate::batch::StreamName;

/// The streams that this instance knows, at most `max` of them.
///
/// A stream is a label in the metrics and a directory in the object store, so their number has a limit: one device
/// that invents names must not fill either. Workers keep what they have looked up, so this map is asked once a stream
/// and worker, not once a request.
#[derive(Debug)]
pub struct Catalog {
    streams: RwLock<HashMap<StreamName, Arc<Stream>>>,
    max: usize,
    accept_undeclared: bool,
}

/// The instance already knows as many streams as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this instance already knows {max} streams, as many as it may")]
pub struct CatalogFull {
    /// The limit that was reached: `limits.streams`.
    pub max: usize,
}

impl Catalog {
    /// A catalog of the `configured` streams, which takes undeclared ones up to `max` in all if it may.
    pub fn new(configured: impl IntoIterator<Item = Stream>, max: usize, accept_undeclared: bool) -> Self {
        let streams = configured.into_iter().map(|stream| (stream.name.clone(), Arc::new(stream))).collect();
        Self { streams: RwLock::new(streams), max, accept_undeclared }
    }

    /// The stream called `name`; `None` if there is none and undeclared ones are not taken.
    ///
    /// # Errors
    /// [`CatalogFull`] if it would have to be taken up and there is no room.
    pub fn get(&self, name: &StreamName) -> Result<Option<Arc<Stream>>, CatalogFull> {
        if let Some(stream) = self.streams.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Some(Arc::clone(stream)));
        }
        if !self.accept_undeclared {
            return Ok(None);
        }
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = streams.get(name) {
            return Ok(Some(Arc::clone(stream)));
        }
        if streams.len() >= self.max {
            return Err(CatalogFull { max: self.max });
        }
        let stream = Arc::new(Stream { name: name.clone(), ack: Ack::default(), schema: Schema::free_form() });
        streams.insert(name.clone(), Arc::clone(&stream));
        Ok(Some(stream))
    }

    /// Every stream that is known now.
    pub fn all(&self) -> Vec<Arc<Stream>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    #[test]
    fn undeclared_streams_are_taken_up_to_the_limit() {
        let heard = Stream { name: name("heard"), ack: Ack::Stored, schema: Schema::free_form() };
        let catalog = Catalog::new([heard], 2, true);
        assert_eq!(catalog.get(&name("heard")).unwrap().unwrap().ack, Ack::Stored);
        assert_eq!(catalog.get(&name("seen")).unwrap().unwrap().ack, Ack::Spooled);
        assert_eq!(catalog.get(&name("third")).unwrap_err(), CatalogFull { max: 2 });
        assert!(catalog.get(&name("seen")).unwrap().is_some(), "what was seen stays known");
        assert_eq!(catalog.all().len(), 2);
    }

    #[test]
    fn a_strict_catalog_knows_what_is_configured() {
        let catalog = Catalog::new([], 2, false);
        assert!(catalog.get(&name("heard")).unwrap().is_none());
    }
}
