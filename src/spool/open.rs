//! Opening a spool: what the last process left is taken up, and serving begins at once.
//!
//! Only open segments are read, however much is sealed. An open segment is sealed behind its last sound group: its
//! number is never used again. Nothing that a file holds stops a start (P10): what cannot be read is quarantined, what
//! cannot be written now is tried again by the writer.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Disk, DiskId, MemoryDisk, OpenError, RealDisk, Settings, SharedDisk, cursor,
    footer::Footer,
    patient::{open_again, read_again},
    quarantine::Quarantine,
    recovery::Recovery,
    segment::{FirstBlock, Name},
    shelf::{Shelf, ShelfStart},
    spares::Spares,
    writer::{Step, Unsealed, Writer, WriterStart, is_full},
};
use crate::{
    batch::{Clock, InstanceId, Millis, SegmentId},
    metrics::Metrics,
    queue::{Intake, Signal},
};

/// How often the keeper looks whether a spare is missing.
const KEEPER_INTERVAL: Duration = Duration::from_millis(500);
/// The length of an identity, in bytes; a line feed stands behind it.
const INSTANCE_BYTES: usize = 26;
const INSTANCE: &str = "instance";
/// How many segments are asked at the most who wrote them.
const MAX_ASKED: usize = 16;

/// A spool that is open: its writer runs.
#[derive(Debug)]
pub struct Spool {
    instance: InstanceId,
    clock: Arc<Clock>,
    shelf: Arc<Shelf>,
    signal: Arc<Signal>,
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
    /// The directory that is locked; `None` in memory.
    locked: Option<Arc<RealDisk>>,
}

/// A spool that was taken up and does not run yet.
pub struct TakenUp {
    instance: InstanceId,
    clock: Arc<Clock>,
    shelf: Arc<Shelf>,
    signal: Arc<Signal>,
    spares: Arc<Spares>,
    writer: Writer,
}

/// The spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The directory cannot be read or written at all.
    #[error("cannot take up the spool at {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The file `instance` holds no ULID.
    #[error("{0} does not hold an instance's identity; if the directory is no spool, choose another")]
    Instance(PathBuf),
}

/// What was found in the directory.
#[derive(Default)]
struct Found {
    open: Vec<(SegmentId, u64)>,
    sealed: Vec<(SegmentId, u64)>,
    spares: Vec<(u64, u64)>,
    cursors: Vec<String>,
    retired: Vec<String>,
    next: SegmentId,
    /// The received time up to which the sink that has come least far has everything.
    done_until: Option<Millis>,
    last_received: Option<Millis>,
}

impl Spool {
    /// Opens the spool of `settings` and starts its writer, which takes what comes through `intake`.
    ///
    /// # Errors
    /// [`StartError`] if the directory is in use, is no spool, or cannot be read and written.
    pub fn open(settings: Settings, intake: Intake, metrics: &Arc<Metrics>) -> Result<Self, StartError> {
        Self::open_while(settings, intake, metrics, &mut || false)
    }

