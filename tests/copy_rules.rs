//! The rules by which everything that tests store is read: each is seen to be broken by a line or an object.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/copy_rules.rs"]
mod copy_rules;

use std::{fs, io::Write, panic::catch_unwind};

use copy_rules::{Schemas, check, check_tree, read_declared_line, read_line};
use flate2::{Compression, write::GzEncoder};

/// What the server writes.
const OWN: &str = r#""event_id":"1","event_time":"2026-11-22T09:00:00.000Z","received_at":"2026-11-22T09:00:00.123Z""#;
const CONFIG: &str = r#"
[streams.heard.fields]
text = { type = "string", max_bytes = 4, required = true }
int = "int"
double = "double"
bool = "bool"
at = "timestamp"
date = "date"
uuid = "uuid"
decimal = { type = "decimal", precision = 5, scale = 2 }
json = { type = "json", max_bytes = 10 }
hashed = { type = "string", private = "hash" }
dropped = { type = "string", private = "drop" }
[streams.open]
unknown_fields = "keep"
[streams.open.fields]
int = "int"
"#;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn frame(text: &str, checksum: bool) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(checksum).unwrap();
    encoder.set_pledged_src_size(Some(text.len() as u64)).unwrap();
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn line(members: &str) -> String {
    format!("{{{OWN},{members}}}")
}

/// The rule that a line breaks.
fn broken(line: &str) -> String {
    read_line(line.as_bytes()).err().unwrap_or_else(|| panic!("{line:.200} breaks no rule"))
}

