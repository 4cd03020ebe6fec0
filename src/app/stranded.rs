//! A spool on disk beside a configuration that keeps nothing: nobody would store what is in it.

use std::{fmt, io, path::PathBuf};

use bytesize::ByteSize;

use crate::{
    config::Config,
    spool::{RealDisk, survey},
};

/// What a spool holds that nobody will store as things are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranded {
    /// The directory.
    pub dir: PathBuf,
    /// How many segments some sink lacks.
    pub segments: usize,
    /// Their length in bytes.
    pub bytes: u64,
}

impl fmt::Display for Stranded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, segments, bytes } = self;
        let dir = dir.display();
        let counted = if *segments == 1 { "1 segment" } else { &*format!("{segments} segments") };
        write!(
            f,
            "spool.kind is \"none\", and the spool in {dir} still holds {counted} ({}) that some sink lacks: nobody stores \
             them; run `logweir replay --spool {dir} --config FILE` with this configuration",
            ByteSize(*bytes)
        )
    }
}

/// What nobody will store of the spool that stands where `config` would have one, if it keeps nothing.
///
/// # Errors
/// The operating system's, if the directory cannot be read.
pub fn stranded(config: &Config) -> io::Result<Option<Stranded>> {
    let dir = &config.spool.dir;
    if config.spool.keeps() || !RealDisk::holds_spool(dir) {
        return Ok(None);
    }
    let found = survey(dir)?;
    // Who lacks most lacks what all the others lack, since what a sink lacks are the newest. Without a cursor nobody has
    // taken anything.
    let most = found.held.iter().map(|held| (held.segments, held.bytes)).max();
    let (segments, bytes) = most.unwrap_or((found.segments, found.bytes));
    Ok((segments > 0).then(|| Stranded { dir: dir.clone(), segments, bytes }))
}
