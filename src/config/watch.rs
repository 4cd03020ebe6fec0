//! `[watch]`: what is noticed without a signal.
//!
//! A changed file is noticed by looking at what it holds, every few seconds, through every link: Kubernetes lets a link point
//! elsewhere when a `ConfigMap` has changed, and sends no signal. It is read again once two looks in a row have found the
//! same, so that a file which is being written is not read by halves; and once only, whatever comes of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    period::Period,
    report::{Content, Report, content},
};

/// What is noticed without a signal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    /// How often the configuration file and `keys_file` are looked at, 1 s to 1 h; `0s` for never: then they are read again
    /// on SIGHUP alone. Default 5 s: a key that has leaked is out within ten, and it costs two reads of small files.
    pub interval: Period,
}

impl Default for Watch {
    fn default() -> Self {
        Self { interval: Period::seconds(5) }
    }
}

impl Watch {
    pub(super) fn check(&self, report: &mut Report) {
        if self.interval != Period::default() {
            report.within("watch.interval", &self.interval, &(Period::seconds(1)..=Period::hours(1)));
        }
    }
}

/// What files held when they were last read, and at the last look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    files: Vec<PathBuf>,
    read: Vec<Content>,
    seen: Option<Vec<Content>>,
}

impl Look {
    /// Files that were read, and what they held then.
    pub(super) fn new(files: Vec<(PathBuf, Content)>) -> Self {
        let (files, read) = files.into_iter().unzip();
        Self { files, read, seen: None }
    }

    /// Whether there is anything to look at.
    pub fn is_at_nothing(&self) -> bool {
        self.files.is_empty()
    }

    /// Looks: whether the files hold something else than when they were last read, and the same as at the last look. Says so
    /// once.
    pub fn is_changed(&mut self) -> bool {
        let now = self.contents();
        let settled = self.seen.as_ref() == Some(&now);
        let is_changed = settled && now != self.read;
        if is_changed {
            self.read.clone_from(&now);
        }
        self.seen = Some(now);
        is_changed
    }

    /// The same files, taken for read as they are now.
    #[must_use]
    pub fn now(&self) -> Self {
        Self { files: self.files.clone(), read: self.contents(), seen: None }
    }

    /// Also the files of `other` that are not among these, as they were when `other` read them.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (file, read) in other.files.into_iter().zip(other.read) {
            if !self.files.contains(&file) {
                self.files.push(file);
                self.read.push(read);
            }
        }
        Self { seen: None, ..self }
    }

    fn contents(&self) -> Vec<Content> {
        self.files.iter().map(|file| content(file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_file_is_told_once_and_only_when_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        fs::write(&one, "a").unwrap();
        let mut look = Look::new(vec![(one.clone(), content(&one)), (other.clone(), content(&other))]);
        assert!(!look.is_at_nothing() && !look.is_changed() && !look.is_changed());
        fs::write(&one, "b").unwrap();
        assert!(!look.is_changed(), "it may still be written");
        fs::write(&one, "bc").unwrap();
        assert!(!look.is_changed(), "it was");
        assert!(look.is_changed());
        assert!(!look.is_changed() && !look.is_changed(), "once");
        fs::write(&other, "there is one now").unwrap();
        assert_eq!([look.is_changed(), look.is_changed(), look.is_changed()], [false, true, false]);
        fs::write(&one, "d").unwrap();
        let mut now = look.now();
        assert_eq!([now.is_changed(), now.is_changed()], [false, false], "it was read meanwhile");
        fs::remove_file(&one).unwrap();
        assert_eq!([look.is_changed(), look.is_changed(), look.is_changed()], [false, true, false]);
    }

    #[test]
    fn files_of_two_looks_are_looked_at_each_as_it_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other, third] = ["one", "other", "third"].map(|name| dir.path().join(name));
        fs::write(&one, "a").unwrap();
        let before = Look::new(vec![(one.clone(), content(&one)), (third.clone(), content(&third))]);
        fs::write(&one, "b").unwrap();
        let mut look = Look::new(vec![(one.clone(), content(&one)), (other.clone(), content(&other))]).and(before);
        assert_eq!([look.is_changed(), look.is_changed()], [false, false], "the later reading of the two counts");
        fs::write(&third, "there is one now").unwrap();
        assert_eq!([look.is_changed(), look.is_changed()], [false, true]);
    }

    #[test]
    fn a_file_that_is_back_as_it_was_is_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "a").unwrap();
        let mut look = Look::new(vec![(file.clone(), content(&file))]);
        fs::write(&file, "b").unwrap();
        assert!(!look.is_changed());
        fs::write(&file, "a").unwrap();
        assert_eq!([look.is_changed(), look.is_changed()], [false, false]);
    }
}
