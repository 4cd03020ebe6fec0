//! The instances of a fleet: each in a directory of its own, all storing into one.

use std::{net::SocketAddr, path::PathBuf};

use crate::process::{END, Ended, Place, Process, Server};

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
    server: Option<Server>,
}

impl Instance {
    /// Starts one, with `variables` over the embedded default (`SPOOL__SEAL_AFTER` for `LOGWEIR__SPOOL__SEAL_AFTER`).
    pub(crate) fn start(shared: &Shared, variables: &[(&str, &str)]) -> Self {
        let (place, objects) = (Place::new(), shared.objects());
        let fixed = [("SINKS__0__DIR", objects.to_str().unwrap()), ("SERVER__BEHIND_PROXY", "true")];
        let server = place.serve(&[&fixed, variables].concat());
        Self { server: Some(server), place, objects }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server().address
    }

    /// Ends it as the loss of its machine would.
    pub(crate) fn kill(&mut self) {
        self.server.take().expect("it runs").kill();
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
