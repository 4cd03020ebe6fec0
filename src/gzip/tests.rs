//! What is compressed is read back by others, and is not larger than others make it.

use std::{
    fmt::Write as _,
    io::{Read, Write},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use proptest::prelude::*;

use super::*;

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
    let blocks = input.len().div_ceil(BLOCK_BYTES) + 1;
    assert!(member.len() <= input.len() + 15 * blocks + 18, "{} bytes of {}", member.len(), input.len());
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

#[test]
fn every_length_around_the_limits_comes_back() {
    let text = lines(3 * BLOCK_BYTES);
    let edges = [0, 1, 7, 8, 9, 257, 258, 259, 300, WINDOW_BYTES, BLOCK_BYTES, 2 * BLOCK_BYTES, 65_535, 65_536];
    for edge in edges {
        for len in edge.saturating_sub(2)..edge + 3 {
            round_trip(&text[..len], usize::MAX);
        }
    }
    for piece in [1_000, 4_097, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1] {
        round_trip(&text, piece);
    }
}

#[test]
fn the_pieces_in_which_input_comes_do_not_matter() {
    let text = lines(300_000);
    assert!(compressed(&text, 777) == compressed(&text, usize::MAX));
}

#[test]
fn runs_and_noise_come_back() {
    for byte in [0, b'a', 255] {
        assert!(round_trip(&vec![byte; 1_000_000], usize::MAX) < 5_000);
    }
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(500_000).collect();
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
    // zlib's level 2 is GNU gzip's -2, a little smaller than its -1.
    let (ours, theirs) = (round_trip(&text, usize::MAX), other.finish().unwrap().len());
    assert!(ours < theirs, "{ours} bytes against {theirs}");
}

#[test]
fn positions_are_counted_anew_before_they_overflow() {
    let mut matcher = Matcher::new();
    let text = lines(100_000);
    assert!(matcher.find(&text, 50_000).len() > 100);
    matcher.slide(1 << 30);
    let found = matcher.find(&text, 0).to_vec();
    assert_eq!(found, Matcher::new().find(&text, 0));
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
    #[test]
    fn anything_comes_back(text in repetitive(), piece in 1_usize..500) {
        round_trip(&text, piece);
    }

    #[test]
    fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        round_trip(&bytes, usize::MAX);
    }
}
