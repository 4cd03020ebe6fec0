//! How objects are compressed.
//!
//! What the choice comes to, on stored lines of 640 bytes as SDKs send them ten a batch (16 MB, November 2026). Ratios are
//! those of `cargo bench --bench stages`; MB/s are of zstd 1.5 on one core of a 2-core virtual machine that had other work,
//! so that they are to be read against each other:
//!
//! | zstd, level | 1 | 2 | 3 | 4 | 6 | 9 | 12 | 15 |
//! |---|---|---|---|---|---|---|---|---|
//! | MB/s | 510 | 326 | 165 | 136 | 62 | 27 | 14 | 2 |
//! | ratio | 6.53 | 6.33 | 6.01 | 5.88 | 6.44 | 6.82 | 6.78 | 6.98 |
//!
//! gzip comes to 5.5 at level 1 and to 6.32 at level 6. For lines of random ids the levels of zstd between 1 and 6 are
//! slower *and* larger: they look for short matches, which lie within ids by chance (see [`gzip`](crate::gzip)).

use std::ops::RangeInclusive;

/// A compression, by what its objects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Exactly one gzip member (RFC 1952).
    #[default]
    Gzip,
    /// Exactly one Zstandard frame (RFC 8878), which tells the length of the lines and ends in a checksum.
    Zstd,
}

/// A compression and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The compression.
    pub codec: Codec,
    /// How hard it tries; what is out of [`Codec::levels`] counts as the nearest that is in it.
    pub level: u32,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// The name in the configuration and in footers: that of `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The codec called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.as_str() == name)
    }

    /// How the name of an object ends.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => ".ndjson.gz",
            Self::Zstd => ".ndjson.zst",
        }
    }

    /// The codec of the object at `key`, by how its name ends; gzip if it ends in no way that this crate gives.
    pub fn of_key(key: &str) -> Self {
        Self::ALL.into_iter().find(|codec| key.ends_with(codec.extension())).unwrap_or_default()
    }

    /// What an object is told to be, in `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/gzip",
            // RFC 8878, section 7.1.
            Self::Zstd => "application/zstd",
        }
    }

    /// What an object is exactly one of.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Gzip => "gzip member",
            Self::Zstd => "zstd frame",
        }
    }

    /// The levels that there are.
    pub fn levels(self) -> RangeInclusive<u32> {
        match self {
            Self::Gzip => 1..=9,
            // Those above take hundreds of MiB of memory.
            Self::Zstd => 1..=19,
        }
    }

    /// The level if none is configured: the fastest, of either, see the table above.
    pub fn default_level(self) -> u32 {
        1
    }
}

impl Compression {
    /// What takes the least memory and what everybody reads. That of the books' pages and of undelivered lines, whatever the
    /// sink's objects are; and of objects whose codec is not known here.
    pub const FAST_GZIP: Self = Self { codec: Codec::Gzip, level: 1 };

    /// `level` of the codec called `name`; `None` if there is no such codec.
    pub fn named(name: &str, level: u32) -> Option<Self> {
        Codec::named(name).map(|codec| Self { codec, level })
    }

    /// The level, within those that there are.
    pub fn level(self) -> u32 {
        let levels = self.codec.levels();
        self.level.clamp(*levels.start(), *levels.end())
    }

    /// What compressing an object takes beside its part, in bytes: the reader's window, what was read, the
    /// compressor's state.
    pub fn overhead_bytes(self) -> usize {
        const MIB: usize = 1024 * 1024;
        match (self.codec, self.level()) {
            (Codec::Gzip, _) => MIB,
            (Codec::Zstd, ..=2) => 3 * MIB,
            (Codec::Zstd, 3..=6) => 5 * MIB,
            (Codec::Zstd, 7..=8) => 8 * MIB,
            (Codec::Zstd, 9..=12) => 13 * MIB,
            (Codec::Zstd, _) => 20 * MIB,
        }
    }

    /// This, or if it takes more memory than `most` does, the highest level of its codec that does not; level 1 if none
    /// does not.
    ///
    /// A segment keeps the compression that was configured when it was sealed, and the memory is counted of the one that
    /// is configured now. No object is another one for its level.
    #[must_use]
    pub fn within(self, most: Self) -> Self {
        let limit = most.overhead_bytes();
        let fits = |level: &u32| Self { level: *level, ..self }.overhead_bytes() <= limit;
        let level = (*self.codec.levels().start()..=self.level()).rev().find(fits);
        Self { level: level.unwrap_or(*self.codec.levels().start()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_is_found_by_its_name_and_by_its_objects_names() {
        for codec in Codec::ALL {
            assert_eq!(Codec::named(codec.as_str()), Some(codec));
            assert_eq!(Codec::of_key(&format!("heard/x{}", codec.extension())), codec);
            assert!(codec.levels().contains(&codec.default_level()));
        }
        assert_eq!((Codec::named("lz4"), Codec::of_key("x")), (None, Codec::Gzip));
    }

    #[test]
    fn a_level_that_is_out_of_range_is_the_nearest() {
        let level = |codec, level| Compression { codec, level }.level();
        assert_eq!([level(Codec::Gzip, 0), level(Codec::Gzip, 12), level(Codec::Zstd, 99)], [1, 9, 19]);
    }

    #[test]
    fn a_frozen_level_is_lowered_to_the_memory_that_is_configured_now() {
        let zstd = |level| Compression { codec: Codec::Zstd, level };
        assert_eq!(zstd(19).within(zstd(3)), zstd(6));
        assert_eq!(zstd(3).within(zstd(19)), zstd(3));
        assert_eq!(zstd(19).within(Compression::FAST_GZIP), zstd(1), "the least there is");
        assert_eq!(Compression::FAST_GZIP.within(zstd(1)), Compression::FAST_GZIP);
    }
}
