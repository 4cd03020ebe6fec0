//! Manual pages, completions, and the version.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::CommandFactory;
use logweir::{cli::Cli, version};

use crate::tools::{logweir, root, run, succeeds, tool};

/// Shells whose completions are made, with how each reads a script without executing it.
const SHELLS: [(&str, &[&str]); 3] = [("bash", &["-n"]), ("zsh", &["-n"]), ("fish", &["--no-execute"])];

/// The names of `command` and of everything below it, with hyphens, as pages are named.
fn names(command: &clap::Command, above: &str) -> Vec<String> {
    let name = if above.is_empty() { command.get_name().to_owned() } else { format!("{above}-{}", command.get_name()) };
    let mut all: Vec<String> = command.get_subcommands().flat_map(|below| names(below, &name)).collect();
    all.push(name);
    all
}

#[test]
fn every_command_has_a_page_that_renders_without_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(succeeds(logweir(), &["man", "--dir", dir.path().to_str().unwrap()]), "");
    let found: BTreeSet<String> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let wanted: BTreeSet<String> = names(&Cli::command(), "").iter().map(|name| format!("{name}.1")).collect();
    assert_eq!(found, wanted);
    assert!(found.contains("logweir-serve.1") && found.contains("logweir-man.1"), "{found:?}");
    for page in &found {
        let path = dir.path().join(page);
        let text = fs::read_to_string(&path).unwrap();
        let told = concat!("logweir ", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().any(|line| line.starts_with(".TH ") && line.contains(told)), "{page}: {text}");
        let Some(groff) = tool("groff") else { continue };
        let output = run(&groff, &["-man", "-ww", "-Tutf8", path.to_str().unwrap()]);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{page}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains("\n.SH SYNOPSIS\n") && !output.stdout.is_empty(), "{page}");
    }
    // Without a directory: the page of logweir.
    let page = succeeds(logweir(), &["man"]);
    assert_eq!(page, fs::read_to_string(dir.path().join("logweir.1")).unwrap());
    let nowhere = run(logweir(), &["man", "--dir", "/nowhere/at/all"]);
    assert_eq!(nowhere.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/nowhere/at/all"));
}

/// A shell, if it is here. Not every machine has all of them, nor needs to.
#[expect(clippy::disallowed_methods, reason = "where tests run is no setting of the server")]
fn shell(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|it| it.is_file())
}

#[test]
fn completions_are_scripts_that_their_shells_accept() {
    let dir = tempfile::tempdir().unwrap();
    for (name, read_only) in SHELLS {
        let script = succeeds(logweir(), &["completions", name]);
        for command in ["serve", "replay", "spool"] {
            assert!(script.contains(command), "{name}: nothing of {command}");
        }
        let file = dir.path().join(name);
        fs::write(&file, script).unwrap();
        if let Some(shell) = shell(name) {
            succeeds(&shell, &[read_only, &[file.to_str().unwrap()]].concat());
        }
    }
    for name in ["elvish", "powershell"] {
        assert!(succeeds(logweir(), &["completions", name]).contains("replay"));
    }
    // And in the shell that everybody has they complete.
    let asked =
        "source \"$1\"; COMP_WORDS=(logweir rep); COMP_CWORD=1; _logweir logweir rep logweir; echo \"${COMPREPLY[*]}\"";
    let file = dir.path().join("bash");
    assert_eq!(succeeds(Path::new("/bin/bash"), &["-c", asked, "bash", file.to_str().unwrap()]), "replay\n");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how the binary was built is no setting of the server")]
fn the_version_tells_which_build_it_is() {
    let told = succeeds(logweir(), &["--version"]);
    assert_eq!(told, format!("logweir {}\n", version::BUILD));
    assert!(told.starts_with(concat!("logweir ", env!("CARGO_PKG_VERSION"), " (")), "{told}");
    assert!(told.contains(version::COMMIT) && told.contains("linux"), "{told}");
    if root().join(".git").exists()
        && let Some(git) = shell("git")
        && std::env::var_os("LOGWEIR_COMMIT").is_none()
    {
        let head = succeeds(&git, &["rev-parse", "HEAD"]);
        assert_eq!(version::COMMIT, &head[..12]);
    }
}

/// The build script, as a program of its own.
fn build_script(dir: &Path) -> PathBuf {
    let program = dir.join("build");
    let source = root().join("src/build.rs");
    let arguments = ["--edition", "2024", "-o", program.to_str().unwrap(), source.to_str().unwrap()];
    let rustc = tool("rustc").expect("cargo has it");
    succeeds(&rustc, &arguments);
    program
}

#[test]
fn the_commit_is_found_in_the_environment_a_package_or_any_kind_of_repository() {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    let dir = tempfile::tempdir().unwrap();
    let script = build_script(dir.path());
    let mut number = 0;
    let mut commit = |files: &[(&str, &str)], variable: Option<&str>| {
        number += 1;
        let tree = dir.path().join(number.to_string());
        fs::create_dir(&tree).unwrap();
        for (name, text) in files {
            let path = tree.join("source").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(tree.join("source")).unwrap();
        let mut command = Command::new(&script);
        command.current_dir(tree.join("source")).env_clear();
        if let Some(variable) = variable {
            command.env("LOGWEIR_COMMIT", variable);
        }
        let output = command.output().unwrap();
        assert!(output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        // What does not exist would make every build run it again.
        for watched in said.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed=")) {
            assert!(watched == "src/build.rs" || tree.join("source").join(watched).exists(), "{watched}");
        }
        let found = said.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=LOGWEIR_COMMIT="));
        found.unwrap().to_owned()
    };
    let line = format!("{COMMIT}\n");
    let packed =
        format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n^ffff\nffffffffffffffff refs/heads/x/main\n");
    let package = format!("{{\n  \"git\": {{\n    \"sha1\": \"{COMMIT}\"\n  }}\n}}");
    for files in [
        &[(".git/HEAD", "ref: refs/heads/main\n"), (".git/refs/heads/main", &line)][..],
        &[(".git/HEAD", "ref: refs/heads/main\n"), (".git/packed-refs", &packed)],
        &[(".git/HEAD", &line)],
        &[
            (".git", "gitdir: ../git/worktrees/one\n"),
            ("../git/worktrees/one/HEAD", "ref: refs/heads/main\n"),
            ("../git/worktrees/one/commondir", "../..\n"),
            ("../git/refs/heads/main", &line),
        ],
        &[(".cargo_vcs_info.json", &package)],
    ] {
        assert_eq!(commit(files, None), "0123456789ab", "{files:?}");
    }
    let repository = &[(".git/HEAD", line.as_str())];
    assert_eq!(commit(repository, Some("v7-of-ours")), "v7-of-ours");
    assert_eq!(commit(repository, Some("")), "0123456789ab");
    assert_eq!(commit(repository, Some("a b\"c")), "0123456789ab", "that is nothing for a label");
    assert_eq!(commit(&[], None), "unknown");
    assert_eq!(commit(&[(".git/HEAD", "ref: refs/heads/none\n")], None), "unknown");
}
