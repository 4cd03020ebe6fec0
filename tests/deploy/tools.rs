//! Programs that the tests run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The program called `name`: of `target/python`, or in the PATH. `None` if it is not there, and says so.
#[expect(clippy::disallowed_macros, clippy::print_stderr, reason = "a test tells what it left out")]
#[expect(clippy::disallowed_methods, reason = "where tests run is no setting of the server")]
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let own = root().join("target/python/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = [own].into_iter().chain(std::env::split_paths(&path).map(|dir| dir.join(name))).find(|it| it.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "there is no {name} on a build service");
        eprintln!("left out: there is no {name}; tests/run installs it");
    }
    found
}

/// What `program` says to `arguments`, in the repository.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(root()).stdin(Stdio::null()).output().unwrap()
}

/// As [`run`], and it must end well: what it printed.
pub(crate) fn succeeds(program: &Path, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{} {}: {}\n{said}{}",
        program.display(),
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// The binary.
pub(crate) fn logweir() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_logweir"))
}
