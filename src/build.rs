//! The build script: from which commit, with which profile and for which target the binary is built.
//!
//! The commit is, of these, the first that there is: `LOGWEIR_COMMIT` of the environment; `.cargo_vcs_info.json`, which
//! `cargo package` writes; the repository's HEAD, read from its files, so that no git is needed; else "unknown". It is the
//! one that is checked out: whether files differ from it is not looked at, since each build would have to look again. For
//! the same reason there is no date. The script runs again when HEAD moves, and not before.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// How much of a commit's name is told.
const SHOWN: usize = 12;

#[expect(clippy::disallowed_macros, reason = "this is how cargo is told")]
fn main() {
    println!("cargo::rerun-if-env-changed=LOGWEIR_COMMIT");
    println!("cargo::rerun-if-changed=src/build.rs");
    let commit = from_environment().or_else(from_package).or_else(from_repository);
    println!("cargo::rustc-env=LOGWEIR_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    for (name, variable) in [("LOGWEIR_PROFILE", "PROFILE"), ("LOGWEIR_TARGET", "TARGET")] {
        println!("cargo::rustc-env={name}={}", environment(variable).unwrap_or_default());
    }
}

#[expect(clippy::disallowed_methods, reason = "what it reads is no setting of the server")]
fn environment(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn from_environment() -> Option<String> {
    shown(&environment("LOGWEIR_COMMIT")?)
}

fn from_package() -> Option<String> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    shown(rest.split('"').nth(1)?)
}

fn from_repository() -> Option<String> {
    let git = git_dir()?;
    // Refs stand in the main repository, if this is a further working tree.
    let common = fs::read_to_string(git.join("commondir")).map_or_else(|_| git.clone(), |path| git.join(path.trim()));
    watch(&git.join("HEAD"));
    // Its last line is written whenever HEAD moves, also where refs are packed.
    watch(&git.join("logs/HEAD"));
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else { return shown(head.trim()) };
    let loose = common.join(name);
    if let Ok(commit) = fs::read_to_string(&loose) {
        watch(&loose);
        return shown(commit.trim());
    }
    watch(&common.join("packed-refs"));
    let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
    let commit = packed.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' '))?;
    shown(commit)
}

/// The repository's directory, if this source tree is its top: not that of a repository which it was unpacked into.
fn git_dir() -> Option<PathBuf> {
    let dot_git = Path::new(".git");
    if dot_git.is_dir() {
        return Some(dot_git.to_owned());
    }
    let text = fs::read_to_string(dot_git).ok()?;
    Some(PathBuf::from(text.trim().strip_prefix("gitdir: ")?))
}

/// Lets the script run again when `path` changes. What does not exist must not be named: it would run at each build.
#[expect(clippy::disallowed_macros, reason = "this is how cargo is told")]
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// The beginning of `commit`, if it is fit for a label and a line.
fn shown(commit: &str) -> Option<String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    (!commit.is_empty() && commit.bytes().all(is_fit)).then(|| commit.chars().take(SHOWN).collect())
}
