//! The streams of this instance: those that are declared, and those that were seen.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{Ack, Load, Priority, Schema, Stream};
use crate::batch::StreamName;

/// The streams that this instance knows, at most `max` of them.
///
/// A stream is a label in the metrics and a directory in the object store, so their number has a limit: one device
/// that invents names must not fill either. Workers keep what they have looked up, so this map is asked once a stream
/// and worker, not once a request; whoever [declares](Self::declare) streams anew tells them to look again.
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

    /// The stream called `name`, if it is known.
    pub fn get(&self, name: &StreamName) -> Option<Arc<Stream>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// What the stream called `name`, which is not known, would be; `None` if undeclared ones are not taken. It takes no
    /// place: it is there to look at a batch before one is [taken up](Self::take_up).
    ///
    /// # Errors
    /// [`CatalogFull`] if there is no place for it.
    pub fn candidate(&self, name: &StreamName) -> Result<Option<Arc<Stream>>, CatalogFull> {
        if !self.accept_undeclared {
            return Ok(None);
        }
        if self.streams.read().unwrap_or_else(PoisonError::into_inner).len() >= self.max {
            return Err(CatalogFull { max: self.max });
        }
        Ok(Some(Arc::new(Stream {
            name: name.clone(),
            ack: Ack::default(),
            priority: Priority::default(),
            load: Load::default(),
            schema: Schema::free_form(),
        })))
    }

    /// Takes `candidate` up as a stream that is known from now on, unless another worker was faster: then that one's.
    ///
    /// # Errors
    /// [`CatalogFull`] if there is no place for it.
    pub fn take_up(&self, candidate: &Arc<Stream>) -> Result<Arc<Stream>, CatalogFull> {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = streams.get(&candidate.name) {
            return Ok(Arc::clone(stream));
        }
        if streams.len() >= self.max {
            return Err(CatalogFull { max: self.max });
        }
        streams.insert(candidate.name.clone(), Arc::clone(candidate));
        Ok(Arc::clone(candidate))
    }

    /// Declares streams: each is the one of its name from now on, whether that was declared, seen or not known. What has
    /// the schema that it had stays the same one, for those who compare; other streams stay as they are.
    ///
    /// # Errors
    /// [`CatalogFull`] if there would be too many with those that were seen; then nothing has changed.
    pub fn declare(&self, declared: impl IntoIterator<Item = Stream>) -> Result<(), CatalogFull> {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = streams.clone();
        for stream in declared {
            match next.get(&stream.name) {
                Some(known) if known.is(&stream) => {}
                _ => drop(next.insert(stream.name.clone(), Arc::new(stream))),
            }
        }
        if next.len() > self.max {
            return Err(CatalogFull { max: self.max });
        }
        *streams = next;
        Ok(())
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
        let heard = Stream {
            name: name("heard"),
            ack: Ack::Stored,
            priority: Priority::Normal,
            load: Load::None,
            schema: Schema::free_form(),
        };
        let catalog = Catalog::new([heard], 3, true);
        assert_eq!(catalog.get(&name("heard")).unwrap().ack, Ack::Stored);
        let candidate = |text: &str| catalog.candidate(&name(text)).unwrap().unwrap();
        let (seen, again, third, fourth) =
            (candidate("seen"), candidate("seen"), candidate("third"), candidate("fourth"));
        assert!(catalog.get(&name("seen")).is_none() && catalog.all().len() == 1, "a candidate takes no place");
        assert_eq!(seen.ack, Ack::Spooled);
        assert!(Arc::ptr_eq(&catalog.take_up(&seen).unwrap(), &seen));
        assert!(Arc::ptr_eq(&catalog.take_up(&again).unwrap(), &seen), "there is one of a name");
        catalog.take_up(&third).unwrap();
        assert_eq!(catalog.take_up(&fourth).unwrap_err(), CatalogFull { max: 3 });
        assert_eq!(catalog.candidate(&name("fourth")).unwrap_err(), CatalogFull { max: 3 });
        assert!(catalog.get(&name("seen")).is_some(), "what was seen stays known");
        assert_eq!(catalog.all().len(), 3);
    }

    #[test]
    fn what_is_declared_anew_takes_the_place_of_what_was_declared_or_seen() {
        let free = |text: &str| Stream {
            name: name(text),
            ack: Ack::default(),
            priority: Priority::default(),
            load: Load::None,
            schema: Schema::free_form(),
        };
        let (heard, other) = (free("heard"), free("other"));
        let catalog = Catalog::new([heard.clone(), other.clone()], 4, true);
        let same = catalog.get(&name("heard")).unwrap();
        let seen = catalog.take_up(&catalog.candidate(&name("seen")).unwrap().unwrap()).unwrap();
        let other = Stream { ack: Ack::Stored, ..other };
        catalog.declare([heard.clone(), other, free("seen"), free("new")]).unwrap();
        assert!(Arc::ptr_eq(&catalog.get(&name("heard")).unwrap(), &same), "it has not changed");
        assert!(!Arc::ptr_eq(&catalog.get(&name("seen")).unwrap(), &seen), "it is declared now");
        assert_eq!(catalog.get(&name("other")).unwrap().ack, Ack::Stored);
        assert_eq!(catalog.all().len(), 4);
        let full = catalog.declare([Stream { ack: Ack::Memory, ..heard }, free("more")]).unwrap_err();
        assert_eq!(full, CatalogFull { max: 4 });
        assert!(Arc::ptr_eq(&catalog.get(&name("heard")).unwrap(), &same), "all or nothing");
        assert!(catalog.get(&name("more")).is_none());
    }

    #[test]
    fn a_strict_catalog_knows_what_is_configured() {
        let catalog = Catalog::new([], 2, false);
        assert!(catalog.get(&name("heard")).is_none());
        assert!(catalog.candidate(&name("heard")).unwrap().is_none());
    }
}
