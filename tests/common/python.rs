//! Python with what `tests/run` installs for the tests: in `target/python`, by `tests/requirements.txt` and, for the
//! long tests, `tests/requirements-long.txt`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The program, if it has `module`. Tests that need one say on standard error that they were left out.
#[expect(clippy::disallowed_macros, clippy::print_stderr, reason = "a test tells what it left out")]
pub(crate) fn with(module: &str) -> Option<Python> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python3");
    let python = Python { program };
    let found = python.program.exists() && python.run(&["-c", &format!("import {module}")]).status.success();
    if !found {
        eprintln!("left out: target/python has no {module}; tests/run installs it");
    }
    found.then_some(python)
}

/// A Python.
pub(crate) struct Python {
    program: PathBuf,
}

impl Python {
    /// What the program says to `arguments`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.program).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// What a script prints, which must end well.
    pub(crate) fn script(&self, script: &str, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
        let answer = self.run(&[&[script.to_str().unwrap()], arguments].concat());
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).unwrap()
    }
}
