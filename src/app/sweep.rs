//! What a killed process has left of unfinished files, removed on the sink's own threads.
//!
//! Not by the start: the directory may be on a mount that hangs, which is the business of its sink alone.

use tokio::{
    runtime::Handle,
    sync::watch::{self, Receiver},
};

use crate::sink::{
    BoxFuture, ObjectBody, ObjectPlan, ObjectReader, ObjectStore, Page, Placed, PutError, StoreError, Told,
};

/// A store to which nothing is written before what was left in it is removed: what is written would look the same.
pub(super) struct Swept<S> {
    store: S,
    /// Nobody is left to send once it is.
    sweeping: Receiver<()>,
}

impl<S: ObjectStore> Swept<S> {
    /// Begins to `sweep` on a thread of `runtime` that may block.
    pub(super) fn new(store: S, runtime: &Handle, sweep: impl FnOnce() + Send + 'static) -> Self {
        let (end, sweeping) = watch::channel(());
        runtime.spawn_blocking(move || {
            let _end = end;
            sweep();
        });
        Self { store, sweeping }
    }

    async fn swept(&self) {
        while self.sweeping.clone().changed().await.is_ok() {}
    }
}

impl<S: ObjectStore> ObjectStore for Swept<S> {
    fn put<'a>(&'a self, plan: &'a ObjectPlan, body: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>> {
        Box::pin(async move {
            self.swept().await;
            self.store.put(plan, body).await
        })
    }

    fn overwrite<'a>(&'a self, place: &'a str, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.swept().await;
            self.store.overwrite(place, key, bytes).await
        })
    }

    fn list<'a>(
        &'a self,
        place: &'a str,
        directory: &'a str,
        after: Option<String>,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.store.list(place, directory, after)
    }

    fn get<'a>(
        &'a self,
        place: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Box<dyn ObjectReader>>, StoreError>> {
        self.store.get(place, key)
    }

    fn told<'a>(&'a self, place: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Told>, StoreError>> {
        self.store.told(place, key)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, time::Duration};

    use tokio::{runtime::Builder, time::timeout};

    use super::*;
    use crate::sink::FileStore;

    #[test]
    fn a_sweep_that_hangs_holds_up_what_is_written_there_and_nothing_else() {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let place = tempfile::tempdir().unwrap();
        let (release, hangs) = mpsc::sync_channel::<()>(0);
        let store = Swept::new(FileStore::default(), runtime.handle(), move || {
            let _ = hangs.recv();
        });
        let root = place.path().to_str().unwrap();
        runtime.block_on(async {
            let written = timeout(Duration::from_millis(100), store.overwrite(root, "key", b"x".to_vec())).await;
            assert!(written.is_err(), "written while it is swept");
            assert!(!place.path().join("key").exists());
            drop(release);
            let written = timeout(Duration::from_mins(1), store.overwrite(root, "key", b"x".to_vec())).await;
            written.unwrap().unwrap();
        });
        assert_eq!(fs::read(place.path().join("key")).unwrap(), b"x");
    }
}
