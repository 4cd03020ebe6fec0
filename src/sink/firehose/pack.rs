//! Packing: which lines make which record of a call. Pure.
//!
//! Lines go into records in their order, as many to a record as fit; so there are as few records as that order allows,
//! and of two neighbours not even the first line of the second would have fitted into the first.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use crate::sink::{CallLimits, Parcel};

/// The longest record, in bytes before base64: 1,000 KiB.
pub(super) const RECORD_BYTES: usize = 1_000 * 1_024;
/// The most lines of a record. Firehose takes apart no record of more, and does not say so: "if you include more than
/// 500 records, the request succeeds but the record de-aggregation doesn't work as expected".
pub(super) const RECORD_LINES: usize = 500;
/// The most records of a call.
pub(super) const CALL_RECORDS: usize = 500;
/// The most bytes of lines of a call: those of three full records. As base64, and as JSON, they fit
/// [`REQUEST_BYTES`].
pub(super) const CALL_BYTES: usize = 3 * RECORD_BYTES;
/// The most lines of a call in packed records, however short they are.
const CALL_LINES: usize = 50_000;
/// The longest request, read so that it is true of the whole body: 4 MiB.
const REQUEST_BYTES: usize = 4 << 20;

/// The longest body of a call: the name of the delivery stream, and for each record its quotes, names and base64, whose
/// last group is padded.
const LONGEST_BODY: usize =
    256 + CALL_RECORDS * r#"{"Data":""},"#.len() + (CALL_BYTES + 2 * CALL_RECORDS).div_ceil(3) * 4;

const _: () = assert!(LONGEST_BODY <= REQUEST_BYTES);
// A record is ended by lines, or by bytes: then it and its neighbour are longer than one, so there are at most six such
// pairs, and then the last.
const _: () = assert!(CALL_LINES / RECORD_LINES + 2 * (CALL_BYTES / RECORD_BYTES) < CALL_RECORDS);

/// What a call takes of memory at the most, in bytes: the lines and their ends; its body, which the SDK grows by doubling,
/// so that for a moment it is there twice; and one record as base64. Records share the bytes of the lines.
pub(super) const CALL_MEMORY_BYTES: usize =
    CALL_BYTES + CALL_LINES * size_of::<u32>() + 2 * LONGEST_BODY + RECORD_BYTES.div_ceil(3) * 4;

/// How lines are packed into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packing {
    /// Many lines a record, each with its line feed: for what reads NDJSON, and for the price.
    #[default]
    Lines,
    /// One line a record, without its line feed: for what takes a record for a document.
    Single,
}

/// The lines of a parcel, dealt out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Packed {
    /// The lines of each record.
    pub(super) records: Vec<Range<usize>>,
    /// Lines that are longer than a record.
    pub(super) unfit: Vec<usize>,
    /// Lines from this one on did not fit the call.
    pub(super) rest: Range<usize>,
}

impl Packing {
    /// What one call takes.
    pub(super) fn limits(self) -> CallLimits {
        let lines = match self {
            Self::Lines => CALL_LINES,
            Self::Single => CALL_RECORDS,
        };
        CallLimits { bytes: CALL_BYTES, lines }
    }

    /// The most lines of a record.
    fn record_lines(self) -> usize {
        match self {
            Self::Lines => RECORD_LINES,
            Self::Single => 1,
        }
    }

    /// The bytes of a record, shared with the parcel.
    pub(super) fn record(self, parcel: &Parcel, lines: &Range<usize>) -> Bytes {
        let mut bytes = parcel.shared(lines.clone());
        if self == Self::Single {
            bytes.truncate(bytes.len() - 1);
        }
        bytes
    }

    /// How many bytes a line adds to a record.
    fn length(self, line: &[u8]) -> usize {
        match self {
            Self::Lines => line.len(),
            Self::Single => line.len() - 1,
        }
    }

