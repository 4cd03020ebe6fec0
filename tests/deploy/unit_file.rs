//! Unit files, as far as the tests read them: settings by name, in their order.

use std::time::Duration;

use crate::tools::read;

/// A unit.
pub(crate) struct Unit(Vec<(String, String)>);

impl Unit {
    /// The unit in the file `path` of the repository.
    pub(crate) fn of(path: &str) -> Self {
        let text = read(path);
        let settings =
            text.lines().filter(|line| !line.starts_with(['#', '['])).filter_map(|line| line.split_once('='));
        Self(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Every value of `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of `name`.
    pub(crate) fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        all[0]
    }

    /// The one value of `name`, a time in seconds.
    pub(crate) fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.one(name).strip_suffix('s').unwrap().parse().unwrap())
    }

    /// The settings from `name` on.
    pub(crate) fn from(&self, name: &str) -> &[(String, String)] {
        let at = self.0.iter().position(|(found, _)| found == name).unwrap();
        &self.0[at..]
    }
}
