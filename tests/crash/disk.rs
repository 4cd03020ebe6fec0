//! A machine's disk, simulated: what a kernel and a device may do to files, and no more.
//!
//! - Until it is synced, a written block may be on the disk, or not, or some of its sectors: any subset of them after a
//!   crash. So may a file's new length, and each creation, rename and removal by itself.
//! - After a sync that failed nothing is dirty any more: the kernel shows what was written until the machine stops, and
//!   never writes it.
//! - Any operation can fail, with part of its effect. The power can go in any of them.
//! - A block can become unreadable, until it is written anew.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use logweir::spool::{Disk, DiskFile};
use tokio::sync::Notify;

use crate::inode::{BLOCK, Inode};

/// A fault that is put in on purpose, to see that the test finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    /// Syncing a file does nothing.
    NoSync,
    /// Syncing the directory does nothing.
    NoDirSync,
    /// Syncing a cursor does nothing.
    CursorNotSynced,
    /// A store answers before it has the object.
    StoreAnswersTooEarly,
    /// A sink that follows says that lines are done before it has them.
    DoneTooEarly,
}

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Create,
    Open,
    Read,
    Write,
    Sync,
    SetLen,
    Rename,
    Remove,
    SyncDir,
    Put,
}

/// A machine: its disk, and its power.
#[derive(Clone)]
pub(crate) struct Machine(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    off: Notify,
}

struct State {
    random: fastrand::Rng,
    sabotage: Sabotage,
    files: HashMap<u64, Inode>,
    next_file: u64,
    /// The directory as programs see it, and as it is on the device.
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending: Vec<Change>,
    /// Operations until the power goes.
    fuse: Option<u32>,
    /// Operations until whoever waits loses patience.
    patience: u32,
    on: bool,
    /// How often the machine was started: what was opened before is not open any more.
    boot: u64,
    /// Calls that are to fail: after how many more of them.
    faults: Vec<(Call, u32)>,
    /// Blocks of files that cannot be read any more.
    bad: BTreeSet<(u64, u64)>,
    full: bool,
    /// What happens on another thread with the read of this number from now.
    meanwhile: Option<(u32, Box<dyn FnOnce() + Send>)>,
}

#[derive(Debug, Clone)]
enum Change {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
}

