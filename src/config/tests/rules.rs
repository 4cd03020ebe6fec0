//! Every rule: what breaks it, where that is told, and that it is the only thing told.

use super::*;

/// Each text breaks one rule: the line that is told (the text begins at line 4), the setting, and words of the message.
pub(super) fn broken(cases: &[(&str, usize, &str, &str)]) {
    for (text, line, setting, words) in cases {
        let Err(problems) = load_text(text) else { panic!("{text} is taken") };
        assert_eq!(places(&problems), [format!("f.toml:{line} {setting}")], "{text}\n{problems}");
        let problem = problems.iter().next().unwrap();
        assert!(problem.what.contains(words), "{text}\n{problems}\n{words}");
        assert!(!problem.remedy.is_empty() && !problem.remedy.ends_with('.'), "{problems}");
    }
}

#[test]
fn every_number_has_a_range() {
    for (section, key, good, bad) in [
        ("server", "workers", &["0", "1024"][..], &["1025"][..]),
        ("server", "max_connections", &["1", "1000000"], &["0", "1000001"]),
        ("server", "max_head", &["'8KiB'", "'64KiB'"], &["'8191B'", "'65537B'"]),
        ("server", "head_timeout", &["'1ms'", "'74s'"], &["'0s'", "'11m'"]),
        ("server", "idle_timeout", &["'61s'", "'1h'"], &["'60s'", "'61m'"]),
        ("server", "body_grace", &["'1ms'", "'10m'"], &["'0s'", "'11m'"]),
        ("server", "body_min_rate", &["1", "'1MiB'"], &["0", "'2MiB'"]),
        ("limits", "encoded_body", &["1", "'8MiB'"], &["0"]),
        ("limits", "decoded_body", &["'1MiB'", "'47MiB'"], &[]),
        ("limits", "decode_ratio", &["1", "10000"], &["0", "10001"]),
        ("limits", "output", &["'84KiB'", "'32MiB'"], &["'33MiB'"]),
        ("limits", "events", &["1", "1000000"], &["0", "1000001"]),
        ("limits", "event", &["1", "'1MiB'"], &["0", "1048577"]),
        ("limits", "context", &["1", "'1MiB'"], &["0", "1048577"]),
        ("limits", "nesting", &["1", "1000"], &["0", "1001"]),
        ("limits", "fields", &["1", "10000"], &["0", "10001"]),
        ("limits", "streams", &["1", "4096"], &["0", "4097"]),
        ("ingest", "stored_timeout", &["'1ms'", "'55s'"], &["'0s'", "'56s'"]),
        ("queue", "bytes", &["'25MiB'", "'1TiB'"], &["'2TiB'"]),
        ("queue", "batches", &["1", "1048576"], &["0", "1048577"]),
        ("pacing", "retry_after_cap", &["'2s'", "'1d'"], &["'1s'", "'25h'"]),
        ("pacing", "capacity_floor", &["1", "'1TiB'"], &["0", "'2TiB'"]),
        ("spool", "disk_quota", &["'256MiB'", "'1TiB'"], &[]),
        ("spool", "segment_size", &["'32MiB'", "'2560MiB'"], &["'4097MiB'", "'31MiB'", "'1023KiB'"]),
        ("spool", "seal_after", &["'1s'", "'1d'"], &["'999ms'", "'25h'"]),
        ("spool", "seal_jitter", &["0", "1.0"], &["-0.1", "1.1", "nan"]),
        ("spool", "early_seal_interval", &["'1ms'", "'1h'"], &["'0s'", "'61m'"]),
        ("spool", "sync_interval", &["'0s'", "'1s'"], &["'1001ms'"]),
        ("spool", "max_rate", &["0", "'10MiB'", "'1TiB'"], &["'2TiB'"]),
        ("admission", "target", &["'100ms'", "'60s'"], &["'99ms'", "'61s'"]),
        ("admission", "refusing_share", &["0.001", "1"], &["0", "1.01", "-0.5", "nan", "inf"]),
        ("hints", "send_interval", &["'1s'", "'1d'"], &["'999ms'", "'25h'"]),
        ("hints", "sampling", &["0", "0.5", "1"], &["-0.1", "1.1", "nan"]),
        ("fleet", "instances", &["1", "10000"], &["0", "10001"]),
        ("drain", "linger", &["'0s'", "'10m'"], &["'11m'"]),
        ("drain", "timeout", &["'1s'", "'1h'"], &["'999ms'", "'61m'"]),
    ] {
        let text = |value: &str| format!("[{section}]\n{key} = {value}\n");
        for value in good {
            load_text(&text(value)).unwrap_or_else(|problems| panic!("{value}: {problems}"));
        }
        for value in bad {
            broken(&[(&text(value), 5, &format!("{section}.{key}"), "is ")]);
        }
    }
    for (text, setting) in [
        ("[limits]\nencoded_body = '65MiB'\ndecoded_body = '65MiB'\n[queue]\nbytes = '1GiB'", "limits.encoded_body"),
        ("[limits]\ndecoded_body = '257MiB'\n[queue]\nbytes = '1GiB'", "limits.decoded_body"),
        ("[limits]\noutput = '33MiB'\n[queue]\nbytes = '1GiB'\n[spool]\nsegment_size = '1GiB'", "limits.output"),
    ] {
        broken(&[(text, 5, setting, "is ")]);
    }
}

