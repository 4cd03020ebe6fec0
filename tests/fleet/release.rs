//! What a roll-out changes on every machine of a fleet: the program, and the configuration with the keys.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
};

use logweir::batch::Clock;

use crate::{
    instances::Shared,
    process::{END, Process},
};

/// The program as it was built.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_logweir");

const HOUR: i64 = 3_600_000;

/// A key: its name, and what devices send.
pub(crate) type Key = (&'static str, &'static str);

/// The program and the configuration of the instances of `shared`.
pub(crate) struct Release<'a> {
    shared: &'a Shared,
    linger: &'static str,
}

impl<'a> Release<'a> {
    /// The program as it was built, and a configuration with `keys` in which a drain takes `linger`.
    pub(crate) fn install(shared: &'a Shared, linger: &'static str, keys: &[Key]) -> Self {
        let release = Self { shared, linger };
        fs::copy(PROGRAM, release.program()).unwrap();
        release.configure(keys);
        release
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.shared.place().path("logweir")
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.shared.place().path("logweir.toml")
    }

    /// Puts another file in the place of the program, as an installer does: by a rename. A note at its end differs.
    pub(crate) fn replace_program(&self) {
        let next = self.shared.place().path("logweir.next");
        fs::copy(PROGRAM, &next).unwrap();
        OpenOptions::new().append(true).open(&next).unwrap().write_all(b"a later build\n").unwrap();
        fs::rename(next, self.program()).unwrap();
    }

    /// Writes the configuration, with `keys`.
    pub(crate) fn configure(&self, keys: &[Key]) {
        let (objects, linger) = (self.shared.objects(), self.linger);
        let keys = keys.iter().map(|(name, key)| format!("[[keys]]\nname = '{name}'\nkey = '{key}'\n"));
        let text = format!(
            "[ingest]\nundeclared_streams = 'accept'\n[[sinks]]\nname = 'files'\ndir = '{}'\n\
             [spool]\nseal_after = '2s'\n[ledger]\ninterval = '1s'\n[server]\nbehind_proxy = true\n[drain]\nlinger = '{linger}'\n{}",
            objects.display(),
            keys.collect::<String>()
        );
        let next = self.shared.place().path("logweir.toml.next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.configuration()).unwrap();
    }

    /// Holds the books to balancing, with `events` in them.
    pub(crate) fn audit(&self, events: usize) {
        let now = Clock::starting_at(None).now();
        let (from, to) = (now.saturating_add(-HOUR).to_string(), now.saturating_add(HOUR).to_string());
        let configuration = self.configuration();
        let arguments = ["audit", "--config", configuration.to_str().unwrap(), "--from", &from, "--to", &to];
        let ended = Process::start(self.shared.place().command(&arguments)).wait(END);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        assert!(ended.stdout.ends_with("everything adds up"), "{}", ended.stdout);
        let total = ended.stdout.lines().find(|line| line.starts_with("total ")).unwrap();
        let figures: Vec<usize> = total.split_whitespace().skip(1).map(|figure| figure.parse().unwrap()).collect();
        assert_eq!(figures, [events, events, 0, 0, 0], "{}", ended.stdout);
    }
}
