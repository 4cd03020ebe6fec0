//! Instances that outlive their processes: the spool and the address stay, the process is replaced.

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
    chain::Chain,
    device::{Batch, Device},
    process::Place,
    release::Release,
};

/// An instance, and the processes that it has been, since it was started or restarted.
pub(crate) struct Lasting {
    place: Place,
    program: PathBuf,
    configuration: PathBuf,
    pub(crate) address: SocketAddr,
    processes: Option<Chain>,
    /// The process that was told to stop.
    stopping: Option<u32>,
}

impl Lasting {
    /// Starts one as `release` says.
    pub(crate) fn start(release: &Release<'_>) -> Self {
        let (program, configuration) = (release.program(), release.configuration());
        let (place, address) = (Place::new(), lasting_address());
        let mut instance = Self { place, program, configuration, address, processes: None, stopping: None };
        instance.start_again();
        instance
    }

    /// Starts it, now that it has ended.
    pub(crate) fn start_again(&mut self) {
        assert!(self.processes.is_none(), "it runs");
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.configuration);
        self.place.prepare(&mut command);
        command.env("LOGWEIR__SERVER__LISTEN", self.address.to_string());
        self.processes = Some(Chain::start(&self.place, command));
    }

    fn processes(&self) -> &Chain {
        self.processes.as_ref().expect("it runs")
    }

    /// Whether what runs is the file that is called as the program now.
    pub(crate) fn runs_the_program(&self) -> bool {
        let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).unwrap();
        let running = Path::new("/proc").join(self.processes().last().to_string()).join("exe");
        file(&running) == file(&self.program)
    }

    /// Signals the process that serves.
    pub(crate) fn signal(&self, signal: Signal) {
        self.processes().signal(self.processes().last(), signal);
    }

    /// Tells the process that serves to drain and to stop.
    pub(crate) fn stop(&mut self) {
        self.stopping = Some(self.processes().last());
        self.signal(Signal::TERM);
    }

    /// Has the process that serves hand over to another one, and waits until that serves and the old one has ended.
    pub(crate) fn hand_over(&self) {
        self.processes().hand_over();
    }

    /// Waits until it has ended well, having been told to.
    pub(crate) fn ended(&mut self) {
        let processes = self.processes.take().expect("it runs");
        processes.wait_for_end(self.stopping.take().expect("it was told to stop"));
        let log = processes.log();
        assert!(log.contains("stopped; everything is stored"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }

    /// What it answers to whoever has `key`, and has nothing to store.
    pub(crate) fn answer(&self, key: &str) -> u16 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let batch = Batch::with_key("probe".into(), 0, 0, key);
        runtime.block_on(Device::new(self.address).send(&batch)).unwrap().status
    }
}