#[test]
fn sizes_and_times_fit_each_other() {
    broken(&[
        ("[server]\nhead_timeout = '75s'", 5, "server.head_timeout", "is 1m 15s, not less than server.idle_timeout"),
        (
            "[limits]\nencoded_body = '9MiB'",
            5,
            "limits.decoded_body",
            "is 8 MiB, less than limits.encoded_body (9 MiB)",
        ),
        ("[limits]\nevent = '1MiB'\ncontext = '1MiB'", 5, "limits.event", "make a line of up to 2052 KiB, more than"),
        ("[limits]\noutput = '83KiB'", 5, "limits.output", "is 83 KiB, less than a line of"),
        ("[queue]\nbytes = '24MiB'", 5, "queue.bytes", "is 24 MiB, less than the largest batch (25 MiB"),
        ("[limits]\ndecoded_body = '48MiB'", 5, "queue.bytes", "is 64 MiB, less than the largest batch (65 MiB"),
        (
            "[spool]\nsegment_size = '31MiB'",
            5,
            "spool.segment_size",
            "is 31 MiB, less than twice limits.output (16 MiB)",
        ),
        (
            "[limits]\noutput = '32MiB'\n[spool]\nsegment_size = '63MiB'",
            7,
            "spool.segment_size",
            "is 63 MiB, less than twice limits.output (32 MiB)",
        ),
        ("[spool]\ndisk_quota = '63MiB'", 5, "spool.segment_size", "is 64 MiB, more than spool.disk_quota (63 MiB)"),
        (
            "[spool]\nsegment_size = '2GiB'\ndisk_quota = '1GiB'",
            5,
            "spool.segment_size",
            "is 2 GiB, more than spool.disk_quota (1 GiB)",
        ),
        (
            "[spool]\ndisk_quota = '255MiB'",
            5,
            "spool.segment_size",
            "more than a quarter of spool.disk_quota (255 MiB)",
        ),
        (
            "[spool]\nmax_rate = '10239KiB'",
            5,
            "spool.max_rate",
            "is 10239 KiB, less than pacing.capacity_floor (10 MiB)",
        ),
        (
            "[pacing]\ncapacity_floor = '1GiB'\n[spool]\nmax_rate = '1023MiB'",
            7,
            "spool.max_rate",
            "is 1023 MiB, less than pacing.capacity_floor (1 GiB)",
        ),
        ("[limits]\nstreams = 1\n[streams.a]\n[streams.b]", 5, "limits.streams", "is 1, fewer than the 2 streams"),
    ]);
}

#[test]
fn ports_are_apart_and_guarded() {
    let key = "[[keys]]\nname = 'a'\nkey = '0123456789abcdef'\n";
    let public = |listen: &str| format!("{key}[server]\nlisten = '{listen}'\n");
    for listen in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080", "127.0.0.1:0", "[::1]:8080", "127.0.0.2:9090"] {
        load_text(&public(listen)).unwrap_or_else(|problems| panic!("{problems}"));
    }
    let admin = |listen: &str, token: &str| format!("[admin]\nlisten = '{listen}'\ntoken = '{token}'\n");
    load_text(&admin("0.0.0.0:9090", "0123456789abcdef")).unwrap();
    load_text(&admin("[::ffff:127.0.0.1]:9090", "")).unwrap();
    broken(&[
        ("[server]\nlisten = '0.0.0.0:8080'", 5, "server.listen", "which others can reach, and there is no key"),
        (
            "[server]\nlisten = '127.0.0.1:9090'",
            5,
            "admin.listen",
            "which server.listen (127.0.0.1:9090) already takes",
        ),
        (&public("0.0.0.0:9090"), 8, "admin.listen", "already takes"),
        (&admin("0.0.0.0:9090", ""), 6, "admin.token", "is empty, and admin.listen (0.0.0.0:9090) is not a loopback"),
        ("[admin]\nlisten = '10.0.0.1:9090'", 5, "admin.token", "is empty"),
        (&admin("127.0.0.1:9090", "short"), 6, "admin.token", "has 5 bytes, fewer than 16"),
    ]);
}

