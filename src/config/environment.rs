//! Settings from the environment: `LOGWEIR__SECTION__KEY`.
//!
//! `__` stands between the steps of a setting's path, upper case for lower case, and a number for a place in a list:
//! `LOGWEIR__SPOOL__DISK_QUOTA`, `LOGWEIR__SINKS__0__BUCKET`, `LOGWEIR__STREAMS__HEARD__ACK`. The place behind the last
//! element appends one. What the environment says stands before what the file says. (A stream or field whose name
//! contains `__` can only be configured in the file.)

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{
    setting::{Setting, Step},
    spool::kind,
    tree::{Node, Origin, Value},
};

/// What the names of all variables begin with.
const PREFIX: &str = "LOGWEIR__";

/// The process's environment: the only place where it is read.
///
/// What is not Unicode is replaced by U+FFFD, so that it is found wrong by name instead of passed over.
#[expect(clippy::disallowed_methods, reason = "this is the one place that the ban leaves")]
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
}

/// The variable that tells a process that another one is to be succeeded by it, see [`succession`](crate::succession). Not
/// a setting: it is set by that process, and by nobody else. It stays in the environment of the successor, where it is read
/// once, at the start.
pub const SUCCESSOR: &str = "LOGWEIR_SUCCESSOR";

/// Whether [`SUCCESSOR`] is set.
#[expect(clippy::disallowed_methods, reason = "this is the one place that the ban leaves")]
pub fn is_successor() -> bool {
    std::env::var_os(SUCCESSOR).is_some()
}

/// How the process was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The executable that stands now where the one of this process stood.
    pub program: PathBuf,
    /// The arguments behind its name.
    pub arguments: Vec<OsString>,
}

/// How the process was started. The executable is found where it was named, so that a symbolic link that leads to another
/// version by now is followed anew; if it was looked for in `PATH`, where it was found.
///
/// # Errors
/// The operating system's.
pub fn command_line() -> io::Result<CommandLine> {
    let mut words = std::env::args_os();
    let named = words.next().map(PathBuf::from).unwrap_or_default();
    let program = if named.components().nth(1).is_some() && named.is_file() {
        named
    } else {
        replaced(&std::env::current_exe()?)
    };
    Ok(CommandLine { program, arguments: words.collect() })
}

/// Where an executable stands that has been replaced since it was started: Linux tells so behind its path.
fn replaced(executable: &Path) -> PathBuf {
    let path = executable.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    path.map_or_else(|| executable.to_owned(), PathBuf::from)
}

/// A variable that names no place for its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misplaced {
    /// The variable.
    pub variable: Rc<str>,
    /// The setting that it names, or as much of it as there is.
    pub setting: Setting,
    /// Why there is no place.
    pub cause: Cause,
}

/// Why there is no place for a variable's value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The name has an empty step.
    EmptyStep,
    /// The setting is of this kind, and has no settings of its own.
    NoTable(&'static str),
    /// The setting is a list of this many elements, and the next step is no place in it and not the one behind.
    NoElement(usize),
}

/// Writes the variables that are settings over `tree`, and returns those that have no place there.
pub(super) fn overlay(tree: &mut Node, variables: impl Iterator<Item = (String, String)>) -> Vec<Misplaced> {
    let ours = |(name, text): (String, String)| {
        let steps = name.strip_prefix(PREFIX)?.split("__").map(step).collect();
        let setting = kind::spelled_out(Setting::new(steps), &text);
        Some((setting, Rc::from(name), text))
    };
    let mut settings: Vec<(Setting, Rc<str>, String)> = variables.filter_map(ours).collect();
    // In the order of the paths, a list grows by one element after the other, and tables come before what is in them.
    settings.sort();
    let write = |(setting, variable, text)| write(tree, &setting, &variable, text).err();
    settings.into_iter().filter_map(write).collect()
}

/// The variable that stands for `setting`.
pub(super) fn variable(setting: &Setting) -> String {
    let name = |step: &Step| match step {
        Step::Key(key) => key.to_uppercase(),
        Step::Index(index) => index.to_string(),
    };
    format!("{PREFIX}{}", setting.steps().iter().map(name).collect::<Vec<_>>().join("__"))
}

fn step(text: &str) -> Step {
    text.parse().map_or_else(|_| Step::Key(text.to_lowercase()), Step::Index)
}

fn write(tree: &mut Node, setting: &Setting, variable: &Rc<str>, text: String) -> Result<(), Misplaced> {
    let steps = setting.steps();
    let misplaced = |depth: usize, cause| Misplaced {
        variable: Rc::clone(variable),
        setting: Setting::new(steps[..depth].to_vec()),
        cause,
    };
    if steps.contains(&Step::Key(String::new())) {
        return Err(misplaced(0, Cause::EmptyStep));
    }
    let mut node = tree;
    for (depth, step) in steps.iter().enumerate() {
        // What is missing on the way becomes a list if a place in it is named next, and else a table.
        let list = matches!(steps.get(depth + 1), Some(Step::Index(_)));
        let value = if list { Value::List(Vec::new()) } else { Value::Table(Vec::new()) };
        let missing = Node::new(Origin::Variable(Rc::clone(variable)), value);
        node = child(node, step, missing).map_err(|cause| misplaced(depth, cause))?;
    }
    *node = Node::from_variable(variable, text);
    Ok(())
}