    /// Why a line is never taken.
    pub(super) fn too_long(self, line: &[u8]) -> Cow<'static, str> {
        let length = self.length(line);
        format!("the line has {length} bytes, and a record of Firehose takes {RECORD_BYTES}").into()
    }

    /// Deals the lines of `parcel` out.
    pub(super) fn pack(self, parcel: &Parcel) -> Packed {
        let lines = parcel.lines();
        let mut packed = Packed { rest: lines..lines, ..Packed::default() };
        let (mut from, mut record_bytes, mut call_bytes) = (0, 0, 0);
        for number in 0..lines {
            let length = self.length(parcel.line(number));
            let unfit = length > RECORD_BYTES;
            let full = number - from == self.record_lines() || record_bytes + length > RECORD_BYTES;
            if from < number && (unfit || full) {
                packed.records.push(from..number);
                (from, record_bytes) = (number, 0);
            }
            if unfit {
                packed.unfit.push(number);
                from = number + 1;
                continue;
            }
            // The record that is begun counts from its first line on.
            if (from == number && packed.records.len() == CALL_RECORDS) || call_bytes + length > CALL_BYTES {
                packed.rest = number..lines;
                break;
            }
            record_bytes += length;
            call_bytes += length;
        }
        if from < packed.rest.start {
            packed.records.push(from..packed.rest.start);
        }
        packed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Book, StreamName};

    fn parcel(lengths: &[usize]) -> Parcel {
        let line = |length: &usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
        let text: Vec<u8> = lengths.iter().flat_map(line).collect();
        Parcel::new(StreamName::new("heard").unwrap(), Book::Accepted, text)
    }

    fn records(packing: Packing, lengths: &[usize]) -> Vec<Range<usize>> {
        let packed = packing.pack(&parcel(lengths));
        assert_eq!((packed.unfit.len(), packed.rest.len()), (0, 0));
        packed.records
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one record is one range of lines")]
    fn a_record_is_filled_to_its_last_byte() {
        assert_eq!(records(Packing::Lines, &[RECORD_BYTES]), [0..1]);
        assert_eq!(records(Packing::Lines, &[1_000, RECORD_BYTES - 1_000]), [0..2]);
        assert_eq!(records(Packing::Lines, &[1_000, RECORD_BYTES - 999]), [0..1, 1..2]);
        assert_eq!(records(Packing::Lines, &[2; 500]), [0..500]);
        assert_eq!(records(Packing::Lines, &[2; 501]), [0..500, 500..501]);
        assert_eq!(records(Packing::Single, &[2; 3]), [0..1, 1..2, 2..3]);
        assert_eq!(records(Packing::Lines, &[]), []);
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one record is one range of lines")]
    fn a_line_that_is_longer_than_a_record_is_left_out_alone() {
        let packed = Packing::Lines.pack(&parcel(&[10, RECORD_BYTES + 1, 10, 10]));
        assert_eq!(packed, Packed { records: vec![0..1, 2..4], unfit: vec![1], rest: 4..4 });
        let packed = Packing::Lines.pack(&parcel(&[RECORD_BYTES + 1]));
        assert_eq!(packed, Packed { records: vec![], unfit: vec![0], rest: 1..1 });
        // The line feed is not sent.
        let packed = Packing::Single.pack(&parcel(&[RECORD_BYTES + 2, RECORD_BYTES + 1]));
        assert_eq!(packed, Packed { records: vec![1..2], unfit: vec![0], rest: 2..2 });
        let reason = Packing::Lines.too_long(&vec![b'x'; RECORD_BYTES + 1]);
        assert_eq!(reason, "the line has 1024001 bytes, and a record of Firehose takes 1024000");
    }

    #[test]
    fn what_does_not_fit_a_call_is_left_for_another() {
        let packed = Packing::Lines.pack(&parcel(&[RECORD_BYTES, RECORD_BYTES, RECORD_BYTES, 1, 1]));
        assert_eq!(packed, Packed { records: vec![0..1, 1..2, 2..3], unfit: vec![], rest: 3..5 });
        let packed = Packing::Single.pack(&parcel(&[2; 502]));
        assert_eq!((packed.records.len(), packed.rest), (500, 500..502));
    }

    #[test]
    fn a_record_shares_the_bytes_of_its_lines() {
        let parcel = Parcel::new(StreamName::new("heard").unwrap(), Book::Accepted, "a\nbb\n");
        let record = Packing::Lines.record(&parcel, &(0..2));
        assert_eq!((&record[..], record.as_ptr()), (&b"a\nbb\n"[..], parcel.range(0..2).as_ptr()));
        assert_eq!(Packing::Single.record(&parcel, &(1..2)), "bb");
    }

    /// Lengths as they come: mostly short, some near a record's.
    fn lengths() -> impl Strategy<Value = Vec<usize>> {
        let length =
            prop_oneof![8 => 1_usize..2_000, 1 => 100_000_usize..600_000, 1 => RECORD_BYTES - 2..=RECORD_BYTES + 2];
        prop::collection::vec(length, 0..2_000).prop_map(|mut lengths| {
            let mut bytes = 0;
            lengths.retain(|length| {
                bytes += length;
                bytes <= CALL_BYTES
            });
            lengths
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What the driver may hand over goes into one call, each line in one place and in order, in as few records as
        /// there can be.
        #[test]
        fn every_line_is_dealt_out_once_and_little_is_wasted(lengths in lengths(), single: bool) {
            let packing = if single { Packing::Single } else { Packing::Lines };
            for parcel in parcel(&lengths).split(packing.limits()) {
                let packed = packing.pack(&parcel);
                prop_assert!(packed.records.len() <= CALL_RECORDS && packed.rest.is_empty());
                let mut dealt: Vec<_> = packed.records.iter().cloned().flatten().chain(packed.unfit.clone()).collect();
                dealt.sort_unstable();
                prop_assert_eq!(dealt, (0..parcel.lines()).collect::<Vec<_>>());
                for record in &packed.records {
                    prop_assert!(packing.record(&parcel, record).len() <= RECORD_BYTES);
                }
                let bytes: usize = packed.records.iter().map(|record| parcel.range(record.clone()).len()).sum();
                prop_assert!(bytes <= CALL_BYTES);
                for two in packed.records.windows(2) {
                    let follows = two[0].end == two[1].start;
                    let longer = parcel.range(two[0].start..two[1].start + 1);
                    let fits = longer.len() <= RECORD_BYTES && two[0].len() < packing.record_lines();
                    prop_assert!(!(follows && fits), "{two:?} could have been fewer");
                }
            }
        }
    }
}