#[test]
fn keys_are_named_long_apart_and_for_streams_that_there_are() {
    let key = |name: &str, key: &str, more: &str| format!("[[keys]]\nname = '{name}'\nkey = '{key}'\n{more}\n");
    let (one, other) = ("0123456789abcdef", "fedcba9876543210");
    let two = |a: (&str, &str), b: (&str, &str)| key(a.0, a.1, "") + &key(b.0, b.1, "");
    load_text(&two(("sdk-android_2", one), (&"x".repeat(64), other))).unwrap();
    load_text(&(key("a", one, "streams = ['heard']") + "[streams.heard]\n")).unwrap();
    load_text(&(key("a", one, "streams = ['heard']") + "[ingest]\nundeclared_streams = 'accept'\n")).unwrap();
    for name in ["", "A", "a b", "é", &"x".repeat(65)] {
        broken(&[(&key(name, one, ""), 5, "keys[0].name", "is no name of a key")]);
    }
    broken(&[
        (&key("a", &one[1..], ""), 6, "keys[0].key", "has 15 bytes, fewer than 16"),
        (&key("a", "0123456789 abcdef", ""), 6, "keys[0].key", "has a character that no header can carry"),
        (&key("a", "0123456789äbcdef", ""), 6, "keys[0].key", "has a character that no header can carry"),
        (&two(("a", one), ("b", one)), 10, "keys[1].key", "is the same as keys[0].key"),
        (&key("a", one, "streams = ['heard']"), 7, "keys[0].streams[0]", "is not declared, and undeclared streams"),
        (
            &(key("a", one, "streams = [\n'heard',\n'Seen']") + "[ingest]\nundeclared_streams = 'accept'\n"),
            9,
            "keys[0].streams[1]",
            "is no name of a stream",
        ),
    ]);
}

/// Every batch would be answered 404, which tells a device to drop it.
#[test]
fn there_is_a_stream_that_is_taken() {
    let told = |text: &str| load_with(&format!("{SINK}{text}"), &[]).unwrap_err().to_string();
    for (text, line) in [("", ""), ("[ingest]\nundeclared_streams = 'refuse'\n", ":5")] {
        assert_eq!(
            told(text),
            format!(
                "f.toml{line}: ingest.undeclared_streams is \"refuse\", and no stream is declared: every batch would be \
                 answered 404, which tells devices to drop it\n  remedy: add a [streams.NAME] section, or set \
                 ingest.undeclared_streams = \"accept\""
            )
        );
    }
    load_with(&format!("{SINK}[ingest]\nundeclared_streams = 'accept'\n"), &[]).unwrap();
    load_with(SINK, &[("LOGWEIR__STREAMS__HEARD__ACK", "spooled")]).unwrap();
}

