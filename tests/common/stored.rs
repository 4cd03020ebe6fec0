//! What a server stored: its objects, read back.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use serde_json::Value;

use crate::copy_rules;

/// The largest object that is read back, in bytes of its lines.
const MAX_OBJECT_BYTES: u64 = 256 * 1024 * 1024;

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

/// Every line of every object below `root`, each read by the rules of COPY.
pub(crate) fn read_objects(root: &Path) -> Vec<Stored> {
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
                read_object(&key, &fs::read(path).unwrap(), &mut stored);
            }
        }
    }
    stored
}

fn read_object(key: &str, bytes: &[u8], stored: &mut Vec<Stored>) {
    let mut member = flate2::bufread::GzDecoder::new(bytes);
    let mut text = Vec::new();
    io::copy(&mut (&mut member).take(MAX_OBJECT_BYTES), &mut text).unwrap();
    assert!(member.into_inner().is_empty(), "{key} has more than one gzip member");
    assert!(text.ends_with(b"\n"), "{key} does not end with a line");
    let (rejected, place) = key.strip_prefix("_rejected/").map_or((false, key), |place| (true, place));
    let parts: Vec<&str> = place.split('/').collect();
    let [stream, day, hour, name] = parts[..] else { panic!("{key} is no object's key") };
    assert!(day.starts_with("dt=") && hour.starts_with("hour=") && name.ends_with(".ndjson.gz"), "{key}");
    for line in text[..text.len() - 1].split(|byte| *byte == b'\n') {
        let read = copy_rules::read_line(line).unwrap_or_else(|rule| panic!("{key}: {rule}"));
        let text = String::from_utf8(line.to_vec()).unwrap();
        stored.push(Stored { stream: stream.to_owned(), rejected, text, line: read });
    }
}
