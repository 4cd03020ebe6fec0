//! What both compressors promise.

use ::zstd::zstd_safe::{CCtx, InBuffer, OutBuffer, get_frame_content_size};

use super::*;
use crate::sink::Member;

/// Some lines that resemble each other.
fn lines(count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let line = |number| format!("{{\"event_id\":\"{:016x}\",\"number\":{number},\"app\":\"radio\"}}\n", random.u64(..));
    (0..count).map(line).collect::<String>().into_bytes()
}

async fn compressed(text: &[u8], compression: Compression, most: usize) -> Vec<Vec<u8>> {
    let mut body = ObjectBody::of_text(text.to_vec(), compression);
    let mut parts = Vec::new();
    while let Some(part) = body.next_part(most).await.unwrap() {
        assert!(part.last || part.bytes.len() == most);
        parts.push(part.bytes);
    }
    parts
}

fn every() -> impl Iterator<Item = Compression> {
    Codec::ALL.into_iter().flat_map(|codec| codec.levels().map(move |level| Compression { codec, level }))
}

#[tokio::test]
async fn every_codec_and_level_gives_the_same_bytes_for_the_same_lines_and_they_can_be_read() {
    let text = lines(5_000);
    for compression in every() {
        let parts = compressed(&text, compression, 20_000).await;
        let bytes = parts.concat();
        assert!(parts.len() > 1 && bytes.len() < text.len() / 2, "{compression:?}");
        assert_eq!(compressed(&text, compression, usize::MAX).await, std::slice::from_ref(&bytes), "{compression:?}");
        let mut member = Member::counting(compression.codec);
        assert!(member.take(&bytes), "{compression:?}");
        let content = member.content().unwrap();
        assert_eq!((content.events, content.bytes), (5_000, text.len() as u64));
        assert_eq!(content.crc32, crc32fast::hash(&text));
    }
}

#[tokio::test]
async fn a_frame_tells_the_length_of_its_lines_and_has_a_checksum() {
    /// The bit of the frame header's descriptor that tells of a checksum (RFC 8878, section 3.1.1.1.1).
    const CHECKSUM: u8 = 1 << 2;
    for count in [0, 1, 10_000] {
        let text = lines(count);
        let bytes = compressed(&text, Compression { codec: Codec::Zstd, level: 3 }, usize::MAX).await.concat();
        assert_eq!(get_frame_content_size(&bytes).unwrap(), Some(text.len() as u64));
        assert_ne!(bytes[4] & CHECKSUM, 0);
    }
}

#[tokio::test]
async fn other_lines_than_are_counted_end_no_object() {
    let text = lines(100);
    let (len, sum) = (text.len() as u64, crc32fast::hash(&text));
    for compression in every().filter(|compression| compression.level < 4) {
        for counted in [(len - 1, sum), (len + 1, sum), (len, sum ^ 1)] {
            let source = Source::Text(Some(text.clone()), Vec::new());
            let mut body = ObjectBody::of(source, counted, compression);
            let error = body.next_part(usize::MAX).await.unwrap_err();
            assert!(matches!(error, BodyError::Footer { .. }), "{compression:?}: {error}");
            assert!(body.next_part(usize::MAX).await.unwrap().is_none());
        }
    }
}

#[test]
fn a_compressor_takes_no_more_memory_than_is_counted() {
    /// The reader's window, and what is between it and the part.
    const BESIDE: usize = 512 * 1024;
    let text = lines(40_000);
    for level in Codec::Zstd.levels() {
        let mut context = CCtx::create();
        context.init(level as i32).unwrap();
        for parameter in zstd::parameters(level) {
            context.set_parameter(parameter).unwrap();
        }
        context.set_pledged_src_size(Some(1 << 30)).unwrap();
        let mut out = Vec::with_capacity(text.len());
        let mut input = InBuffer::around(&text);
        context.compress_stream(&mut OutBuffer::around(&mut out), &mut input).unwrap();
        let counted = Compression { codec: Codec::Zstd, level }.overhead_bytes();
        assert!(context.sizeof() + BESIDE <= counted, "level {level} takes {}", context.sizeof());
    }
}