#[test]
fn sinks_are_named_apart_and_complete() {
    let sink = |more: &str| format!("[[sinks]]\nname = 'b'\n{more}\n");
    let file = |more: &str| sink(&format!("dir = 'other'\n{more}"));
    let s3 = |more: &str| sink(&format!("kind = 's3'\nbucket = 'logs'\n{more}"));
    for more in [
        "prefix = 'a/b/'\nlevel = 9\nconcurrency = 32",
        "attempt_timeout = '1s'",
        "backoff_min = '1h'\nbackoff_max = '1h'",
    ] {
        load_text(&file(more)).unwrap_or_else(|problems| panic!("{problems}"));
    }
    for more in ["", "endpoint = 'https://s3.example.com/'", "sse = 's3'", "sse = 'kms'\nkms_key = 'k'\nregion = 'x'"] {
        load_text(&s3(more)).unwrap_or_else(|problems| panic!("{problems}"));
    }
    for prefix in
        ["a", "/", "/a/", "a//b/", "a/../b/", "./", "a\\tb/", &format!("{}/", "x".repeat(256)), &"x/".repeat(257)]
    {
        broken(&[(&file(&format!("prefix = \"{prefix}\"")), 7, "sinks[1].prefix", "which ")]);
    }
    for (key, values) in [
        ("level", ["0", "10"]),
        ("concurrency", ["0", "33"]),
        ("attempt_timeout", ["'999ms'", "'61m'"]),
        ("backoff_max", ["'199ms'", "'61m'"]),
    ] {
        for value in values {
            let at = if value == "'199ms'" { "sinks[1].backoff_min" } else { &format!("sinks[1].{key}") };
            broken(&[(&file(&format!("{key} = {value}")), 7, at, "is ")]);
        }
    }
    for url in ["ftp://a", "a.example", "http://u:p@a", "http://a/b", "http://a?b", "http://", "", "http://a b"] {
        broken(&[(&s3(&format!("endpoint = '{url}'")), 8, "sinks[1].endpoint", "is no http or https URL")]);
    }
    broken(&[
        ("[[sinks]]\nname = 'B'\ndir = 'other'", 5, "sinks[1].name", "is \"B\", which is no name of a sink"),
        ("[[sinks]]\ndir = 'other'", 4, "sinks[1].name", "is \"\", which is no name of a sink"),
        ("[[sinks]]\nname = 'files'\ndir = 'other'", 5, "sinks[1].name", "is \"files\", as sinks[0].name is"),
        (&sink("dir = 'objects'"), 4, "sinks[1].prefix", "sinks[0] stores under the same keys in the same place"),
        (&file("backoff_min = '2m'"), 7, "sinks[1].backoff_min", "is 2m, more than backoff_max (1m)"),
        (&sink(""), 4, "sinks[1].dir", "is missing, and a sink of kind \"file\" needs it"),
        (&sink("dir = ''"), 6, "sinks[1].dir", "is missing"),
        (&sink("kind = 's3'"), 4, "sinks[1].bucket", "is missing, and a sink of kind \"s3\" needs it"),
        (&file("bucket = 'b'"), 7, "sinks[1].bucket", "is a setting of kind \"s3\", and this sink is of kind \"file\""),
        (&file("path_style = false"), 7, "sinks[1].path_style", "is a setting of kind \"s3\""),
        (&s3("dir = 'x'"), 8, "sinks[1].dir", "is a setting of kind \"file\", and this sink is of kind \"s3\""),
        (&s3("sse = 'kms'"), 8, "sinks[1].kms_key", "is missing, and sse = \"kms\" needs it"),
        (&s3("sse = 's3'\nkms_key = 'k'"), 9, "sinks[1].kms_key", "is given without sse = \"kms\""),
        (&s3("kms_key = 'k'"), 8, "sinks[1].kms_key", "is given without sse = \"kms\""),
        (&s3("region = ''"), 8, "sinks[1].region", "is empty"),
        (&s3("storage_class = ''"), 8, "sinks[1].storage_class", "is empty"),
    ]);
    let none = load_with(&format!("[log]\n{STREAM}"), &[]).unwrap_err();
    assert_eq!(places(&none), ["f.toml sinks"]);
}

#[test]
fn the_spool_and_the_objects_do_not_lie_in_each_other() {
    let spool = |dir: &str| format!("[spool]\ndir = '{dir}'\n");
    let absolute = std::path::absolute("objects/deep").unwrap().display().to_string();
    for dir in ["objects", "./objects/", "objects/spool", ".", "x/../objects/y", "/", &absolute] {
        broken(&[(&spool(dir), 5, "spool.dir", "sinks[0].dir is objects")]);
    }
    for dir in ["objects-2", "objects/../spool", "/elsewhere/objects"] {
        load_text(&spool(dir)).unwrap_or_else(|problems| panic!("{problems}"));
    }
    broken(&[(&spool(""), 5, "spool.dir", "is empty")]);
}

