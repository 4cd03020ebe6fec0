//! What is found wrong, from the first byte of the file to the last rule.

mod document;

use std::{fmt::Display, ops::RangeInclusive};

pub(super) use self::document::{Content, Document, Unread, content, unreadable};
use super::{
    environment::{self, Cause, Misplaced},
    nearest::nearest,
    problem::{Place, Problem},
    read::{Fault, Misread},
    setting::{Setting, Step},
    tree::{Node, Origin},
};

/// The problems so far, and what is needed to tell where they stand.
pub(super) struct Report {
    document: Document,
    tree: Node,
    /// What could not be read: it has its default now, and no rule is to judge that.
    unread: Vec<Setting>,
    /// What broke a rule: what follows from it for other settings will be seen when it is mended.
    broken: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(document: Document, tree: Node) -> Self {
        Self { document, tree, unread: Vec::new(), broken: Vec::new(), problems: Vec::new() }
    }

    /// The name of what was read.
    pub(super) fn name(&self) -> &str {
        &self.document.name
    }

    /// What was read.
    pub(super) fn tree(&mut self) -> &mut Node {
        &mut self.tree
    }

    /// What was found wrong since this was last asked.
    pub(super) fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// Notes that what `setting` names cannot be read, and why: `problems`, which stand there. Nothing follows from it.
    pub(super) fn unreadable(&mut self, setting: Setting, problems: Vec<Problem>) {
        self.unread.push(setting);
        self.problems.extend(problems);
    }

    /// Notes variables that have no place.
    pub(super) fn misplaced(&mut self, all: Vec<Misplaced>) {
        for Misplaced { variable, setting, cause } in all {
            let (what, remedy) = match cause {
                Cause::EmptyStep => (
                    "has an empty step in its name".to_owned(),
                    "write LOGWEIR__SECTION__KEY, with two underscores between the steps".to_owned(),
                ),
                Cause::NoTable(kind) => (
                    format!("is {kind}, and has no settings of its own"),
                    format!("set {} as a whole", environment::variable(&setting)),
                ),
                Cause::NoElement(len) => (
                    format!("is a list of {len}, which the variable does not continue"),
                    format!("name a place from 0 to {len}: {}", environment::variable(&setting.clone().index(len))),
                ),
            };
            let place = Place::Variable(variable.to_string());
            self.problems.push(Problem { place, setting, what, remedy });
        }
    }

    /// Notes settings that could not be read.
    pub(super) fn misread(&mut self, all: Vec<Misread>) {
        for Misread { setting, fault } in all {
            let origin = self.origin(&setting);
            let place = self.document.place(&origin);
            if let Fault::UnknownKey { key, known } = &fault
                && let Some(meant) = nearest(key, known)
            {
                self.unread.push(setting.parent().key(meant));
            }
            // Without one of its elements a list counts its elements otherwise than the text does.
            let element = matches!(setting.steps().last(), Some(Step::Index(_)));
            self.unread.push(if element { setting.parent() } else { setting.clone() });
            let (what, remedy) = explain(&setting, &fault, &place);
            let (setting, what) =
                if is_among_keys(&setting, &fault) { discreet(setting, what, &fault) } else { (setting, what) };
            self.problems.push(Problem { place, setting, what, remedy });
        }
    }

    /// Whether `setting` could not be read: it has its default now, from which nothing follows.
    pub(super) fn is_unread(&self, setting: &Setting) -> bool {
        self.unread.iter().any(|unread| unread.overlaps(setting))
    }

    /// Notes that `setting` breaks a rule: `what` continues the sentence that begins with the setting.
    pub(super) fn wrong(&mut self, setting: impl Into<Setting>, what: impl Into<String>, remedy: impl Into<String>) {
        self.between(setting, &[], what, remedy);
    }

