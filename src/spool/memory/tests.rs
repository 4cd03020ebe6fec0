//! The disk in memory against the real one, and what is its own.

use proptest::prelude::*;

use super::*;
use crate::spool::RealDisk;

/// What the spool does with a disk.
#[derive(Debug, Clone)]
enum Operation {
    Create(u8),
    Open(u8),
    Rename(u8, u8),
    Remove(u8),
    /// Of the handle of this number, counted round.
    Write(usize, u64, Vec<Vec<u8>>),
    Read(usize, u64, usize),
    SetLen(usize, u64),
    Len(usize),
    List,
}

fn operations() -> impl Strategy<Value = Operation> {
    let name = 0..5_u8;
    let offset = || prop_oneof![0..64_u64, (0..8_u64).prop_map(|block| block * 16), 200..300_u64];
    let part = prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        2 => name.clone().prop_map(Operation::Create),
        2 => name.clone().prop_map(Operation::Open),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Operation::Rename(from, to)),
        1 => name.prop_map(Operation::Remove),
        8 => (any::<usize>(), offset(), prop::collection::vec(part, 1..4))
            .prop_map(|(file, at, parts)| Operation::Write(file, at, parts)),
        6 => (any::<usize>(), offset(), 0..200_usize).prop_map(|(file, at, len)| Operation::Read(file, at, len)),
        2 => (any::<usize>(), offset()).prop_map(|(file, len)| Operation::SetLen(file, len)),
        1 => any::<usize>().prop_map(Operation::Len),
        1 => Just(Operation::List),
    ]
}

/// A disk with the handles that are open.
struct Hands {
    disk: Box<dyn Disk>,
    files: Vec<Box<dyn DiskFile>>,
}

impl Hands {
    fn new(disk: impl Disk + 'static) -> Self {
        Self { disk: Box::new(disk), files: Vec::new() }
    }

    fn keep(&mut self, file: io::Result<Box<dyn DiskFile>>) -> String {
        told(file.map(|file| self.files.push(file)))
    }

    /// What comes of `operation`.
    fn apply(&mut self, operation: &Operation) -> String {
        // One of them lies in the directory of what cannot be read.
        let name = |number: u8| if number == 4 { "quarantine/4".to_owned() } else { format!("file-{number}") };
        let file = |number: usize| (!self.files.is_empty()).then(|| &self.files[number % self.files.len()]);
        match operation {
            Operation::Create(number) => {
                let created = self.disk.create(&name(*number));
                self.keep(created)
            }
            Operation::Open(number) => {
                let opened = self.disk.open(&name(*number));
                self.keep(opened)
            }
            Operation::Rename(from, to) => told(self.disk.rename(&name(*from), &name(*to))),
            Operation::Remove(number) => told(self.disk.remove(&name(*number))),
            Operation::Write(number, at, parts) => {
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                file(*number).map_or_else(String::new, |file| told(file.write_at(&parts, *at)))
            }
            Operation::Read(number, at, len) => {
                let mut buffer = vec![0xEE; *len];
                file(*number)
                    .map_or_else(String::new, |file| told(file.read_at(&mut buffer, *at)) + &format!("{buffer:?}"))
            }
            Operation::SetLen(number, len) => file(*number).map_or_else(String::new, |file| told(file.set_len(*len))),
            Operation::Len(number) => file(*number).map_or_else(String::new, |file| told(file.len())),
            Operation::List => {
                let mut listed = self.disk.list().unwrap();
                listed.retain(|(name, _)| name != "lock");
                listed.sort();
                format!("{listed:?}")
            }
        }
    }
}

fn told<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    format!("{:?}", result.map_err(|error| error.kind()))
}

proptest! {
    #[test]
    fn a_disk_in_memory_does_what_a_real_one_does(operations in prop::collection::vec(operations(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let memory = MemoryDisk::new(1 << 20);
        let room = Arc::clone(&memory.room);
        let (mut memory, mut real) = (Hands::new(memory), Hands::new(RealDisk::open(dir.path()).unwrap()));
        for (step, operation) in operations.iter().enumerate() {
            prop_assert_eq!(memory.apply(operation), real.apply(operation), "step {} {:?}", step, operation);
        }
        // Whatever was done, what is in use is given back.
        drop(memory);
        prop_assert_eq!(room.used.load(Ordering::Relaxed), 0);
    }
}

fn write(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<()> {
    file.write_at(&[&vec![7; len]], offset)
}

#[test]
fn a_write_that_finds_no_room_is_told_so_and_changes_nothing() {
    let disk = MemoryDisk::new(1_000);
    let file = disk.create("a").unwrap();
    let all = 1_000 + RESERVE_BYTES;
    write(&*file, 0, all as usize).unwrap();
    for (offset, len) in [(all, 1), (0, 2)] {
        let error = write(&*file, offset, len).unwrap_err();
        assert_eq!((error.kind(), file.len().unwrap()), (io::ErrorKind::StorageFull, all));
    }
    file.set_len(all - 10).unwrap();
    write(&*file, all, 10).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 0);
}

#[test]
fn groups_leave_the_reserve_to_what_lets_the_spool_drain() {
    let disk = MemoryDisk::new(1_000);
    let file = disk.create("a").unwrap();
    assert!(disk.has_room(1_000) && !disk.has_room(1_001));
    write(&*file, 0, 600).unwrap();
    assert!(disk.has_room(400) && !disk.has_room(401));
    assert_eq!(disk.free_bytes().unwrap(), 400);
    write(&*file, 600, 500).unwrap();
    assert!(!disk.has_room(0), "the reserve is in use");
    assert_eq!(disk.free_bytes().unwrap(), 0);
}

#[test]
fn a_removed_file_is_read_to_its_end_and_given_back_by_its_last_reader() {
    let disk = MemoryDisk::new(1_000);
    let file = disk.create("a").unwrap();
    write(&*file, 0, 600).unwrap();
    let reader = disk.open("a").unwrap();
    drop(file);
    disk.remove("a").unwrap();
    let mut buffer = [0; 600];
    assert_eq!((reader.read_at(&mut buffer, 0).unwrap(), buffer), (600, [7; 600]));
    assert_eq!(disk.free_bytes().unwrap(), 400, "it is still there for its reader");
    drop(reader);
    assert_eq!(disk.free_bytes().unwrap(), 1_000);
}

#[test]
fn what_is_left_of_an_extent_does_not_hold_all_of_it() {
    let disk = MemoryDisk::new(10_000);
    let file = disk.create("a").unwrap();
    write(&*file, 0, 6_000).unwrap();
    file.set_len(10).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 9_990);
}
