//! Opening a spool: what the last process left is taken up, and serving begins at once.
//!
//! Only open segments are read, however much is sealed. An open segment is sealed behind its last valid group: its
//! number is never used again.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Destination, Disk, OpenError, RealDisk, Settings, SharedDisk,
    cursor::Cursor,
    disk::DiskFile,
    footer::Footer,
    quarantine::{self, Quarantine},
    scan::scan,
    segment::Name,
    shelf::Shelf,
    spares::Spares,
    writer::Writer,
};
use crate::{
    batch::{Clock, InstanceId, Millis, SegmentId},
    metrics::{self, Metrics},
    queue::{Intake, Signal},
};

/// How often the keeper looks whether a spare is missing.
const KEEPER_INTERVAL: Duration = Duration::from_millis(500);
/// The longest name of an instance file, in bytes.
const INSTANCE_BYTES: usize = 26;

/// A spool that is open: its writer runs.
#[derive(Debug)]
pub struct Spool {
    instance: InstanceId,
    clock: Arc<Clock>,
    shelf: Arc<Shelf>,
    signal: Arc<Signal>,
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

/// The spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk failed.
    #[error("cannot take up the spool at {path}: {source}")]
    Io {
        /// The directory.
        path: std::path::PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file `instance` holds no ULID.
    #[error("{0} does not hold an instance's identity; if the directory is no spool, choose another")]
    Instance(std::path::PathBuf),
}

/// What was found in the directory.
struct Found {
    segments: Vec<(SegmentId, u64)>,
    spares: Vec<(u64, u64)>,
    next: SegmentId,
    last_received: Option<Millis>,
}

impl Spool {
    /// Opens the spool of `settings` and starts its writer, which takes what comes through `intake`.
    ///
    /// # Errors
    /// [`StartError`] if the directory is in use, is no spool, or cannot be read and written.
    pub fn open(settings: Settings, intake: Intake, metrics: &Arc<Metrics>) -> Result<Self, StartError> {
        let disk: SharedDisk = Arc::new(RealDisk::open(&settings.dir)?);
        let dir = settings.dir.clone();
        let failed = |source| StartError::Io { path: dir.clone(), source };
        let now = Clock::default().now();
        let instance = instance(&*disk, now)
            .map_err(failed)?
            .ok_or_else(|| StartError::Instance(settings.dir.join("instance")))?;
        let quarantined = disk.list().map_err(failed)?;
        let quarantined = quarantined.iter().filter(|(name, _)| name.starts_with(quarantine::PREFIX));
        let quarantined = quarantined.map(|(_, len)| len).sum();
        let quarantine = Quarantine::new(Arc::clone(&disk), Arc::clone(metrics), quarantined);
        let found = take_up(&*disk, instance, &settings.destinations, metrics, &quarantine).map_err(failed)?;
        let clock = Arc::new(Clock::starting_at(found.last_received));
        let spares = Arc::new(Spares::new(Arc::clone(&disk), found.spares, settings.segment_size));
        let shelf = Arc::new(Shelf::new(
            Arc::clone(&disk),
            instance,
            quarantine,
            Arc::clone(&spares),
            (intake.published(), intake.stored_news()),
            found.segments,
        ));
        let signal = intake.signal();
        let keeper = spawn("spool-keeper", keeper(Arc::clone(&spares), Arc::clone(&signal))).map_err(failed)?;
        let writer =
            Writer::new(settings, disk, spares, Arc::clone(&shelf), intake, instance, found.next, Arc::clone(metrics));
        let writer = spawn("spool-writer", || writer.run()).map_err(failed)?;
        Ok(Self { instance, clock, shelf, signal, writer, keeper })
    }

    /// The instance's identity.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The clock of received times.
    pub fn clock(&self) -> Arc<Clock> {
        Arc::clone(&self.clock)
    }

