//! Content encodings: what is inflated, what cannot be, and what would never end.

use std::io::Write;

use flate2::{Compression, write};

use crate::{request::Request, server::TestServer};

/// Some events that compress about as well as real ones.
pub(crate) fn events(count: usize) -> String {
    let events: Vec<_> = (0..count).map(|n| format!(r#"{{"n":{n},"model":"SM-G99{}B"}}"#, n * 7919 % 10)).collect();
    format!("[{}]", events.join(","))
}

pub(crate) fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &str) -> Vec<u8> {
    let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn bare_deflate(text: &str) -> Vec<u8> {
    let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn encoded(encoding: &str, body: &[u8]) -> Request {
    Request::post("heard", body).header("Content-Encoding", encoding)
}

#[test]
fn every_encoding_is_stored_as_what_it_decodes_to() {
    let server = TestServer::start("");
    let mut client = server.connect();
    let (first, second) = (events(300), r#"{"n":-1}"#);
    let lines = [gzip(first[1..first.len() - 1].replace("},{", "}\n{") + "\n"), gzip(second)].concat();
    let bodies = [
        encoded("identity", first.as_bytes()),
        encoded("gzip", &gzip(&first)),
        encoded("X-GZip", &gzip(&first)),
        encoded("deflate", &zlib(&first)),
        encoded("deflate", &bare_deflate(&first)),
        encoded("ZSTD", &zstd::encode_all(first.as_bytes(), 3).unwrap()),
        // Two gzip members are one body, also where a chunk ends within a header.
        encoded("gzip", &lines).header("content-type", "application/x-ndjson").chunked(7),
    ];
    for request in &bodies {
        assert_eq!(client.ask(request).status, 200, "{request:?}");
    }
    let stored = server.stop();
    assert_eq!(stored.len(), bodies.len() * 300 + 1);
    for sent in first[1..first.len() - 1].split_inclusive('}').map(|event| event.trim_start_matches(',')) {
        let found = stored.iter().filter(|line| line.text.ends_with(&sent[1..])).count();
        assert_eq!(found, bodies.len(), "{sent}");
    }
}

#[test]
fn an_encoding_that_is_unknown_or_not_what_was_sent_is_refused() {
    let server = TestServer::start("");
    let mut client = server.connect();
    let text = events(50);
    let (packed, mut damaged) = (gzip(&text), gzip(&text));
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x10;
    for (encoding, body, problem) in [
        ("br", packed.as_slice(), "unsupported-encoding"),
        ("gzip, gzip", &packed, "unsupported-encoding"),
        ("*", &packed, "unsupported-encoding"),
        ("gzip", text.as_bytes(), "invalid-encoding"),
        ("gzip", b"", "invalid-encoding"),
        ("gzip", &packed[..packed.len() - 9], "invalid-encoding"),
        ("gzip", &packed[..packed.len() - 1], "invalid-encoding"),
        ("gzip", &[&packed, b"x".as_slice()].concat(), "invalid-encoding"),
        ("gzip", &damaged, "invalid-encoding"),
        ("zstd", &packed, "invalid-encoding"),
        ("zstd", b"", "invalid-encoding"),
        ("deflate", b"x", "invalid-encoding"),
        ("deflate", &packed, "invalid-encoding"),
        // What is not encoded at all is not JSON.
        ("identity", &packed, "invalid-utf8"),
    ] {
        let answer = client.ask(&encoded(encoding, body));
        assert_eq!(answer.problem(), problem, "{encoding} {body:?}");
        assert_eq!(answer.status, if problem == "unsupported-encoding" { 415 } else { 400 });
    }
    let metrics = server.metrics();
    assert_eq!(metrics.outcome("unsupported_encoding"), 3);
    assert_eq!(metrics.outcome("invalid_encoding"), 10);
}

#[test]
fn a_body_that_inflates_without_end_is_cut_off_by_size_and_by_ratio() {
    let limits =
        r#"limits = { encoded_body = "256KiB", decoded_body = "512KiB", decode_ratio = 100, output = "1MiB" }"#;
    let server = TestServer::start(limits);
    let mut client = server.connect();
    // Blanks around a batch are JSON, and compress to a thousandth.
    let blank = |len: usize| format!("{}[{{\"a\":1}}]", " ".repeat(len));
    for (what, text, problem) in [
        ("64 KiB are within every ratio", blank(60 * 1024), None),
        ("beyond 64 KiB the ratio counts", blank(100 * 1024), Some("decoded-too-large")),
        ("what compresses as logs do is within it", events(5_000), None),
        ("beyond the size no ratio helps", events(30_000), Some("decoded-too-large")),
        ("a bomb", blank(30 << 20), Some("decoded-too-large")),
    ] {
        for (encoding, body) in [("gzip", gzip(&text)), ("zstd", zstd::encode_all(text.as_bytes(), 1).unwrap())] {
            let answer = client.ask(&encoded(encoding, &body));
            match problem {
                None => assert_eq!(answer.status, 200, "{what}: {answer:?}"),
                Some(problem) => assert_eq!((answer.status, answer.problem().as_str()), (413, problem), "{what}"),
            }
        }
    }
    assert_eq!(server.metrics().outcome("decoded_too_large"), 6);
    assert_eq!(server.stop().len(), 2 + 2 * 5_000);
}
