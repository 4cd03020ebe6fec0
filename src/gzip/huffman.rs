//! Huffman codes: from how often symbols occur to the bits that stand for them.

use super::bits::word;

/// A symbol's code: its bits, the first one lowest, and how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) bits: u32,
    pub(super) len: u8,
}

impl Code {
    /// The code as it is put.
    pub(super) fn word(self) -> u64 {
        word(self.bits.into(), self.len.into())
    }
}

/// The longest code that any alphabet may have; deflate allows 15.
const MOST_BITS: usize = 15;

/// The length of each symbol's code, at most `longest` (and at least so that all fit); 0 for symbols that do not occur.
///
/// The lengths are Huffman's wherever these are short enough. Where they are not, codes that are too long are cut and
/// the room is taken from the longest of the others, as zlib does: a few bits in a block more than the best.
pub(super) fn lengths<const N: usize>(counts: &[u32; N], longest: usize) -> [u8; N] {
    let mut lengths = [0; N];
    let mut symbols: Vec<usize> = (0..N).filter(|symbol| counts[*symbol] > 0).collect();
    match symbols[..] {
        [] => return lengths,
        [only] => {
            lengths[only] = 1;
            return lengths;
        }
        _ => {}
    }
    symbols.sort_by_key(|symbol| counts[*symbol]);
    let weights: Vec<u64> = symbols.iter().map(|symbol| u64::from(counts[*symbol])).collect();
    let mut of_length = limited(&depths(&weights), longest);
    // The rarest symbols have the longest codes.
    let mut length = of_length.len() - 1;
    for symbol in symbols {
        while of_length[length] == 0 {
            length -= 1;
        }
        of_length[length] -= 1;
        lengths[symbol] = length as u8;
    }
    lengths
}

/// How deep each leaf of Huffman's tree lies; `weights` are in rising order, and there are two at least.
fn depths(weights: &[u64]) -> Vec<usize> {
    let leaves = weights.len();
    let mut weights = weights.to_vec();
    let mut parents = vec![0; 2 * leaves - 1];
    // Both queues, of leaves and of nodes made of them, are in rising order: the least is at one of two fronts.
    let (mut leaf, mut node) = (0, leaves);
    for parent in leaves..2 * leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let take_node = node < parent && (leaf >= leaves || weights[node] < weights[leaf]);
            let child = if take_node { &mut node } else { &mut leaf };
            weight += weights[*child];
            parents[*child] = parent;
            *child += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0; 2 * leaves - 1];
    for place in (0..2 * leaves - 2).rev() {
        depths[place] = depths[parents[place]] + 1;
    }
    depths.truncate(leaves);
    depths
}

/// How many codes have each length, when none may be longer than `longest`.
fn limited(depths: &[usize], longest: usize) -> [u32; MOST_BITS + 1] {
    let mut of_length = [0; MOST_BITS + 1];
    for depth in depths {
        of_length[(*depth).min(longest)] += 1;
    }
    // Kraft's sum, in units of the longest code: what the codes take of all there is.
    let mut taken: u64 = (1..=longest).map(|length| u64::from(of_length[length]) << (longest - length)).sum();
    while taken > 1 << longest {
        // One of the longest moves up beside the longest of the others, which moves down by one.
        let Some(length) = (1..longest).rev().find(|length| of_length[*length] > 0) else { break };
        of_length[length] -= 1;
        of_length[length + 1] += 2;
        of_length[longest] -= 1;
        taken -= 1;
    }
    of_length
}

/// The canonical codes of these lengths (RFC 1951 §3.2.2).
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut of_length = [0_u32; MOST_BITS + 1];
    for length in lengths.iter().filter(|length| **length > 0) {
        of_length[usize::from(*length)] += 1;
    }
    let mut next = [0_u32; MOST_BITS + 1];
    for length in 1..=MOST_BITS {
        next[length] = (next[length - 1] + of_length[length - 1]) << 1;
    }
    let mut codes = [Code::default(); N];
    for (code, &len) in codes.iter_mut().zip(lengths).filter(|(_, len)| **len > 0) {
        let bits = next[usize::from(len)];
        next[usize::from(len)] += 1;
        *code = Code { bits: bits.reverse_bits() >> (32 - u32::from(len)), len };
    }
    codes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frequent_symbols_have_short_codes() {
        assert_eq!(lengths(&[1, 1, 2, 4, 0], 15), [3, 3, 2, 1, 0]);
        assert_eq!(lengths(&[0, 7, 0], 15), [0, 1, 0]);
        assert_eq!(lengths(&[0, 0], 15), [0, 0]);
    }

    #[test]
    fn codes_are_canonical() {
        // The example of RFC 1951 §3.2.2: codes are given there with the first bit highest.
        let codes = codes(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let spelled: Vec<String> = codes
            .iter()
            .map(|code| (0..code.len).map(|bit| if code.bits >> bit & 1 == 1 { '1' } else { '0' }).collect())
            .collect();
        assert_eq!(spelled, ["010", "011", "100", "101", "110", "00", "1110", "1111"]);
    }

    proptest! {
        #[test]
        fn every_length_is_within_the_limit_and_all_fit(
            counts in prop::collection::vec(prop_oneof![Just(0_u32), 1_u32..10, 1_u32..1_000_000], 286),
            longest in 9_usize..=15,
        ) {
            let counts: [u32; 286] = counts.try_into().unwrap();
            let lengths = lengths(&counts, longest);
            let mut taken = 0.0;
            for (count, length) in counts.iter().zip(lengths) {
                prop_assert_eq!(*count > 0, length > 0);
                prop_assert!(usize::from(length) <= longest);
                if length > 0 {
                    taken += 0.5_f64.powi(i32::from(length));
                }
            }
            prop_assert!(taken <= 1.0);
        }

        #[test]
        fn lengths_are_as_good_as_huffmans_where_they_may_be(counts in prop::collection::vec(1_u32..50, 2..40)) {
            let mut padded = [0; 40];
            padded[..counts.len()].copy_from_slice(&counts);
            let bits: u64 = padded.iter().zip(lengths(&padded, 15)).map(|(n, len)| u64::from(*n) * u64::from(len)).sum();
            // Huffman's own way: the sum of the weights of all inner nodes.
            let mut nodes: Vec<u64> = counts.iter().map(|n| u64::from(*n)).collect();
            let mut best = 0;
            while nodes.len() > 1 {
                nodes.sort_unstable_by(|a, b| b.cmp(a));
                let node = nodes.pop().unwrap() + nodes.pop().unwrap();
                best += node;
                nodes.push(node);
            }
            prop_assert_eq!(bits, best);
        }
    }
}
