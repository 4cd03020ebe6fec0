//! `keys_file`: keys in a file of their own, which may have other permissions than the configuration, or be a secret of
//! the machine that the configuration is not.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Key;
use crate::config::{
    Config, Setting,
    read::read as read_tree,
    report::{Content, Document, Report, Unread},
};

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    keys: Vec<Key>,
}

/// The file that was read.
pub(in crate::config) struct KeysFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is found wrong in it.
    pub report: Report,
    /// Whether it can be read by every user of the machine, and what it holds is worth that they cannot.
    pub exposed: bool,
}

/// Reads the file that `config` names, if it names one, from `dir`, into `config`. What is wrong with it as a file is noted
/// in `report`, which is that of the configuration; and in `files` that it was tried, and what it held.
pub(in crate::config) fn read(
    config: &mut Config,
    dir: &Path,
    report: &mut Report,
    files: &mut Vec<(PathBuf, Content)>,
) -> Option<KeysFile> {
    let setting = Setting::from("keys_file");
    let named = config.keys_file.as_ref()?;
    if named.as_os_str().is_empty() {
        report.wrong(setting, "is empty", "name a file, or leave it out");
        return None;
    }
    let path = dir.join(named);
    let document = match Document::open(&path) {
        Ok(document) => document,
        Err(Unread { error, content }) => {
            files.push((path.clone(), content));
            report.wrong(
                setting.clone(),
                format!("is {}, which cannot be read: {error}", path.display()),
                "name a readable TOML file of [[keys]], from the directory of the configuration, or leave it out",
            );
            report.unreadable(setting, Vec::new());
            return None;
        }
    };
    files.push((path.clone(), document.content()));
    let tree = match document.parse() {
        Ok(tree) => tree,
        Err(problems) => {
            report.unreadable(setting, problems);
            return None;
        }
    };
    let readable_by_all = document.readable_by_all;
    let mut its = Report::new(document, tree);
    let (Keys { keys }, misreads) = read_tree(its.tree());
    if !misreads.is_empty() {
        // What it would have said is not known: nothing follows from it.
        report.unreadable(setting, Vec::new());
    }
    its.misread(misreads);
    let exposed = readable_by_all && keys.iter().any(|key| !key.key.is_empty());
    config.keys_of_file = keys;
    Some(KeysFile { path, report: its, exposed })
}
