//! The instances of a fleet: each in a directory of its own, all storing into one.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::{
    balancer::lasting_address,
    process::{END, Ended, Place, Process, Server},
};

/// The program as it was built.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_logweir");

/// Where all instances store.
pub(crate) struct Shared(Place);

impl Shared {
    pub(crate) fn new() -> Self {
        Self(Place::new())
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.0.path("objects")
    }

    /// Where other things are that all instances use.
    pub(crate) fn place(&self) -> &Place {
        &self.0
    }
}

/// A directory with a spool, and the process that uses it, if there is one.
pub(crate) struct Instance {
    place: Place,
    objects: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    server: Option<Server>,
}

impl Instance {
    /// Starts one, with `variables` over the embedded default (`SPOOL__SEAL_AFTER` for `LOGWEIR__SPOOL__SEAL_AFTER`).
    pub(crate) fn start(shared: &Shared, variables: &[(&str, &str)]) -> Self {
        Self::start_program(shared, Path::new(PROGRAM), &[], variables)
    }

    /// Starts `program` with `arguments`, at an address that it comes back to when it is started again.
    pub(crate) fn start_lasting(shared: &Shared, program: &Path, arguments: &[&str]) -> Self {
        let address = lasting_address().to_string();
        Self::start_program(shared, program, arguments, &[("SERVER__LISTEN", &address)])
    }

    fn start_program(shared: &Shared, program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let objects = shared.objects();
        let fixed = [("SINKS__0__DIR", objects.to_str().unwrap()), ("SERVER__BEHIND_PROXY", "true")];
        let variables = [&fixed, variables].concat();
        let mut instance = Self {
            place: Place::new(),
            program: program.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            variables: variables
                .iter()
                .map(|(name, value)| (format!("LOGWEIR__{name}"), (*value).to_owned()))
                .collect(),
            server: None,
            objects,
        };
        instance.start_again();
        instance
    }

    /// Starts it as it was started before, now that it has ended.
    pub(crate) fn start_again(&mut self) {
        assert!(self.server.is_none(), "it runs");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        self.place.prepare(&mut command);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.server = Some(Server::start(command));
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server().address
    }

    /// Whether what runs is the file that is called `program` now.
    pub(crate) fn runs(&self, program: &Path) -> bool {
        let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).unwrap();
        let running = Path::new("/proc").join(self.server().id().to_string()).join("exe");
        file(&running) == file(program)
    }

    /// Ends it as the loss of its machine would.
    pub(crate) fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
    }

    /// Tells it to drain and to end.
    pub(crate) fn terminate(&self) {
        self.server().signal(Signal::TERM);
    }

    /// Waits until it has ended well, having been told to.
    pub(crate) fn ended(&mut self) -> Ended {
        let ended = self.server.take().expect("it runs").wait(END);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.entry("stopped; everything is stored").is_some(), "{}", ended.stderr);
        ended
    }

    /// Stores what is left in its spool, as another machine does that its volume is attached to.
    pub(crate) fn replay(&self) -> Ended {
        let mut command = self.place.command(&["replay", "--spool", "data/spool"]);
        command.env("LOGWEIR__SINKS__0__DIR", &self.objects);
        let ended = Process::start(command).wait(END);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended
    }
}
