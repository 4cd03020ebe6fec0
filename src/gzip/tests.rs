//! What is compressed is read back by others, and is not larger than others make it.

use std::{
    fmt::Write as _,
    io::{Read, Write},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use proptest::prelude::*;

use super::{
    matcher::{Found, Matcher, Way},
    *,
};

/// `input` compressed, handed over in pieces of `piece` bytes.
fn compressed(input: &[u8], piece: usize) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(), Vec::new());
    for piece in input.chunks(piece.max(1)) {
        encoder.write(piece, &mut out);
    }
    assert_eq!((encoder.total_in(), encoder.crc32()), (input.len() as u64, crc32fast::hash(input)));
    encoder.finish(&mut out);
    out
}

/// Reads one member, and finds that nothing follows it.
fn decompressed(member: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(member);
    let mut out = Vec::new();
    // The decoder checks the trailer's checksum and length.
    std::io::copy(&mut decoder, &mut out).unwrap();
    assert_eq!(decoder.into_inner().bytes().count(), 0, "something follows the member");
    out
}

fn round_trip(input: &[u8], piece: usize) -> usize {
    let member = compressed(input, piece);
    assert!(decompressed(&member) == input, "{} bytes came back differently", input.len());
    let most = input.len() + 8 * input.len().div_ceil(SEGMENT_BYTES - 8) + 30;
    assert!(member.len() <= most, "{} bytes of {}", member.len(), input.len());
    member.len()
}

/// Lines as they are stored.
fn lines(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = String::new();
    while text.len() < bytes {
        let (id, device, second) = (random.u128(..), random.u64(..), random.u8(..60));
        let _ = writeln!(
            text,
            "{{\"event_id\":\"{id:032x}\",\"event_time\":\"2026-11-22T09:00:{second:02}.123Z\",\"received_at\":\
             \"2026-11-22T09:00:{second:02}.456Z\",\"device_id\":\"{device:016x}\",\"app\":\"com.example.reader\",\
             \"model\":\"SM-S928N\",\"tone\":{},\"channel\":\"tv-{}\"}}",
            random.u32(..20_000),
            random.u8(..9),
        );
    }
    text.into_bytes()
}

/// Words in no order.
fn prose(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(8);
    let mut word = || {
        let len = random.usize(3..9);
        std::iter::repeat_with(|| random.lowercase()).take(len).collect()
    };
    let words: Vec<String> = std::iter::repeat_with(&mut word).take(300).collect();
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(&words[random.usize(..300).min(random.usize(..300))]);
        text.push(if random.u8(..12) == 0 { '\n' } else { ' ' });
    }
    text.into_bytes()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

#[test]
fn every_length_around_the_limits_comes_back() {
    let text = lines(3 * SEGMENT_BYTES);
    let ahead = SEGMENT_BYTES + LOOKAHEAD_BYTES;
    for edge in [0, 1, 7, 8, 9, 16, 24, 257, 258, 259, 300, SEGMENT_BYTES, ahead, 2 * SEGMENT_BYTES, 65_535, 65_536] {
        for len in edge.saturating_sub(2)..edge + 3 {
            round_trip(&text[..len], usize::MAX);
        }
    }
    for piece in [1_000, 4_097, SEGMENT_BYTES - 1, ahead - 1, ahead, ahead + 1] {
        round_trip(&text, piece);
    }
}

#[test]
fn blocks_and_the_buffer_begin_anew_where_they_are_full() {
    // More than a block, and more than the buffer several times over; then another trial of both ways to search.
    let text = lines((block::BLOCK_SEGMENTS as usize + 4) * SEGMENT_BYTES);
    for len in [BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, text.len()] {
        round_trip(&text[..len], 100_000);
    }
}

#[test]
fn the_pieces_in_which_input_comes_do_not_matter() {
    let mut text = lines(300_000);
    text.extend(prose(200_000));
    let whole = compressed(&text, usize::MAX);
    for piece in [777, 33_000, 262_144] {
        assert!(compressed(&text, piece) == whole);
    }
}

#[test]
fn text_that_changes_its_kind_comes_back() {
    let (lines, prose, noise) = (lines(100_000), prose(100_000), noise(100_000));
    let upper: Vec<u8> = lines.iter().map(|byte| byte | 0x80).collect();
    // Codes made of lines say little of noise, and none of its bytes was seen before.
    let kinds = [&lines, &noise, &prose, &upper, &lines[..70_000].to_vec(), &noise[..10].to_vec()];
    for first in kinds {
        for second in kinds {
            for cut in [30_000, 40_000, 65_537] {
                let cut = cut.min(first.len());
                let text = [&first[..cut], second, &first[..cut]].concat();
                round_trip(&text, usize::MAX);
            }
        }
    }
}