impl State {
    /// One more operation: whether the power is still on behind it, and whether it is to fail.
    fn operate(&mut self, call: Call) -> Result<(), io::Error> {
        if let Some(left) = &mut self.fuse {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.on = false;
            }
        }
        self.patience = self.patience.saturating_sub(1);
        if !self.on {
            return Err(io::Error::other("the power is off"));
        }
        let mut fails = false;
        self.faults.retain_mut(|(other, left)| {
            if *other != call {
                return true;
            }
            *left = left.saturating_sub(1);
            fails |= *left == 0;
            *left > 0
        });
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn file(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(names: &mut BTreeMap<String, u64>, change: &Change) {
        match change {
            Change::Link(name, file) => {
                names.insert(name.clone(), *file);
            }
            Change::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Change::Unlink(name) => {
                names.remove(name);
            }
        }
    }

    fn make(&mut self, change: Change) {
        Self::change(&mut self.names, &change);
        self.pending.push(change);
    }
}

impl Machine {
    pub(crate) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            sabotage,
            files: HashMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            fuse: None,
            patience: 0,
            on: true,
            boot: 0,
            faults: Vec::new(),
            bad: BTreeSet::new(),
            full: false,
            meanwhile: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), off: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// The disk, for the programs that run until the power goes.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(Mounted { machine: self.clone(), boot: self.state().boot })
    }

    pub(crate) fn is_on(&self) -> bool {
        self.state().on
    }

    /// Waits until the power is off, or so many operations were done that whoever does them will not end: what a full
    /// disk does not take is tried again for ever.
    pub(crate) async fn off_or_stuck(&self, operations: u32) {
        self.state().patience = operations;
        while self.is_on() && self.state().patience > 0 {
            self.0.off.notified().await;
        }
    }

    /// The power goes with the `operations`-th operation from now.
    pub(crate) fn light_fuse(&self, operations: u32) {
        self.state().fuse = Some(operations.max(1));
    }

    /// The `calls`-th call from now fails.
    pub(crate) fn fail(&self, call: Call, calls: u32) {
        self.state().faults.push((call, calls.max(1)));
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// In the middle of somebody's reading, with the `reads`-th read from now, something else happens.
    pub(crate) fn meanwhile(&self, reads: u32, happens: impl FnOnce() + Send + 'static) {
        self.state().meanwhile = Some((reads, Box::new(happens)));
    }

    /// Nothing happens meanwhile any more.
    pub(crate) fn undisturbed(&self) {
        self.state().meanwhile = None;
    }

    /// A cursor is read under its lock, for which whatever else happens would wait: nothing does meanwhile.
    fn disturb(&self, file: u64) {
        let mut state = self.state();
        if state.files.get(&file).is_some_and(|inode| inode.is_cursor) {
            return;
        }
        if let Some((reads, _)) = &mut state.meanwhile {
            *reads = reads.saturating_sub(1);
        }
        let due = state.meanwhile.take_if(|(reads, _)| *reads == 0);
        drop(state);
        if let Some((_, happens)) = due {
            happens();
        }
    }

    /// Nothing fails any more, but for the power.
    pub(crate) fn mend(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.full = false;
        state.fuse = None;
    }

    /// What a store does is an operation too.
    pub(crate) fn operate(&self, call: Call) -> io::Result<()> {
        let done = self.state().operate(call);
        self.tell();
        done
    }

    fn tell(&self) {
        let state = self.state();
        if !state.on || state.patience == 0 {
            self.0.off.notify_one();
        }
    }

    /// The power goes, if it has not gone yet, and comes back.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        let State { random, files, pending, durable_names, names, .. } = &mut *state;
        // In an order of their own, so that a seed always gives the same.
        let mut numbers: Vec<u64> = files.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            files.get_mut(&number).unwrap().crash(random);
        }
        let kept = [0.0, 0.5, 1.0][random.usize(..3)];
        for change in pending.drain(..) {
            if random.f64() < kept {
                State::change(durable_names, &change);
            }
        }
        names.clone_from(durable_names);
        let linked: Vec<u64> = names.values().copied().collect();
        files.retain(|number, _| linked.contains(number));
        state.bad.retain(|(file, _)| linked.contains(file));
        state.fuse = None;
        state.on = true;
        state.boot += 1;
    }

    /// The process ends, and nothing else: what it wrote is as it was.
    pub(crate) fn kill(&self) {
        self.state().boot += 1;
    }

    /// From now on the block of the file called `name` that holds the byte at `place` cannot be read.
    pub(crate) fn spoil(&self, name: &str, place: u64) {
        let mut state = self.state();
        let file = state.names[name];
        state.bad.insert((file, place / BLOCK as u64));
    }

    /// The names and bytes of all files, as they are on the device.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        let read = |file: &u64| {
            let inode = &state.files[file];
            let mut bytes = vec![0; inode.len as usize];
            inode.read(&mut bytes, 0);
            bytes
        };
        state.names.iter().map(|(name, file)| (name.clone(), read(file))).collect()
    }

    /// A bit of the file called `name` flips, on the device and in memory.
    pub(crate) fn flip(&self, name: &str, bit: u64) {
        let mut state = self.state();
        let file = state.names[name];
        let inode = state.files.get_mut(&file).unwrap();
        let (block, within) = (bit / 8 / BLOCK as u64, (bit / 8 % BLOCK as u64) as usize);
        for blocks in [&mut inode.dirty, &mut inode.stale, &mut inode.durable] {
            if let Some(block) = blocks.get_mut(&block) {
                block[within] ^= 1 << (bit % 8);
            }
        }
    }
}

/// The disk of a machine, as long as it runs.
struct Mounted {
    machine: Machine,
    boot: u64,
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mounted")
    }
}

impl Mounted {
    /// Does `work` unless the call fails; `half` is what a failing call may do all the same.
    fn call<T>(
        &self,
        call: Call,
        work: impl FnOnce(&mut State) -> io::Result<T>,
        half: impl FnOnce(&mut State),
    ) -> io::Result<T> {
        let done = {
            let mut state = self.machine.state();
            if state.boot != self.boot {
                return Err(io::Error::other("the machine was restarted"));
            }
            let running = state.on;
            match state.operate(call) {
                Ok(()) => work(&mut state),
                Err(error) => {
                    if running {
                        half(&mut state);
                    }
                    Err(error)
                }
            }
        };
        self.machine.tell();
        done
    }

    /// Makes the changes of names durable that concern the quarantine, or those that do not. A file that is moved from one
    /// directory to the other is durably there when either is synced.
    fn sync_names(&self, quarantine: bool) -> io::Result<()> {
        let concerns = move |change: &Change| {
            let within = |name: &String| name.starts_with("quarantine/") == quarantine;
            match change {
                Change::Link(name, _) | Change::Unlink(name) => within(name),
                Change::Rename(from, to) => within(from) || within(to),
            }
        };
        let sync = move |state: &mut State| {
            if state.sabotage != Sabotage::NoDirSync {
                let State { pending, durable_names, .. } = state;
                for change in pending.extract_if(.., |change| concerns(change)) {
                    State::change(durable_names, &change);
                }
            }
            Ok(())
        };
        // Of what was to be synced, some first changes may have been.
        let half = move |state: &mut State| {
            let mut some = state.random.usize(..=state.pending.len());
            let State { pending, durable_names, .. } = state;
            let first = |change: &mut Change| {
                some = some.saturating_sub(1);
                some > 0 && concerns(change)
            };
            for change in pending.extract_if(.., first) {
                State::change(durable_names, &change);
            }
        };
        self.call(Call::SyncDir, sync, half)
    }

