//! A configuration of `deploy/`, as `logweir check` prints it in effect.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::tools::logweir;

/// What `check` prints.
pub(crate) struct Checked(String);

impl Checked {
    /// What it prints of the file `config` with `variables` (`SPOOL__DIR`) in the environment, and nothing else there.
    pub(crate) fn of(config: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(logweir());
        command.args(["check", "--config"]).arg(config).env_clear().stdin(Stdio::null());
        command.envs(variables.iter().map(|(name, value)| (format!("LOGWEIR__{name}"), value)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}: {}", config.display(), String::from_utf8_lossy(&output.stderr));
        Self(String::from_utf8(output.stdout).unwrap())
    }

    /// The value of `key` in `section`, without quotes.
    pub(crate) fn value(&self, section: &str, key: &str) -> &str {
        let header = format!("[{section}]");
        let lines = self.0.lines().skip_while(|line| *line != header).skip(1).take_while(|line| !line.starts_with('['));
        let mut settings = lines.filter_map(|line| line.split_once(" = "));
        let (_, value) =
            settings.find(|(found, _)| *found == key).unwrap_or_else(|| panic!("{header} {key}: {}", self.0));
        value.trim_matches('"')
    }

    /// A duration in `section`.
    pub(crate) fn duration(&self, section: &str, key: &str) -> Duration {
        humantime::parse_duration(self.value(section, key)).unwrap()
    }

    /// The longest that a drain takes.
    pub(crate) fn drain(&self) -> Duration {
        self.duration("drain", "linger") + self.duration("drain", "timeout")
    }

    /// A size in `section`, in bytes.
    pub(crate) fn size(&self, section: &str, key: &str) -> u64 {
        self.value(section, key).parse::<bytesize::ByteSize>().unwrap().as_u64()
    }

    /// The memory ceiling, in bytes.
    pub(crate) fn ceiling(&self) -> u64 {
        let (_, rest) = self.0.split_once("# the memory ceiling is ").unwrap();
        rest.split_once('(').unwrap().1.split(' ').next().unwrap().parse().unwrap()
    }
}