    /// As [`Self::open`], from another process that is to give the directory up: waits as long as `may_come` says that it may
    /// come free.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_while(
        settings: Settings,
        intake: Intake,
        metrics: &Arc<Metrics>,
        may_come: &mut dyn FnMut() -> bool,
    ) -> Result<Self, StartError> {
        let dir = settings.dir.clone();
        let locked = Arc::new(RealDisk::open_while(&dir, may_come)?);
        let disk: SharedDisk = Arc::clone(&locked) as SharedDisk;
        let taken_up = TakenUp::new(&disk, settings, intake, metrics)?;
        let spool = taken_up.start().map_err(|source| StartError::Io { path: dir, source })?;
        Ok(Self { locked: Some(locked), ..spool })
    }

    /// The same in memory, of which groups may take [`Settings::disk_quota`]: nothing of it outlives the process, and the
    /// identity is a new one.
    ///
    /// # Errors
    /// [`StartError`] if no random number or no thread can be had.
    pub fn in_memory(settings: Settings, intake: Intake, metrics: &Arc<Metrics>) -> Result<Self, StartError> {
        let dir = settings.dir.clone();
        let disk: SharedDisk = Arc::new(MemoryDisk::new(settings.disk_quota));
        let taken_up = TakenUp::new(&disk, settings, intake, metrics)?;
        taken_up.start().map_err(|source| StartError::Io { path: dir, source })
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

    /// Which directory it has locked; `None` in memory.
    ///
    /// # Errors
    /// The operating system's.
    pub fn disk_id(&self) -> io::Result<Option<DiskId>> {
        self.locked.as_deref().map(RealDisk::id).transpose()
    }

    /// From now on the directory stays locked until the process ends, whatever of it is dropped.
    pub fn stay_locked(&self) {
        // Only the end of the process ends its threads for certain: one that hangs in a call may still write.
        self.locked.iter().for_each(|disk| std::mem::forget(Arc::clone(disk)));
    }

    /// From now on nobody who asks for a seal waits for others.
    pub fn hurry(&self) {
        self.signal.hurry();
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

impl TakenUp {
    /// Takes up what the last process left on `disk`, and writes what comes through `intake` once it is started.
    ///
    /// # Errors
    /// [`StartError`] if the directory is no spool, or cannot be read and written.
    pub fn new(
        disk: &Arc<dyn Disk>,
        settings: Settings,
        intake: Intake,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let failed = |source| StartError::Io { path: settings.dir.clone(), source };
        let mut found = find(&**disk).map_err(failed)?;
        let instance =
            identity(disk, &found).map_err(failed)?.ok_or_else(|| StartError::Instance(settings.dir.join(INSTANCE)))?;
        let quarantine = Arc::new(Quarantine::open(Arc::clone(disk), Arc::clone(metrics)).map_err(failed)?);
        let spares = std::mem::take(&mut found.spares);
        let room = (intake.published(), settings.disk_quota);
        let spares = Arc::new(Spares::new(Arc::clone(disk), spares, settings.segment_size, room));
        let recovery =
            Arc::new(Recovery { disk: Arc::clone(disk), instance, quarantine, metrics: Arc::clone(metrics) });
        let unsealed = found.recover(&recovery, &spares, &settings);
        let clock = Arc::new(Clock::starting_at(found.last_received));
        let told = (intake.published(), intake.stored_news());
        let sealed = std::mem::take(&mut found.sealed);
        // Of what cannot be told, not more is claimed than the cursors do.
        let unknown_since = found.done_until.unwrap_or_else(|| clock.now());
        let start =
            ShelfStart { sealed, next: found.next, cursors: found.cursors, retired: found.retired, unknown_since };
        let shelf = Arc::new(Shelf::new(Arc::clone(&recovery), Arc::clone(&spares), told, start));
        shelf.set_open(
            unsealed.len(),
            unsealed.iter().map(Unsealed::bytes).sum(),
            (!unsealed.is_empty()).then_some(unknown_since),
            None,
        );
        let signal = intake.signal();
        let start = WriterStart { spares: Arc::clone(&spares), recovery, next: found.next, unsealed };
        let writer = Writer::new(settings, intake, Arc::clone(&shelf), start);
        Ok(Self { instance, clock, shelf, signal, spares, writer })
    }

    /// The sealed segments.
    pub fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf)
    }

    /// What the writer's thread does again and again, by hand: one group, or what is due.
    pub fn step(&mut self) -> Step {
        self.writer.step()
    }

    /// Asks for the end: once everything is settled and sealed, a step says so.
    pub fn request_stop(&self) {
        self.signal.request_stop();
    }

    /// What the keeper's thread does, by hand: makes a spare file if there is none.
    ///
    /// # Errors
    /// The operating system's.
    pub fn prepare_spare(&self) -> io::Result<bool> {
        self.spares.prepare()
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system's, if there is no thread to be had.
    pub fn start(self) -> io::Result<Spool> {
        let Self { instance, clock, shelf, signal, spares, writer } = self;
        let keeper = spawn("spool-keeper", keeper(spares, Arc::clone(&signal)))?;
        let writer = spawn("spool-writer", || writer.run())?;
        Ok(Spool { instance, clock, shelf, signal, writer, keeper, locked: None })
    }
}

impl std::fmt::Debug for TakenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TakenUp").field("instance", &self.instance).finish_non_exhaustive()
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

/// What is in the directory.
fn find(disk: &dyn Disk) -> io::Result<Found> {
    let mut found = Found { next: SegmentId(1), ..Found::default() };
    for (name, len) in disk.list()? {
        if let Some(sink) = name.strip_prefix("cursor-") {
            found.cursors.push(sink.to_owned());
        }
        if let Some(sink) = name.strip_prefix("retired-") {
            found.retired.push(sink.to_owned());
        }
        match Name::parse(&name) {
            Some(Name::Spare(number)) => found.spares.push((number, len)),
            Some(Name::Sealed(segment)) => found.sealed.push((segment, len)),
            Some(Name::Open(segment)) => found.open.push((segment, len)),
            None => {}
        }
    }
    found.open.sort_unstable();
    found.sealed.sort_unstable();
    for sink in &found.cursors {
        // One that cannot be read says nothing: its sink begins at the oldest segment, see `Shelf::begin_at`.
        let Ok(cursor::Found { position, damaged }) = cursor::read(disk, sink) else { continue };
        let Some(position) = position else { continue };
        found.next = found.next.max(behind(position, damaged));
        found.last_received = found.last_received.max(Some(position.received));
        found.done_until = Some(found.done_until.map_or(position.received, |least| least.min(position.received)));
    }
    for sink in &found.retired {
        // Whoever comes back must not find another segment under the number where it stood.
        if let Ok(cursor::Found { position: Some(position), damaged }) =
            cursor::read_file(disk, &cursor::retired_name(sink))
        {
            found.next = found.next.max(behind(position, damaged));
        }
    }
    let newest = found.open.last().max(found.sealed.last()).map(|(segment, _)| *segment);
    found.next = found.next.max(newest.map_or(SegmentId(1), SegmentId::next));
    Ok(found)
}

/// The first segment of which a sink that stands at `position` has nothing. One whose cursor is damaged may have come
/// further, and have passed the number that would be next.
fn behind(position: cursor::Position, damaged: bool) -> SegmentId {
    if damaged || position.offset > 0 { position.segment.next() } else { position.segment }
}

impl Found {
    /// Seals the open segments. What cannot be sealed now, and everything behind it, is returned: no sink may pass it.
    fn recover(&mut self, recovery: &Recovery, spares: &Spares, settings: &Settings) -> VecDeque<Unsealed> {
        let mut unsealed = VecDeque::new();
        for (segment, bytes) in std::mem::take(&mut self.open) {
            if !unsealed.is_empty() {
                unsealed.push_back(Unsealed::Left(segment, bytes));
                continue;
            }
            let mut sealed = recovery.seal(segment, &settings.destinations);
            if sealed.as_ref().is_err_and(is_full) {
                spares.set_scarce(true);
                sealed = recovery.seal(segment, &settings.destinations);
            }
            match sealed {
                Ok(Some(sealed)) => {
                    self.sealed.push((segment, sealed.len));
                    self.last_received = self.last_received.max(sealed.last_received);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%segment, %error, "an open segment could not be sealed; it is tried again");
                    unsealed.push_back(Unsealed::Left(segment, bytes));
                }
            }
        }
        spares.set_scarce(false);
        if let Some(first) = unsealed.front().map(Unsealed::id) {
            let behind = self.sealed.extract_if(.., |(segment, _)| *segment > first);
            unsealed.extend(behind.map(|(segment, bytes)| Unsealed::Sealed(segment, bytes)));
            unsealed.make_contiguous().sort_by_key(Unsealed::id);
        }
        if let Some((newest, _)) = self.sealed.iter().max() {
            let file = recovery.disk.open(&Name::Sealed(*newest).to_string());
            let footer = file.and_then(|file| Footer::read(&*file, *newest)).ok().flatten();
            self.last_received = self.last_received.max(footer.and_then(|footer| footer.last_received()));
        }
        unsealed
    }
}

