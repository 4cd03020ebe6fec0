//! Which setting: `spool.segment_size`, `sinks[0].bucket`.

use std::fmt;

/// The path of a setting: keys, and places in lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting(Vec<Step>);

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a table.
    Key(String),
    /// Into a list, counted from 0.
    Index(usize),
}

impl Setting {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The setting `key` of this table.
    #[must_use]
    pub(super) fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.to_owned()));
        self
    }

    /// The element of this list at `index`.
    #[must_use]
    pub(super) fn index(mut self, index: usize) -> Self {
        self.0.push(Step::Index(index));
        self
    }

    /// Puts `step` in front: an error learns its path on its way up.
    pub(super) fn prepend(&mut self, step: Step) {
        self.0.insert(0, step);
    }

    /// The table or list that this setting stands in.
    pub(super) fn parent(&self) -> Self {
        Self(self.0.split_last().map(|(_, above)| above.to_vec()).unwrap_or_default())
    }

    /// Whether one of the two is the other, or stands within it.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, another)| one == another)
    }
}

/// Takes a path whose keys are joined by dots. Names that users choose are added with `key`.
impl From<&'static str> for Setting {
    fn from(path: &'static str) -> Self {
        Self(path.split('.').map(|key| Step::Key(key.to_owned())).collect())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if depth == 0 { "" } else { "." };
                    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
                    if bare { write!(f, "{dot}{key}")? } else { write!(f, "{dot}{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_written_as_toml_would_and_lists_by_index() {
        assert_eq!(Setting::from("spool.disk_quota").to_string(), "spool.disk_quota");
        assert_eq!(Setting::from("sinks").index(2).key("bucket").to_string(), "sinks[2].bucket");
        assert_eq!(Setting::from("streams").key("a b\n").key("ack").to_string(), "streams.\"a b\\n\".ack");
        assert_eq!(Setting::default().to_string(), "");
    }

    #[test]
    fn settings_overlap_if_one_stands_within_the_other() {
        let sinks = Setting::from("sinks");
        let first = sinks.clone().index(0);
        assert!(sinks.overlaps(&first) && first.overlaps(&sinks) && first.overlaps(&first));
        assert!(!first.overlaps(&sinks.clone().index(1)) && !sinks.overlaps(&Setting::from("spool")));
        assert_eq!((first.parent(), sinks.parent()), (sinks, Setting::default()));
    }
}
