//! A file's bytes: as programs see them, and as they are on the device.

use std::collections::BTreeMap;

/// The unit that the kernel keeps and writes, in bytes.
pub(crate) const BLOCK: usize = 4_096;
/// What a device writes whole, in bytes.
const SECTOR: usize = 512;

pub(crate) type Block = Box<[u8; BLOCK]>;
pub(crate) type Blocks = BTreeMap<u64, Block>;

/// A file.
#[derive(Default)]
pub(crate) struct Inode {
    pub(crate) durable: Blocks,
    durable_len: u64,
    pub(crate) dirty: Blocks,
    /// Shown, and never written: left by a sync that failed.
    pub(crate) stale: Blocks,
    pub(crate) len: u64,
    pub(crate) is_cursor: bool,
}

impl Inode {
    /// The file of a cursor, or another.
    pub(crate) fn new(is_cursor: bool) -> Self {
        Self { is_cursor, ..Self::default() }
    }

    fn block(&self, number: u64) -> Option<&Block> {
        [&self.dirty, &self.stale, &self.durable].into_iter().find_map(|blocks| blocks.get(&number))
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut [u8; BLOCK])) {
        let mut block = self.block(number).cloned().unwrap_or_else(|| Box::new([0; BLOCK]));
        change(&mut block);
        self.stale.remove(&number);
        self.dirty.insert(number, block);
    }

    pub(crate) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let within = (at % BLOCK as u64) as usize;
            let some = (BLOCK - within).min(bytes.len() - done);
            self.change(at / BLOCK as u64, |block| {
                block[within..within + some].copy_from_slice(&bytes[done..done + some]);
            });
            done += some;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        let first_gone = len.div_ceil(BLOCK as u64);
        let gone: Vec<u64> = [&self.dirty, &self.stale, &self.durable]
            .into_iter()
            .flat_map(|blocks| blocks.range(first_gone..).map(|(number, _)| *number))
            .collect();
        for number in gone {
            self.change(number, |block| block.fill(0));
        }
        if !len.is_multiple_of(BLOCK as u64) && len < self.len {
            self.change(len / BLOCK as u64, |block| block[(len % BLOCK as u64) as usize..].fill(0));
        }
        self.len = len;
    }

    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let len = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let within = (at % BLOCK as u64) as usize;
            let some = (BLOCK - within).min(len - done);
            let piece = &mut buffer[done..done + some];
            match self.block(at / BLOCK as u64) {
                Some(block) => piece.copy_from_slice(&block[within..within + some]),
                None => piece.fill(0),
            }
            done += some;
        }
        len
    }

    pub(crate) fn sync(&mut self) {
        self.durable.append(&mut self.dirty);
        self.durable_len = self.len;
        let keep = self.len.div_ceil(BLOCK as u64);
        self.durable.split_off(&keep);
    }

    /// The device has written a part of it, and the kernel gives up on the rest.
    pub(crate) fn fail_sync(&mut self, random: &mut fastrand::Rng) {
        for (number, block) in std::mem::take(&mut self.dirty) {
            if random.bool() {
                self.durable.insert(number, block.clone());
            }
            self.stale.insert(number, block);
        }
        if random.bool() {
            self.durable_len = self.len;
        }
    }

    /// What is on the device after the power went.
    pub(crate) fn crash(&mut self, random: &mut fastrand::Rng) {
        let kept = [0.0, 0.5, 0.9, 1.0][random.usize(..4)];
        for (number, block) in std::mem::take(&mut self.dirty) {
            if random.f64() >= kept {
                continue;
            }
            let torn = random.u8(..4) == 0;
            let old = self.durable.entry(number).or_insert_with(|| Box::new([0; BLOCK]));
            for (old, new) in old.chunks_mut(SECTOR).zip(block.chunks(SECTOR)) {
                if !torn || random.bool() {
                    old.copy_from_slice(new);
                }
            }
        }
        self.stale.clear();
        if random.bool() {
            self.durable_len = self.len;
        }
        self.len = self.durable_len;
        self.durable.split_off(&self.len.div_ceil(BLOCK as u64));
    }
}
