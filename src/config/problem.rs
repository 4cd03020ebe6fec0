//! What is wrong with a configuration, told so that it can be mended at once.

use std::fmt;

use super::{setting::Setting, watch::Look};

/// Everything that was found wrong, in the order of the file; what stands in the environment comes last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    problems: Vec<Problem>,
    look: Look,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// Which setting it concerns; empty if it concerns the file as a whole.
    pub setting: Setting,
    /// What is wrong: a sentence whose subject is the setting. It repeats no secret.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file.
    File {
        /// As it was named at the start.
        name: String,
        /// Absent if the setting, and what it stands in, is not written.
        at: Option<Position>,
    },
    /// In this environment variable.
    Variable(String),
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
    /// The character in the line, counted from 1.
    pub column: usize,
}

impl Position {
    /// The place of the byte `at` of `text`.
    pub(super) fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl Problems {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|one, other| one.place.cmp(&other.place));
        Self { problems, look: Look::default() }
    }

    /// The same, in a configuration that was to be read from the files of `look`.
    #[must_use]
    pub(super) fn of(self, look: Look) -> Self {
        Self { look, ..self }
    }

    /// The files that it was to be read from, as far as they are known, and what they held.
    pub fn look(&self) -> &Look {
        &self.look
    }

    /// The problems; there is at least one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }
}

/// A problem a paragraph, without a line break at the end.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// `config/logweir.toml:12: spool.segment_size is …`, and the remedy on a line of its own.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, setting, what, remedy } = self;
        let space = if *setting == Setting::default() { "" } else { " " };
        write!(f, "{place}: {setting}{space}{what}\n  remedy: {remedy}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, at: Some(at) } => write!(f, "{name}:{}", at.line),
            Self::File { name, at: None } => f.write_str(name),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_counted_from_one_in_characters() {
        let text = "a = 1\né = x\n";
        for (at, line, column) in [(0, 1, 1), (4, 1, 5), (6, 2, 1), (11, 2, 5), (99, 3, 1)] {
            assert_eq!(Position::of(text, at), Position { line, column }, "{at}");
        }
    }

    #[test]
    fn problems_are_told_in_the_order_of_the_file() {
        let problem = |place: Place, setting: Setting| Problem {
            place,
            setting,
            what: "is 2 GiB, more than spool.disk_quota (1 GiB)".to_owned(),
            remedy: "choose less".to_owned(),
        };
        let file = |at| Place::File { name: "f.toml".to_owned(), at };
        let line = |line| file(Some(Position { line, column: 7 }));
        let problems = Problems::new(vec![
            problem(Place::Variable("LOGWEIR__A".to_owned()), "a".into()),
            problem(line(12), "spool.segment_size".into()),
            problem(line(2), "b".into()),
            problem(file(None), Setting::default()),
        ]);
        let told = problems.to_string();
        let starts: Vec<_> = told.lines().step_by(2).map(|line| line.split(" is ").next().unwrap()).collect();
        assert_eq!(
            starts,
            ["f.toml:", "f.toml:2: b", "f.toml:12: spool.segment_size", "environment variable LOGWEIR__A: a"]
        );
        assert!(told.ends_with("(1 GiB)\n  remedy: choose less"));
    }
}