#[test]
fn a_change_of_kind_costs_little() {
    // The lines lose their codes to the noise, which is stored, and get new ones behind it.
    let (text, noise) = (lines(400_000), noise(200_000));
    let alone = round_trip(&text, usize::MAX);
    let mixed = round_trip(&[&text[..200_000], &noise, &text[200_000..]].concat(), usize::MAX);
    assert!(mixed < alone + noise.len() + 10_000, "{mixed} bytes, and {alone} without the noise");
}

#[test]
fn runs_and_noise_come_back() {
    for byte in [0, b'a', 255] {
        assert!(round_trip(&vec![byte; 1_000_000], usize::MAX) < 5_000);
    }
    let noise = noise(500_000);
    round_trip(&noise, usize::MAX);
    // Noise that repeats at the far end of the window, and just beyond it.
    for distance in [WINDOW_BYTES - 1, WINDOW_BYTES, WINDOW_BYTES + 1] {
        let repeated: Vec<u8> = noise[..distance].iter().cycle().take(400_000).copied().collect();
        round_trip(&repeated, usize::MAX);
    }
    // Bytes whose frequencies make the longest codes that Huffman's way gives.
    let mut steep = Vec::new();
    let (mut one, mut next) = (1, 1);
    for byte in 0..22_u8 {
        steep.extend(std::iter::repeat_n(byte, one));
        (one, next) = (next, one + next);
    }
    fastrand::Rng::with_seed(2).shuffle(&mut steep);
    round_trip(&steep, usize::MAX);
}

#[test]
fn stored_lines_become_smaller_than_gzip_at_its_fastest_makes_them() {
    let text = lines(2_000_000);
    let mut other = GzEncoder::new(Vec::new(), Compression::new(2));
    other.write_all(&text).unwrap();
    // GNU gzip 1.12 makes 402,846 bytes of it with -1, and zlib-rs fewer with its level 2.
    let (ours, theirs) = (round_trip(&text, usize::MAX), other.finish().unwrap().len());
    assert!(ours < theirs, "{ours} bytes against {theirs}");
}

#[test]
fn real_logs_become_smaller_than_gnu_gzip_at_its_fastest_makes_them() {
    let log = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/apache_access.log")).unwrap();
    // What `gzip -1n` 1.12 makes of it.
    assert!(round_trip(&log, usize::MAX) < 309_889);
    // And of its beginning, which is one segment.
    assert!(round_trip(&log[..30_000], usize::MAX) < 4_964);
}

#[test]
fn prose_is_searched_finely_and_lines_swiftly() {
    let way = |text: &[u8]| {
        let mut encoder = Encoder::new();
        encoder.write(text, &mut Vec::new());
        encoder.blocks.way()
    };
    assert_eq!(way(&prose(200_000)), Way::Fine);
    assert_eq!(way(&lines(200_000)), Way::Swift);
}

#[test]
fn positions_may_overflow() {
    let text = lines(100_000);
    let mut buffer = zeros();
    buffer[..text.len()].copy_from_slice(&text);
    let found = |base: u32| {
        let mut matcher = Matcher::new();
        let text = Text { buffer: &buffer, len: text.len(), base };
        matcher.find(Segment { text, start: 0, limit: text.len, last: true }, Found::default())
    };
    let (end, matches) = found(0);
    assert_eq!(end, text.len());
    assert_eq!(matches, found(u32::MAX - 50_000).1);
}

/// Text that repeats itself at all distances and lengths.
fn repetitive() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..40).prop_map(Ok),
        (any::<prop::sample::Index>(), 1_usize..600).prop_map(Err),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| {
        let mut text = Vec::new();
        for piece in pieces {
            match piece {
                Ok(new) => text.extend_from_slice(&new),
                Err((from, len)) if !text.is_empty() => {
                    let from = from.index(text.len());
                    for place in from..from + len {
                        text.push(text[place]);
                    }
                }
                Err(_) => {}
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn anything_comes_back(text in repetitive(), piece in 1_usize..500) {
        round_trip(&text, piece);
    }

    #[test]
    fn anything_within_lines_comes_back(text in repetitive(), at in 0_usize..70_000, piece in 1_usize..100_000) {
        let lines = lines(70_000);
        round_trip(&[&lines[..at], &text, &lines[at..]].concat(), piece);
    }

    #[test]
    fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        round_trip(&bytes, usize::MAX);
    }
}