#[test]
fn a_sound_line_breaks_no_rule() {
    let deep = format!("\"a\":{}1{}", "[".repeat(100), "]".repeat(100));
    let large = format!("\"a\":\"{}\"", "x".repeat(4_000_000));
    for members in [&*deep, &large, r#""a":"\u00e9\ud83d\ude00 {[","b":null,"client_time":"2024-02-29T23:59:59.999Z""#]
    {
        if let Err(rule) = read_line(line(members).as_bytes()) {
            panic!("{rule}");
        }
    }
}

#[test]
fn each_rule_of_a_line_is_broken_by_one() {
    let (long, pipes) =
        (format!("\"a\":\"{}\"", "x".repeat(4_194_304)), format!("\"a\":\"{}\"", "|".repeat(2_097_152)));
    let deep = format!("\"a\":{}1{}", "[".repeat(1_001), "]".repeat(1_001));
    for (text, rule) in [
        (line(&long), "bytes are too many"),
        (line(&pipes), "bytes are too many"),
        (line(&deep), "nested too deep"),
        (line(r#""A":1"#), "is not in lower case"),
        (line(r#""É":1"#), "is not in lower case"),
        (line(r#""a":1,"a":1"#), "comes twice"),
        (line(r#""a":1,"\u0061":1"#), "comes twice"),
        (line(&format!("\"{}\":1", "a".repeat(128))), "too long for a column"),
        (line(r#""a":"\u0000""#), "NUL in"),
        (line(r#""a":[{"b\u0000":1}]"#), "NUL in key"),
        (line(r#""a\u0000":1"#), "contains NUL"),
        (line("\"a\":\"\0\""), "a line break or NUL"),
        (line("\"a\":\"x\",\r\"b\":1"), "a line break or NUL"),
        (line(r#""a":"\ud800""#), "hex escape"),
        (line(r#""a":"\udc00x""#), "hex escape"),
        (line(r#""a":1e999"#), "out of range"),
        (line(r#""a":01"#), "invalid number"),
        (String::new(), "an empty line"),
        ("[1]".into(), "expected an object"),
        ("7".into(), "expected an object"),
        (line("\"a\":1") + "{}", "trailing characters"),
        (line("\"a\":1").replace("event_id", "id"), "no event_id"),
        (line("\"a\":1").replace("\"1\"", "\"\""), "event_id"),
        (line("\"a\":1").replace("\"1\"", &format!("\"{}\"", "x".repeat(129))), "event_id"),
        (line("\"a\":1").replace("event_time", "time"), "no event_time"),
        (line("\"a\":1").replace("received_at", "received"), "no received_at"),
        (line("\"client_time\":1795338000"), "client_time is 1795338000"),
        (line("\"batch_id\":7"), "batch_id is 7"),
    ] {
        let found = broken(&text);
        assert!(found.contains(rule), "{text:.200}: {found}, not {rule}");
    }
    let error = read_line(b"{\"a\":\"\xff\"}").err().unwrap();
    assert!(error.contains("not UTF-8"), "{error}");
    for time in [
        "2026-11-22T09:00:00.123+00:00",
        "2026-11-22 09:00:00.123Z",
        "2026-11-22T09:00:00Z",
        "2026-11-22T24:00:00.000Z",
        "2026-11-22T09:60:00.000Z",
        "2026-11-22T09:00:60.000Z",
        "2026-13-22T09:00:00.000Z",
        "2026-02-29T09:00:00.000Z",
    ] {
        assert!(broken(&line(&format!("\"client_time\":\"{time}\""))).contains("client_time is"), "{time}");
    }
}

#[test]
fn each_rule_of_a_column_is_broken_by_a_value() {
    let schemas = Schemas::of(CONFIG);
    let read = |stream: &str, members: &str| read_declared_line(line(members).as_bytes(), stream, &schemas).err();
    let hash = "0123456789abcdef".repeat(4);
    let sound = format!(
        r#""text":"éé","int":-9223372036854775808,"double":1.5,"bool":false,"at":"2026-11-22T09:00:00.000Z","date":"2024-02-29",
        "uuid":"01234567-89ab-cdef-0123-456789abcdef","decimal":"-123.45","json":{{"A": 1}},"hashed":"{hash}","extra":{{"B":1}}"#
    )
    .replace('\n', "");
    assert_eq!(read("heard", &sound), None);
    assert_eq!(read("heard", "\"text\":\"\",\"int\":null"), None, "what is not required may be null");
    for (field, value) in [
        ("text", "\"ééx\""),
        ("text", "1"),
        ("text", "null"),
        ("int", "9223372036854775808"),
        ("int", "1.0"),
        ("int", "\"1\""),
        ("double", "\"1.5\""),
        ("bool", "0"),
        ("at", "\"2026-11-22T09:00:00Z\""),
        ("at", "1795338000"),
        ("date", "\"2026-02-29\""),
        ("date", "\"2026-2-1\""),
        ("uuid", "\"01234567-89AB-cdef-0123-456789abcdef\""),
        ("uuid", "\"0123456789abcdef0123456789abcdef\""),
        ("decimal", "\"1234.5\""),
        ("decimal", "\"1.234\""),
        ("decimal", "\"1e2\""),
        ("decimal", "1.5"),
        ("json", "{\"A\": 1000}"),
        ("hashed", "\"plain\""),
        ("dropped", "\"x\""),
        ("dropped", "null"),
        ("stranger", "1"),
    ] {
        let text = if field == "text" { String::new() } else { "\"text\":\"x\",".to_owned() };
        let rule = read("heard", &format!("{text}\"{field}\":{value}"));
        assert!(rule.as_ref().is_some_and(|rule| rule.contains(field)), "{field} {value}: {rule:?}");
    }
    let extra = format!("\"text\":\"x\",\"extra\":\"{}\"", "x".repeat(65_534));
    assert!(read("heard", &extra).unwrap().contains("extra"));
    assert!(read("heard", "\"int\":1").unwrap().contains("no text"));
    assert_eq!(read("open", "\"stranger\":1"), None);
    assert!(read("open", "\"int\":\"1\"").is_some());
    assert_eq!(read("unknown", "\"int\":\"1\""), None);
}

#[test]
fn each_rule_of_an_object_is_broken_by_one() {
    assert_eq!(check(&gzip("{\"a\":1}\n{\"a\":2}\n")), Ok(()));
    assert_eq!(check(&frame("{\"a\":1}\n{\"a\":2}\n", true)), Ok(()));
    let sound = gzip("{\"a\":1}\n");
    for (object, rule) in [
        ([&sound[..], &sound[..]].concat(), "behind the first gzip member"),
        ([&sound[..], b"\0"].concat(), "behind the first gzip member"),
        (sound[..sound.len() - 1].to_vec(), "no gzip"),
        (b"{\"a\":1}\n".to_vec(), "no gzip"),
        (gzip(""), "does not end with a line"),
        (gzip("{\"a\":1}"), "does not end with a line"),
        (gzip("{\"a\":1}\n\n"), "an empty line"),
        (gzip("{\"a\":1}\n\n{\"a\":1}\n"), "an empty line"),
        (gzip("{\"a\":1}\n1\n"), "expected an object"),
        (frame("", true), "does not end with a line"),
        (frame("{\"a\":1}\n1\n", true), "expected an object"),
        ([frame("{\"a\":1}\n", true), frame("{\"a\":1}\n", true)].concat(), "behind the first zstd frame"),
        ([&frame("{\"a\":1}\n", true)[..], b"\0"].concat(), "behind the first zstd frame"),
        (frame("{\"a\":1}\n", true)[..20].to_vec(), "no frame"),
        (frame("{\"a\":1}\n", false), "no checksum"),
        (zstd::encode_all(&b"{\"a\":1}\n"[..], 3).unwrap(), "does not tell the length"),
        // A line that a server wrote has all that a server writes.
        (gzip("{\"received_at\":\"2026-11-22T09:00:00.000Z\"}\n"), "no event_id"),
    ] {
        let found = check(&object).unwrap_err();
        assert!(found.contains(rule), "{found}, not {rule}");
    }
}

#[test]
fn a_tree_is_held_to_the_rules_and_to_the_configuration_in_it() {
    let root = tempfile::tempdir().unwrap();
    let write = |key: &str, text: &str| {
        let path = root.path().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => gzip(text),
            Some("zst") => frame(text, true),
            _ => text.into(),
        };
        fs::write(path, bytes).unwrap();
    };
    let path = root.path().to_owned();
    let breaks = || catch_unwind(|| check_tree(&path)).is_err();
    let of_heard = line("\"text\":\"too long\"") + "\n";
    write("objects/raw/heard/dt=2026-11-22/hour=09/x.ndjson.gz", &of_heard);
    write("objects/raw/_rejected/heard/dt=2026-11-22/hour=09/x.ndjson.gz", &of_heard);
    write("objects/raw/_ledger/segments/dt=2026-11-22/hour=09/x.ndjson.gz", "7\n");
    write("spool/x", "7\n");
    assert!(!breaks());
    write("logweir.toml", CONFIG);
    assert!(breaks(), "a column that is declared is too long");
    // What two configurations declare otherwise holds nobody.
    write("other.toml", "[streams.heard.fields]\ntext = 'string'\n");
    assert!(!breaks());
    for name in ["x.ndjson.gz", "x.ndjson.zst"] {
        let key = format!("objects/raw/_rejected/heard/dt=2026-11-22/hour=10/{name}");
        write(&key, "7\n");
        assert!(breaks(), "{name}");
        fs::remove_file(root.path().join(key)).unwrap();
        assert!(!breaks());
    }
}