    fn handle(&self, file: u64) -> Box<dyn DiskFile> {
        Box::new(Handle { disk: Self { machine: self.machine.clone(), boot: self.boot }, file })
    }
}

impl Disk for Mounted {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let files = |state: &mut State| {
            Ok(state.names.iter().map(|(name, file)| (name.clone(), state.files[file].len)).collect())
        };
        self.call(Call::Open, files, |_| {})
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let create = |state: &mut State| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = state.next_file;
            state.next_file += 1;
            state.files.insert(file, Inode::new(name.starts_with("cursor-")));
            state.make(Change::Link(name.to_owned(), file));
            Ok(file)
        };
        let half = |state: &mut State| {
            if state.random.bool() {
                let _ = create(state);
            }
        };
        self.call(Call::Create, create, half).map(|file| self.handle(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.call(Call::Open, |state| state.file(name), |_| {}).map(|file| self.handle(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let rename = |state: &mut State| {
            state.file(from)?;
            state.make(Change::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        };
        let half = |state: &mut State| {
            if state.random.bool() {
                let _ = rename(state);
            }
        };
        self.call(Call::Rename, rename, half)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let remove = |state: &mut State| {
            state.file(name)?;
            state.make(Change::Unlink(name.to_owned()));
            Ok(())
        };
        let half = |state: &mut State| {
            if state.random.bool() {
                let _ = remove(state);
            }
        };
        self.call(Call::Remove, remove, half)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.sync_names(false)
    }

    fn sync_quarantine(&self) -> io::Result<()> {
        self.sync_names(true)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.call(Call::Open, |state| Ok(if state.full { 0 } else { 1 << 30 }), |_| {})
    }
}

struct Handle {
    disk: Mounted,
    file: u64,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({})", self.file)
    }
}

impl Handle {
    fn inode<'s>(&self, state: &'s mut State) -> &'s mut Inode {
        // A file without a name lives on while it is open.
        state.files.entry(self.file).or_default()
    }
}

impl DiskFile for Handle {
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let bytes = parts.concat();
        let write = |state: &mut State| {
            let full = state.full;
            let inode = self.inode(state);
            if full && offset + bytes.len() as u64 > inode.len {
                // What still fits is written.
                let fits = inode.len.saturating_sub(offset).min(bytes.len() as u64) as usize;
                inode.write(&bytes[..fits], offset);
                return Err(io::ErrorKind::StorageFull.into());
            }
            inode.write(&bytes, offset);
            // The device puts what is written anew in another place.
            let blocks = offset / BLOCK as u64..(offset + bytes.len() as u64).div_ceil(BLOCK as u64);
            state.bad.retain(|(file, block)| *file != self.file || !blocks.contains(block));
            Ok(())
        };
        let half = |state: &mut State| {
            let some = state.random.usize(..=bytes.len());
            self.inode(state).write(&bytes[..some], offset);
        };
        self.disk.call(Call::Write, write, half)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.machine.disturb(self.file);
        let read = |state: &mut State| {
            let blocks = offset / BLOCK as u64..(offset + buffer.len() as u64).div_ceil(BLOCK as u64);
            if state.bad.range((self.file, blocks.start)..(self.file, blocks.end)).next().is_some() {
                return Err(io::Error::from_raw_os_error(5));
            }
            Ok(self.inode(state).read(buffer, offset))
        };
        self.disk.call(Call::Read, read, |_| {})
    }

    fn sync(&self) -> io::Result<()> {
        let sync = |state: &mut State| {
            let sabotage = state.sabotage;
            let inode = self.inode(state);
            let skipped = match sabotage {
                Sabotage::NoSync => true,
                Sabotage::CursorNotSynced => inode.is_cursor,
                Sabotage::None | Sabotage::NoDirSync | Sabotage::StoreAnswersTooEarly | Sabotage::DoneTooEarly => false,
            };
            if !skipped {
                inode.sync();
            }
            Ok(())
        };
        let half = |state: &mut State| {
            let mut random = state.random.fork();
            // The power going is no failed sync: what is dirty stays so, for the crash to decide.
            if state.on {
                self.inode(state).fail_sync(&mut random);
            }
        };
        self.disk.call(Call::Sync, sync, half)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let set = |state: &mut State| {
            self.inode(state).set_len(len);
            Ok(())
        };
        self.disk.call(Call::SetLen, set, |_| {})
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.call(Call::Open, |state| Ok(self.inode(state).len), |_| {})
    }
}