    /// Notes that `setting` does not go with `others`, unless one of them is known to be wrong already. The place is
    /// that of the first that is written, since a default stands nowhere.
    pub(super) fn between(
        &mut self,
        setting: impl Into<Setting>,
        others: &[Setting],
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let setting = setting.into();
        let all = || std::iter::once(&setting).chain(others);
        if all().any(|setting| self.is_unread(setting) || self.broken.contains(setting)) {
            return;
        }
        let written = all().find_map(|setting| self.tree.find(setting)).map(|node| node.origin.clone());
        let place = self.document.place(&written.unwrap_or_else(|| self.origin(&setting)));
        self.broken.push(setting.clone());
        self.problems.push(Problem { place, setting, what: what.into(), remedy: remedy.into() });
    }

    /// Holds a value to its range.
    pub(super) fn within<T: PartialOrd + Display>(
        &mut self,
        setting: impl Into<Setting>,
        value: &T,
        range: &RangeInclusive<T>,
    ) {
        if !range.contains(value) {
            let (least, most) = (range.start(), range.end());
            self.wrong(setting, format!("is {value}, not {least} to {most}"), format!("choose from {least} to {most}"));
        }
    }

    /// Holds a value to the range above 0 and up to 1.
    pub(super) fn share(&mut self, setting: impl Into<Setting>, value: f64) {
        if !(value > 0.0 && value <= 1.0) {
            self.wrong(setting, format!("is {value}, not above 0 and up to 1"), "choose a share, such as 0.5");
        }
    }

    /// Where `setting` stands, or else what it would stand in.
    fn origin(&self, setting: &Setting) -> Origin {
        let steps = setting.steps();
        let written = (1..=steps.len()).rev().find_map(|depth| self.tree.find(&Setting::new(steps[..depth].to_vec())));
        written.map_or(Origin::File, |node| node.origin.clone())
    }
}

/// Whether `setting` stands among keys. Nothing that is wrong there is repeated, since it may be a key in the wrong place: its
/// line is told.
fn is_among_keys(setting: &Setting, fault: &Fault) -> bool {
    let of_a_keys_file = matches!(fault, Fault::UnknownKey { known, .. } if *known == ["keys"]);
    of_a_keys_file || setting.steps().first() == Some(&Step::Key("keys".to_owned()))
}

/// `setting` and `what` of a setting among keys, without what may be one.
fn discreet(setting: Setting, what: String, fault: &Fault) -> (Setting, String) {
    match fault {
        Fault::UnknownKey { key, known } if nearest(key, known).is_none() => {
            (setting.parent(), "has something that is no setting".to_owned())
        }
        Fault::Value { found, wanted } if found.starts_with('"') => (setting, format!("is not {wanted}")),
        Fault::UnknownWord { .. } => (setting, "is a word that it cannot be".to_owned()),
        Fault::Value { .. }
        | Fault::UnknownKey { .. }
        | Fault::Type { .. }
        | Fault::Missing { .. }
        | Fault::Other { .. } => (setting, what),
    }
}

/// What is wrong with a setting that could not be read, and the remedy.
fn explain(setting: &Setting, fault: &Fault, place: &Place) -> (String, String) {
    match fault {
        Fault::Type { found, wanted } | Fault::Value { found, wanted } => {
            (format!("is {found}, not {wanted}"), format!("write {wanted}"))
        }
        Fault::Missing { key } => (format!("has no `{key}`"), format!("write {key} = …")),
        Fault::Other { cause } => {
            (format!("cannot be read: {cause}"), "config/logweir.toml describes every setting".to_owned())
        }
        Fault::UnknownWord { word, known } => {
            let remedy = nearest(word, known).map_or_else(|| one_of(known), |near| format!("did you mean `{near}`?"));
            (format!("is {word:?}, which it cannot be"), remedy)
        }
        Fault::UnknownKey { key, known } => {
            let remedy = match (nearest(key, known), place) {
                (Some(near), Place::Variable(_)) => {
                    format!("did you mean `{}`?", environment::variable(&setting.parent().key(near)))
                }
                (Some(near), Place::File { .. }) => format!("did you mean `{near}`?"),
                (None, _) => one_of(known),
            };
            ("is no setting".to_owned(), remedy)
        }
    }
}

fn one_of(known: &[&str]) -> String {
    format!("there is: `{}`", known.join("`, `"))
}