/// The identity that the directory has, or a new one; `None` if its file holds something else and no spool was there.
fn identity(disk: &SharedDisk, found: &Found) -> io::Result<Option<InstanceId>> {
    let told = match read_instance(&**disk) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read),
    };
    let written = written_by(&**disk, found);
    match (told, written) {
        (Some(Ok(Told::Identity(told))), written) if written.is_none_or(|written| written == told) => {
            return Ok(Some(told));
        }
        // The segments have checksums, the file has none.
        (Some(_), Some(written)) => {
            tracing::error!(%written, "the file of the instance's identity is damaged; the segments tell it");
        }
        // Nothing here was made by a spool: somebody has named the wrong directory.
        (Some(Ok(Told::SomethingElse)), None) if found.spares.is_empty() && found.cursors.is_empty() => {
            return Ok(None);
        }
        // Without segments an identity has no meaning: another one does no harm.
        (Some(_), None) => {
            tracing::error!(
                "the file of the instance's identity is damaged, and there is no segment: a new one is made"
            );
        }
        (None, _) => {}
    }
    let instance = written.map_or_else(|| InstanceId::generate(Clock::default().now()), Ok)?;
    // Written under another name first, so that a crash never leaves half an identity.
    if disk.remove("instance.new").is_ok() {
        // Durably: else the file of an attempt that found the disk full may get the identity's name in a crash.
        disk.sync_dir()?;
    }
    let file = disk.create("instance.new")?;
    file.write_at(&[instance.to_string().as_bytes(), b"\n"], 0)?;
    file.sync()?;
    disk.rename("instance.new", INSTANCE)?;
    disk.sync_dir()?;
    Ok(Some(instance))
}

