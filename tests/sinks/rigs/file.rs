//! The file sink: a store whose answers are lost on the way to the driver. What a disk does to it is tested elsewhere.

use std::{collections::VecDeque, fs, future::pending, path::Path, sync::Arc};

use logweir::{
    sink::{
        BoxFuture, Failure, FileStore, ObjectBody, ObjectPlan, ObjectReader, ObjectStore, Page, Placed, PutError,
        StoreError, Told,
    },
    spool::Destination,
};

use crate::{
    rig::{Rig, Sink},
    script::{Fault, Script},
};

/// The file sink over a directory.
pub(crate) struct Files {
    script: Script,
    root: tempfile::TempDir,
}

/// Why an object store cannot meet with a fault of single lines.
pub(crate) const WHOLE: &str = "an object is taken whole, or not at all";

impl Rig for Files {
    fn cannot(fault: Fault) -> Option<&'static str> {
        match fault {
            Fault::Part(_) | Fault::Never(_) => Some(WHOLE),
            Fault::Throttled(_) => Some("a directory does not throttle"),
            Fault::Panics => Some("a driver of objects is not held to it: it stores pages of the books itself"),
            _ => None,
        }
    }

    async fn start(script: Script) -> Self {
        Self { script, root: tempfile::tempdir().unwrap() }
    }

    fn sink(&self) -> Sink {
        let store = Faulty { script: self.script.clone(), store: FileStore::default() };
        Sink::Objects(Arc::new(store), destination("file", self.root.path().to_str().unwrap()))
    }

    fn arrived(&self) -> Vec<String> {
        lines_below(self.root.path(), "")
    }
}

/// Where objects go.
pub(crate) fn destination(kind: &str, place: &str) -> Destination {
    Destination {
        sink: crate::segments::SINK.into(),
        kind: kind.into(),
        place: place.into(),
        prefix: String::new(),
        codec: "gzip".into(),
        level: 1,
        streams: Vec::new(),
    }
}

/// The lines of every object below `directory` of `root`, but those of the books and of what is not an object yet.
pub(crate) fn lines_below(root: &Path, directory: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut dirs = VecDeque::from([root.join(directory)]);
    while let Some(dir) = dirs.pop_front() {
        let Ok(entries) = fs::read_dir(dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                dirs.extend(Some(path.clone()).filter(|_| ![".tmp", "_ledger"].contains(&name)));
            } else if name.ends_with(".ndjson.gz") {
                let text = std::io::read_to_string(flate2::read::GzDecoder::new(fs::File::open(&path).unwrap()));
                lines.extend(text.unwrap().lines().map(str::to_owned));
            }
        }
    }
    lines
}

/// A store whose puts meet with faults.
struct Faulty<S> {
    script: Script,
    store: S,
}

impl<S: ObjectStore> Faulty<S> {
    async fn place(&self, plan: &ObjectPlan, body: ObjectBody) -> Result<Placed, PutError> {
        let failed = |cause| Err(PutError::store(cause, "as told"));
        match self.script.next() {
            None => self.store.put(plan, body).await,
            Some(Fault::Refused) => failed(Failure::Full),
            Some(Fault::Lost) => failed(Failure::Other),
            Some(Fault::AnswerLost) => {
                self.store.put(plan, body).await?;
                failed(Failure::Other)
            }
            Some(Fault::Hangs) => pending().await,
            Some(Fault::HangsAfter) => {
                self.store.put(plan, body).await?;
                pending().await
            }
            Some(fault) => panic!("{fault:?} is nothing that files meet with"),
        }
    }
}

impl<S: ObjectStore> ObjectStore for Faulty<S> {
    fn put<'a>(&'a self, plan: &'a ObjectPlan, body: ObjectBody) -> BoxFuture<'a, Result<Placed, PutError>> {
        Box::pin(self.place(plan, body))
    }

    fn overwrite<'a>(&'a self, place: &'a str, key: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.overwrite(place, key, bytes)
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
