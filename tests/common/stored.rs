//! What a server stored: its objects, read back.

use std::{fs, path::Path};

use serde_json::Value;

use crate::copy_rules::{self, Schemas};

/// A line that was stored.
pub(crate) struct Stored {
    pub(crate) stream: String,
    /// Whether it stands in the book of rejected events.
    pub(crate) rejected: bool,
    pub(crate) text: String,
    line: copy_rules::Line,
}

impl Stored {
    /// The value under `key`; null if there is none.
    pub(crate) fn get(&self, key: &str) -> &Value {
        self.line.get(key).unwrap_or(&Value::Null)
    }
}

/// Every line of every object below `root`, each read by the rules of COPY and as `schemas` declare it.
pub(crate) fn read_objects(root: &Path, schemas: &Schemas) -> Vec<Stored> {
    let mut stored = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let key = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                // A server that runs may be writing to the one; the books are not what was stored.
                dirs.extend(Some(path).filter(|_| key != ".tmp" && key != "_ledger"));
            } else {
                read_object(&key, &fs::read(path).unwrap(), schemas, &mut stored);
            }
        }
    }
    stored
}

fn read_object(key: &str, bytes: &[u8], schemas: &Schemas, stored: &mut Vec<Stored>) {
    let text = copy_rules::lines(bytes).unwrap_or_else(|rule| panic!("{key}: {rule}"));
    let (rejected, place) = key.strip_prefix("_rejected/").map_or((false, key), |place| (true, place));
    let parts: Vec<&str> = place.split('/').collect();
    let [stream, day, hour, name] = parts[..] else { panic!("{key} is no object's key") };
    let is_object = [".ndjson.gz", ".ndjson.zst"].iter().any(|extension| name.ends_with(extension));
    assert!(day.starts_with("dt=") && hour.starts_with("hour=") && is_object, "{key}");
    for line in text.split(|byte| *byte == b'\n') {
        let read =
            if rejected { copy_rules::read_line(line) } else { copy_rules::read_declared_line(line, stream, schemas) };
        let read = read.unwrap_or_else(|rule| panic!("{key}: {rule}"));
        let text = String::from_utf8(line.to_vec()).unwrap();
        stored.push(Stored { stream: stream.to_owned(), rejected, text, line: read });
    }
}