/// What the file `instance` tells.
enum Told {
    Identity(InstanceId),
    /// It is as long as one, and damaged.
    Damage,
    SomethingElse,
}

fn read_instance(disk: &dyn Disk) -> io::Result<Told> {
    let mut text = [0; INSTANCE_BYTES + 2];
    let read = read_again(&*disk.open(INSTANCE)?, &mut text, 0)?;
    let identity = text[..read].first_chunk::<INSTANCE_BYTES>().and_then(|text| std::str::from_utf8(text).ok());
    Ok(match identity.and_then(InstanceId::parse) {
        Some(instance) => Told::Identity(instance),
        None if read == INSTANCE_BYTES + 1 => Told::Damage,
        None => Told::SomethingElse,
    })
}

/// Who wrote the segments, as the newest of them tells that can be read.
fn written_by(disk: &dyn Disk, found: &Found) -> Option<InstanceId> {
    let sealed = found.sealed.iter().map(|(segment, _)| Name::Sealed(*segment));
    let names = found.open.iter().map(|(segment, _)| Name::Open(*segment)).rev().chain(sealed.rev());
    names.take(MAX_ASKED).find_map(|name| {
        let (Name::Open(segment) | Name::Sealed(segment)) = name else { return None };
        let file = open_again(disk, &name.to_string()).ok()?;
        match FirstBlock::of(&*file, segment) {
            Ok(FirstBlock::This(_, instance)) => Some(instance),
            Ok(FirstBlock::OtherVersion(_) | FirstBlock::None) | Err(_) => {
                Footer::read(&*file, segment).ok().flatten().and_then(|footer| footer.instance())
            }
        }
    })
}