#[test]
fn streams_are_what_a_warehouse_can_load() {
    let field = |field: &str| format!("[streams.heard.fields]\n{field}\n");
    broken(&[
        ("[streams.Heard]", 4, "streams.Heard", "is no name of a stream"),
        ("[streams.heard]\nunknown_fields = 'reject'", 5, "streams.heard.unknown_fields", "without a declared field"),
        (
            "[streams.heard]\ntime_field = 'at'\n[streams.heard.fields]\nat = 'int'",
            5,
            "streams.heard.time_field",
            "`at`",
        ),
        (&field("Count = 'int'"), 5, "streams.heard.fields.Count", "is refused: field `Count` is no column name"),
        (&field("event_id = 'uuid'"), 5, "streams.heard.fields.event_id", "is a server field"),
        (&field("extra = 'json'"), 5, "streams.heard.fields.extra", "where undeclared fields are collected"),
        (
            &field("a = { type = 'string', max_bytes = 0 }"),
            5,
            "streams.heard.fields.a.max_bytes",
            "between 1 and 65535",
        ),
        (
            &field("a = { type = 'int', max_bytes = 8 }"),
            5,
            "streams.heard.fields.a.max_bytes",
            "is a setting of strings",
        ),
        (
            &field("a = { type = 'int', precision = 8 }"),
            5,
            "streams.heard.fields.a.precision",
            "is a setting of decimals",
        ),
        (&field("a = { type = 'json', scale = 8 }"), 5, "streams.heard.fields.a.scale", "is a setting of decimals"),
        (&field("a = 'decimal'"), 5, "streams.heard.fields.a.precision", "is missing, and a decimal needs it"),
        (&field("a = { type = 'decimal', precision = 8 }"), 5, "streams.heard.fields.a.scale", "is missing"),
        (
            &field("a = { type = 'decimal', precision = 8, scale = 9 }"),
            5,
            "streams.heard.fields.a.precision",
            "no more of them behind the point",
        ),
        (&field("a = { type = 'int', on_error = 'truncate' }"), 5, "streams.heard.fields.a.on_error", "only a string"),
        (
            &field("a = { type = 'int', required = true, on_error = 'null' }"),
            5,
            "streams.heard.fields.a.on_error",
            "cannot become null",
        ),
        (
            &field("a = { type = 'int', required = true, private = 'drop' }"),
            5,
            "streams.heard.fields.a.private",
            "cannot be dropped",
        ),
        (&field("a = { type = 'json', private = 'hash' }"), 5, "streams.heard.fields.a.private", "a JSON value cannot"),
        (&field("a = { type = 'uuid', private = 'hash' }"), 5, "streams.heard.fields.a.private", "there is no key"),
        ("[privacy]\nhash_key = 'short'", 5, "privacy.hash_key", "has 5 bytes, fewer than 16"),
    ]);
    let many = (0..513).map(|n| format!("f{n} = 'int'")).collect::<Vec<_>>().join("\n");
    broken(&[(&field(&many), 4, "streams.heard.fields", "513 fields are declared, more than 512")]);
}

#[test]
fn stored_needs_a_sink_that_is_required() {
    let stored = "[streams.heard]\nack = 'stored'\n";
    load_text(stored).unwrap();
    let optional = format!("[[sinks]]\nname = 'files'\nrequired = false\ndir = 'objects'\n{stored}");
    let problems = load_with(&optional, &[]).unwrap_err();
    assert_eq!(places(&problems), ["f.toml:6 streams.heard.ack"]);
    assert!(problems.to_string().contains("is \"stored\", and no sink is required"), "{problems}");
    load_with(&optional.replace("'stored'", "'memory'"), &[]).unwrap();
}

#[test]
fn rollups_count_columns_whose_values_can_be_told_apart() {
    let stream = "[streams.heard.fields]\nad_id = 'string'\nraw = 'json'\ngone = { type = 'int', private = 'drop' }\n";
    let rollup = |settings: &str| format!("{stream}[rollups.streams.heard]\n{settings}\n");
    load_text(&rollup("device = 'ad_id'\ndimensions = ['ad_id']")).unwrap();
    let many: Vec<_> = (0..17).map(|n| format!("f{n}")).collect();
    let fields: Vec<_> = many.iter().map(|field| format!("{field} = 'int'\n")).collect();
    let stream_of_many = format!("[streams.heard.fields]\n{}", fields.concat());
    let dimensions = format!("{stream_of_many}[rollups.streams.heard]\ndevice = 'f0'\ndimensions = {many:?}\n");
    broken(&[
        (&rollup("device = 'id'"), 9, "rollups.streams.heard.device", "is no declared field of heard"),
        (&rollup("device = 'raw'"), 9, "rollups.streams.heard.device", "is JSON"),
        (&rollup("device = 'gone'"), 9, "rollups.streams.heard.device", "is dropped"),
        (
            &rollup("device = 'ad_id'\ndimensions = ['ad_id', 'raw']"),
            10,
            "rollups.streams.heard.dimensions[1]",
            "is JSON",
        ),
        (
            &rollup("device = 'ad_id'\ndimensions = ['ad_id', 'ad_id']"),
            10,
            "rollups.streams.heard.dimensions[1]",
            "is \"ad_id\" once more, which would be counted twice",
        ),
        (&dimensions, 24, "rollups.streams.heard.dimensions", "has 17 fields, more than 16"),
        ("[rollups]\ntimezone = 'Asia/Soul'", 5, "rollups.timezone", "is no time zone"),
        ("[rollups]\ndays = 91", 5, "rollups.days", "not 1 to 90"),
    ]);
}