    /// The sealed segments.
    pub fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf)
    }

    /// Settles what is queued, seals, and ends the writer. Nothing may be submitted any more. Blocks.
    pub fn close(self) {
        self.signal.request_stop();
        self.keeper.thread().unpark();
        for (name, thread) in [("spool-writer", self.writer), ("spool-keeper", self.keeper)] {
            if thread.join().is_err() {
                tracing::error!(thread = name, "a thread of the spool panicked");
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(work)
}

/// Keeps a spare at hand.
fn keeper(spares: Arc<Spares>, signal: Arc<Signal>) -> impl FnOnce() {
    move || {
        while !signal.stopping() {
            if let Err(error) = spares.prepare() {
                tracing::debug!(%error, "cannot make a spare file");
            }
            thread::park_timeout(KEEPER_INTERVAL);
        }
    }
}

/// The identity that the directory has, or a new one; `None` if the file holds something else.
fn instance(disk: &dyn Disk, now: Millis) -> io::Result<Option<InstanceId>> {
    match disk.open("instance") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let instance = InstanceId::generate(now)?;
            // Written under another name first, so that a crash never leaves half an identity.
            let _ = disk.remove("instance.new");
            let file = disk.create("instance.new")?;
            file.write_at(&[instance.to_string().as_bytes(), b"\n"], 0)?;
            file.sync()?;
            disk.rename("instance.new", "instance")?;
            disk.sync_dir()?;
            Ok(Some(instance))
        }
        opened => {
            let mut text = [0; INSTANCE_BYTES];
            let read = opened?.read_at(&mut text, 0)?;
            Ok(std::str::from_utf8(&text[..read]).ok().and_then(InstanceId::parse))
        }
    }
}

fn take_up(
    disk: &dyn Disk,
    instance: InstanceId,
    destinations: &[Destination],
    metrics: &Metrics,
    quarantine: &Quarantine,
) -> io::Result<Found> {
    let files = disk.list()?;
    let mut found = Found { segments: Vec::new(), spares: Vec::new(), next: SegmentId(1), last_received: None };
    for (name, len) in &files {
        if let Some(sink) = name.strip_prefix("cursor-")
            && let Some(position) = Cursor::open(disk, sink)?.position()
        {
            found.next = found.next.max(position.segment);
            found.last_received = found.last_received.max(Some(position.received));
        }
        match Name::parse(name) {
            Some(Name::Spare(number)) => found.spares.push((number, *len)),
            Some(Name::Sealed(segment)) => {
                found.next = found.next.max(segment.next());
                found.segments.push((segment, *len));
            }
            Some(Name::Open(segment)) => {
                found.next = found.next.max(segment.next());
                let recovery = Recovery { disk, instance, destinations, metrics, quarantine };
                if let Some((len, received)) = recovery.seal(segment)? {
                    found.segments.push((segment, len));
                    found.last_received = found.last_received.max(received);
                }
            }
            None => {}
        }
    }
    if let Some((segment, _)) = found.segments.iter().max() {
        let file = disk.open(&Name::Sealed(*segment).to_string())?;
        let footer = Footer::read(&*file, *segment)?;
        found.last_received = found.last_received.max(footer.and_then(|footer| footer.last_received()));
    }
    disk.sync_dir()?;
    Ok(found)
}

/// Sealing what a process left open.
struct Recovery<'a> {
    disk: &'a dyn Disk,
    instance: InstanceId,
    destinations: &'a [Destination],
    metrics: &'a Metrics,
    quarantine: &'a Quarantine,
}

impl Recovery<'_> {
    /// Seals the open `segment`: its length and last received time, or `None` if nothing was in it.
    fn seal(&self, segment: SegmentId) -> io::Result<Option<(u64, Option<Millis>)>> {
        let (open, sealed) = (Name::Open(segment).to_string(), Name::Sealed(segment).to_string());
        let file = self.disk.open(&open)?;
        let footer = match Footer::read(&*file, segment)? {
            // It was sealed, and only its name was lost. What it becomes may have been uploaded already.
            Some(footer) => Some(footer),
            None => self.scan(&*file, segment)?,
        };
        let Some(footer) = footer else {
            self.disk.remove(&open)?;
            return Ok(None);
        };
        self.disk.rename(&open, &sealed)?;
        Ok(Some((file.len()?, footer.last_received())))
    }

    fn scan(&self, file: &dyn DiskFile, segment: SegmentId) -> io::Result<Option<Footer>> {
        let scan = scan(file, segment)?;
        if scan.torn {
            self.metrics.counter(&metrics::TORN_TAILS, &[]).increment(1);
            tracing::info!(%segment, offset = scan.data_end, "cut a torn tail that was never acknowledged");
        }
        for (from, to) in &scan.facts.gaps {
            self.quarantine.keep(file, segment, *from, *to)?;
        }
        if scan.facts.groups == 0 {
            return Ok(None);
        }
        let footer = scan.facts.footer(self.instance, segment, scan.data_end, self.destinations);
        footer.write(file)?;
        tracing::info!(%segment, groups = footer.groups, bytes = scan.data_end, "took up an open segment");
        Ok(Some(footer))
    }
}
