//! The objects that a server left: read back as a consumer reads them, and held to their names and rules.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
};

use flate2::bufread::GzDecoder;

use crate::copy_rules::{self, Line};

/// An object.
pub(crate) struct Object {
    /// Its key.
    pub(crate) key: String,
    /// The stream, of accepted events or of rejected ones.
    pub(crate) stream: String,
    /// Whether its events were rejected.
    pub(crate) rejected: bool,
    /// Who stored it.
    pub(crate) instance: String,
    /// Its lines.
    pub(crate) lines: Vec<Line>,
}

/// Reads every object below `root`.
///
/// Each has a key of the promised form, is exactly one gzip member, and holds lines that a warehouse can load, which
/// were received in the hour that the key names. No file is left half-written.
pub(crate) fn read(root: &Path) -> Vec<Object> {
    each(root).collect()
}

/// The same, one object after the other, for more than what fits in memory.
pub(crate) fn each(root: &Path) -> impl Iterator<Item = Object> {
    let mut ids = BTreeSet::new();
    keys(root).into_iter().map(move |key| {
        let object = open(root, key);
        // A segment becomes one object for each stream, book and hour, so no two have one name.
        let hour = object.key.rsplit_once('/').unwrap().0;
        assert!(ids.insert((hour.to_owned(), object.instance.clone(), segment(&object.key))), "{}", object.key);
        object
    })
}

/// The keys of all objects, sorted. The books are none, nor is what is on its way and has no name yet.
pub(crate) fn keys(root: &Path) -> Vec<String> {
    let mut keys = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.extend(Some(path).filter(|path| !path.ends_with("_ledger") && !path.ends_with(".tmp")));
            } else {
                keys.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    keys.sort();
    keys
}

/// The number of the segment that became the object of this key.
pub(crate) fn segment(key: &str) -> u64 {
    let number = key.rsplit_once('-').and_then(|(_, name)| name.strip_suffix(".ndjson.gz"));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{key}"))
}

fn open(root: &Path, key: String) -> Object {
    let parts: Vec<&str> = key.split('/').collect();
    let (rejected, rest) = match parts.strip_prefix(&["_rejected"]) {
        Some(rest) => (true, rest),
        None => (false, &parts[..]),
    };
    let [stream, dt, hour, name] = rest else { panic!("{key}") };
    let (date, hour) = (dt.strip_prefix("dt=").expect(&key), hour.strip_prefix("hour=").expect(&key));
    assert!(is_like(date, "dddd-dd-dd") && is_like(hour, "dd"), "{key}");
    let (instance, segment) = name.strip_suffix(".ndjson.gz").and_then(|name| name.split_once('-')).expect(&key);
    assert!(is_like(segment, "dddddddddd"), "{key}");
    assert!(instance.len() == 26 && instance.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()), "{key}");
    let lines = gunzip(&fs::read(root.join(&key)).unwrap(), &key);
    let received = format!("{date}T{hour}:");
    for line in &lines {
        let at = line.get("received_at").unwrap().as_str().unwrap();
        assert!(at.starts_with(&received), "{key} has a line that was received at {at}");
    }
    assert!(!lines.is_empty(), "{key} is empty");
    Object { stream: (*stream).to_owned(), rejected, instance: instance.to_owned(), lines, key }
}

/// The lines of exactly one gzip member: a consumer that stops behind the first must not miss anything.
fn gunzip(bytes: &[u8], key: &str) -> Vec<Line> {
    let mut text = BufReader::new(GzDecoder::new(bytes));
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        text.read_until(b'\n', &mut line).unwrap_or_else(|error| panic!("{key}: {error}"));
        match line.pop() {
            None => break,
            Some(last) => assert_eq!(last, b'\n', "{key} ends within a line"),
        }
        lines.push(copy_rules::read_line(&line).unwrap_or_else(|rule| panic!("{key}: {rule}")));
    }
    let rest = text.into_inner().into_inner();
    assert!(rest.is_empty(), "{key} has {} bytes behind its first gzip member", rest.len());
    lines
}

/// Whether `text` is `form`, where `d` stands for any digit.
fn is_like(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text
            .bytes()
            .zip(form.bytes())
            .all(|(byte, form)| if form == b'd' { byte.is_ascii_digit() } else { byte == form })
}