/// What stands in `node` under `step`: `missing`, if nothing does yet.
fn child<'n>(node: &'n mut Node, step: &Step, missing: Node) -> Result<&'n mut Node, Cause> {
    // What is changed is no longer what one variable says.
    node.text = None;
    let kind = node.kind();
    match &mut node.value {
        Value::Table(entries) => {
            let key = match step {
                Step::Key(key) => key.clone(),
                Step::Index(index) => index.to_string(),
            };
            let place = entries.iter().position(|(name, _)| *name == key).unwrap_or(entries.len());
            if place == entries.len() {
                entries.push((key, missing));
            }
            Ok(&mut entries[place].1)
        }
        Value::List(elements) => match step {
            Step::Index(index) if *index <= elements.len() => {
                if *index == elements.len() {
                    elements.push(missing);
                }
                Ok(&mut elements[*index])
            }
            _ => Err(Cause::NoElement(elements.len())),
        },
        _ => Err(Cause::NoTable(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[spool]\ndir = 'here'\n[[sinks]]\nname = 'a'\n[streams.heard.fields]\ncount = 'int'\n";

    fn overlaid(variables: &[(&str, &str)]) -> (Node, Vec<Misplaced>) {
        let mut tree = Node::from_file(FILE).unwrap_or_else(|_| panic!("not TOML"));
        let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let misplaced = overlay(&mut tree, variables);
        (tree, misplaced)
    }

    fn text(tree: &Node, setting: &Setting) -> String {
        tree.find(setting).unwrap().text.clone().unwrap_or_default()
    }

    #[test]
    fn variables_reach_tables_lists_and_what_is_not_in_the_file() {
        let (tree, misplaced) = overlaid(&[
            ("LOGWEIR__SINKS__2__NAME", "c"),
            ("LOGWEIR__SINKS__1__NAME", "b"),
            ("LOGWEIR__SINKS__0__BUCKET", "logs"),
            ("LOGWEIR__SPOOL__DIR", "there"),
            ("LOGWEIR__STREAMS__SEEN__ACK", "stored"),
            ("LOGWEIR__KEYS__0__STREAMS__0", "heard"),
            ("LOGWEIR_OTHER", "x"),
            ("PATH", "/bin"),
        ]);
        assert_eq!(misplaced, []);
        let sink = |index| Setting::from("sinks").index(index);
        assert_eq!(text(&tree, &sink(1).key("name")), "b");
        assert_eq!(text(&tree, &sink(2).key("name")), "c");
        assert_eq!(text(&tree, &sink(0).key("bucket")), "logs");
        assert_eq!(text(&tree, &Setting::from("spool.dir")), "there");
        assert_eq!(text(&tree, &Setting::from("streams.seen.ack")), "stored");
        assert_eq!(text(&tree, &Setting::from("keys").index(0).key("streams").index(0)), "heard");
        assert!(tree.find(&Setting::from("other")).is_none());
    }

    #[test]
    fn a_whole_table_or_list_can_be_one_variable_and_parts_of_it_others() {
        let (tree, misplaced) = overlaid(&[
            ("LOGWEIR__SPOOL__DIR", "there"),
            ("LOGWEIR__SPOOL", "{ disk_quota = '1GiB' }"),
            ("LOGWEIR__SINKS", "[]"),
        ]);
        assert_eq!(misplaced, []);
        assert_eq!(text(&tree, &Setting::from("spool.dir")), "there");
        assert!(tree.find(&Setting::from("spool.disk_quota")).is_some());
        assert!(tree.find(&Setting::from("sinks").index(0)).is_none());
    }

    #[test]
    fn variables_without_a_place_are_told() {
        let sinks = Setting::from("sinks");
        for (name, setting, cause) in [
            ("LOGWEIR__", Setting::default(), Cause::EmptyStep),
            ("LOGWEIR__SPOOL____DIR", Setting::default(), Cause::EmptyStep),
            ("LOGWEIR__SINKS__2__NAME", sinks.clone(), Cause::NoElement(1)),
            ("LOGWEIR__SINKS__NAME", sinks, Cause::NoElement(1)),
            ("LOGWEIR__SPOOL__DIR__0", Setting::from("spool.dir"), Cause::NoTable("a string")),
        ] {
            assert_eq!(overlaid(&[(name, "x")]).1, [Misplaced { variable: name.into(), setting, cause }], "{name}");
        }
    }

    #[test]
    fn an_executable_that_was_replaced_is_found_where_it_stood() {
        assert_eq!(replaced(Path::new("/usr/bin/logweir (deleted)")), Path::new("/usr/bin/logweir"));
        assert_eq!(replaced(Path::new("/usr/bin/logweir")), Path::new("/usr/bin/logweir"));
        assert!(command_line().unwrap().program.is_file());
    }

    #[test]
    fn a_setting_has_one_variable() {
        assert_eq!(variable(&Setting::from("sinks").index(0).key("bucket")), "LOGWEIR__SINKS__0__BUCKET");
    }
}
