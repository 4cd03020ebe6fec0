//! The configuration from its text: what loads, and what is told about what does not.

mod devices;
mod files;
mod firehose;
mod keys;
mod loads;
mod no_disk;
mod reload;
mod rules;
mod sinks;

use super::*;
use crate::schema;

const SINK: &str = "[[sinks]]\nname = 'files'\ndir = 'objects'\n";

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let source = Source::Text { name: "f.toml".to_owned(), text: text.to_owned() };
    load(source, variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// A stream, which a configuration needs unless it accepts undeclared ones.
const STREAM: &str = "\n[streams.any]\n";

/// Loads `text` between a sink and, if it has none, a stream, so that its lines count from 4.
fn load_text(text: &str) -> Result<Loaded, Problems> {
    let stream = if text.contains("streams.") { "" } else { STREAM };
    load_with(&format!("{SINK}{text}{stream}"), &[])
}

/// What `told` says of each problem: its place and setting, without the rest.
fn places(problems: &Problems) -> Vec<String> {
    problems.iter().map(|problem| format!("{} {}", problem.place, problem.setting)).collect()
}

#[test]
fn a_configuration_is_its_text_over_the_defaults() {
    let loaded = load_text("[spool]\ndisk_quota = '1.5GiB'\nseal_after = '1h 30m'\nseal_jitter = 1\n").unwrap();
    let any = ("any".to_owned(), DeclaredStream::default());
    let mut expected = Config {
        sinks: vec![Sink::file("files", "objects")],
        streams: [any].into_iter().collect(),
        ..Config::default()
    };
    expected.spool.disk_quota = Size::mib(1536);
    expected.spool.seal_after = Period::minutes(90);
    expected.spool.seal_jitter = 1.0;
    assert_eq!((loaded.config, loaded.source.as_str()), (expected, "f.toml"));
}

#[test]
fn a_declared_stream_becomes_its_schema_in_the_order_of_the_text() {
    let stream = "
        [privacy]
        hash_key = '0123456789abcdef'
        [streams.heard]
        ack = 'stored'
        time_field = 'at'
        unknown_fields = 'reject'
        [streams.heard.fields]
        zone = 'string'
        at = 'timestamp'
        ad = { type = 'string', max_bytes = 9, required = true, on_error = 'truncate' }
        price = { type = 'decimal', precision = 9, scale = 2, on_error = 'null' }
        who = { type = 'uuid', private = 'hash' }
        more = 'json'
        [streams.any]
    ";
    let streams = load_text(stream).unwrap().streams;
    let [heard, any] = &streams[..] else { panic!("{streams:?}") };
    assert_eq!((heard.name.as_str(), heard.ack, heard.schema.time_field()), ("heard", schema::Ack::Stored, Some(1)));
    assert_eq!(heard.schema.unknown(), schema::UnknownFields::Reject);
    let field = schema::Field::new;
    let expected = [
        field("zone", schema::FieldType::String { max_bytes: 256 }),
        field("at", schema::FieldType::Timestamp),
        schema::Field {
            required: true,
            on_error: schema::OnError::Truncate,
            ..field("ad", schema::FieldType::String { max_bytes: 9 })
        },
        schema::Field {
            on_error: schema::OnError::Null,
            ..field("price", schema::FieldType::Decimal { precision: 9, scale: 2 })
        },
        schema::Field { private: Some(schema::Private::Hash), ..field("who", schema::FieldType::Uuid) },
        field("more", schema::FieldType::Json { max_bytes: 65_535 }),
    ];
    assert_eq!(heard.schema.fields(), expected);
    assert_eq!((any.name.as_str(), any.schema.fields().len()), ("any", 0));
}

#[test]
fn a_sink_is_told_by_its_kind() {
    let sinks = "
        [[sinks]]
        name = 'lake'
        kind = 's3'
        prefix = 'a/b/'
        level = 6
        bucket = 'logs'
        endpoint = 'http://127.0.0.1:9000'
        sse = 'kms'
        kms_key = 'k'
    ";
    let config = load_text(sinks).unwrap().config;
    assert_eq!(config.sinks[0].target(), SinkTarget::File { dir: "objects".as_ref() });
    let target = S3Target {
        bucket: "logs",
        region: None,
        endpoint: Some("http://127.0.0.1:9000"),
        path_style: false,
        storage_class: None,
        sse: Sse::Kms,
        kms_key: Some("k"),
    };
    assert_eq!(config.sinks[1].target(), SinkTarget::S3(target));
    let settings = config.spool_settings();
    let places: Vec<_> = settings.destinations.iter().map(|d| (&*d.sink, &*d.place, &*d.prefix, d.level)).collect();
    assert_eq!(places, [("files", "objects", "", 1), ("lake", "logs", "a/b/", 6)]);
    assert_eq!((settings.segment_size, settings.seal_after.as_secs()), (64 << 20, 300));
}

#[test]
fn keys_open_the_streams_they_name_or_all() {
    let key = |streams: &[&str]| Key { streams: streams.iter().map(ToString::to_string).collect(), ..Key::default() };
    assert!(key(&[]).opens("heard") && key(&["seen", "heard"]).opens("heard") && !key(&["seen"]).opens("heard"));
}

#[test]
fn workers_are_as_many_as_cores_unless_told() {
    let mut config = Config::default();
    assert!(config.workers() >= 1);
    config.server.workers = 3;
    assert_eq!(config.workers(), 3);
}

#[test]
fn the_limits_of_validation_are_those_of_the_configuration() {
    let limits = Config::default().limits.validation();
    assert_eq!((limits.events, limits.event_bytes, limits.context_bytes), (10_000, 65_536, 16_384));
    assert_eq!((limits.nesting, limits.fields, limits.output_bytes), (32, 500, 16 << 20));
}

#[test]
fn unknown_settings_are_told_at_every_level_with_their_line_and_what_was_meant() {
    let text = "[spol]\n[spool]\ndisk_quotta = 1\ncolour = 'red'\n[[keys]]\nnmae = 'a'\n[streams.heard]\nacks = 'x'\n\
                [streams.heard.fields]\ncount = { type = 'int', requird = true }\n";
    let problems = load_text(text).unwrap_err();
    let told: Vec<_> = problems.iter().map(|problem| format!("{} {}", problem.place, problem.remedy)).collect();
    let settings = "`kind`, `dir`, `disk_quota`, `memory`, `window`, `segment_size`, `seal_after`, `seal_jitter`, `early_seal_interval`, \
                    `sync_interval`, `max_rate`";
    assert_eq!(
        told[..6],
        [
            "f.toml:4 did you mean `spool`?".to_owned(),
            "f.toml:6 did you mean `disk_quota`?".to_owned(),
            format!("f.toml:7 there is: {settings}"),
            "f.toml:8 set LOGWEIR__KEYS__0__KEY to the output of `openssl rand -hex 16`".to_owned(),
            "f.toml:9 did you mean `name`?".to_owned(),
            "f.toml:11 did you mean `ack`?".to_owned(),
        ]
    );
    assert_eq!(told[6..], ["f.toml:13 did you mean `required`?"]);
    assert!(problems.to_string().contains("f.toml:6: spool.disk_quotta is no setting\n  remedy: "), "{problems}");
}

#[test]
fn wrong_types_are_told_with_what_is_wanted() {
    for (text, told) in [
        ("[server]\nworkers = 'two'", "f.toml:5: server.workers is a string, not a whole number of 0 or more"),
        ("[server]\nworkers = -2", "f.toml:5: server.workers is -2, not a whole number of 0 or more"),
        ("[server]\nlisten = 'here'", "f.toml:5: server.listen cannot be read: invalid socket address syntax"),
        ("[server]\nlisten = 8080", "f.toml:5: server.listen is a whole number, not an address such as"),
        ("[spool]\nseal_after = '5 parsecs'", "f.toml:5: spool.seal_after is \"5 parsecs\", not a duration such as"),
        ("[spool]\nseal_after = 300", "f.toml:5: spool.seal_after is a whole number, not a duration such as \"30s\""),
        ("[spool]\nsegment_size = 'big'", "f.toml:5: spool.segment_size is \"big\", not a size such as \"64MiB\""),
        ("[spool]\nsegment_size = 0.5", "f.toml:5: spool.segment_size is a number, not a size such as \"64MiB\""),
        ("[spool]\ndir = 2026-11-22", "f.toml:5: spool.dir is a date, not a path in quotes"),
        ("[[spool]]", "f.toml:4: spool is a list, not a table"),
        (
            "[log]\nlevel = 'inof'",
            "f.toml:5: log.level is \"inof\", which it cannot be\n  remedy: did you mean `info`?",
        ),
        ("[log]\nlevel = 3", "f.toml:5: log.level is a whole number, not a string in quotes"),
        ("[streams.a]\nfields.b = 'number'", "f.toml:5: streams.a.fields.b is \"number\", which it cannot be"),
        ("[streams.a]\nfields.b = 3", "f.toml:5: streams.a.fields.b is a whole number, not a type such as \"int\""),
        ("[streams.a]\nfields.b = {}", "f.toml:5: streams.a.fields.b has no `type`"),
        (
            "[streams.a]\nfields.b = { type = 'string', max_bytes = -1 }",
            "f.toml:5: streams.a.fields.b.max_bytes is -1, not",
        ),
    ] {
        let problems = load_text(text).unwrap_err();
        assert!(problems.to_string().starts_with(told), "{problems}\n{told}");
        assert_eq!(problems.iter().count(), 1, "{problems}");
    }
}

#[test]
fn what_could_not_be_read_is_not_judged_by_the_rules() {
    let text = "[limits]\noutput = 'huge'\n[spool]\nsegment_size = '2MiB'\n[server]\nidle_timeout = '1s'\n";
    assert_eq!(places(&load_text(text).unwrap_err()), ["f.toml:5 limits.output", "f.toml:9 server.idle_timeout"]);
    let no_sinks = load_with(&format!("[[sinks]]\nname = 7\ndir = 'x'\n{STREAM}"), &[]).unwrap_err();
    assert_eq!(places(&no_sinks), ["f.toml:2 sinks[0].name"]);
}

#[test]
fn a_text_that_is_not_toml_is_told_with_all_its_lines() {
    let problems =
        load_with("[spool]\ndir = 'x'\ndir = 'y'\n[server]\nlisten = here\nworkers = 1_\n", &[]).unwrap_err();
    assert_eq!(places(&problems), ["f.toml:3 ", "f.toml:5 ", "f.toml:6 "]);
    assert!(problems.to_string().starts_with("f.toml:3: duplicate key\n  remedy: "), "{problems}");
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let problems = load(Source::File("/no/such/file.toml".into()), std::iter::empty()).unwrap_err();
    assert!(problems.to_string().starts_with("/no/such/file.toml: cannot be read: No such file"), "{problems}");
}

#[test]
fn variables_stand_before_the_file_in_every_shape() {
    let file = "[[sinks]]\nname = 'lake'\nkind = 's3'\nbucket = 'a'\n[streams.heard]\nack = 'spooled'\n";
    let Loaded { config, streams, .. } = load_with(
        file,
        &[
            ("LOGWEIR__SPOOL__DISK_QUOTA", "20GiB"),
            ("LOGWEIR__QUEUE__BYTES", "100000000"),
            ("LOGWEIR__SERVER__LISTEN", "0.0.0.0:80"),
            ("LOGWEIR__SPOOL__SEAL_JITTER", "0.5"),
            ("LOGWEIR__SERVER__WORKERS", "2"),
            ("LOGWEIR__LOG__LEVEL", "debug"),
            ("LOGWEIR_SPOOL_DIR", "not ours"),
            ("LOGWEIR__SINKS__0__BUCKET", "b"),
            ("LOGWEIR__SINKS__0__REQUIRED", "false"),
            ("LOGWEIR__SINKS__1", "{ name = 'files', dir = 'objects' }"),
            ("LOGWEIR__STREAMS__HEARD__ACK", "stored"),
            ("LOGWEIR__STREAMS__HEARD__FIELDS__COUNT", "int"),
            ("LOGWEIR__KEYS__0__NAME", "1"),
            ("LOGWEIR__KEYS__0__KEY", "1234567890123456"),
            ("LOGWEIR__KEYS__0__STREAMS", "['heard']"),
        ],
    )
    .unwrap();
    assert_eq!((config.spool.disk_quota, config.queue.bytes), (Size::gib(20), Size::bytes(100_000_000)));
    assert_eq!((config.workers(), config.log.level), (2, LogLevel::Debug));
    assert!((config.spool.seal_jitter - 0.5).abs() < f64::EPSILON);
    assert_eq!((config.sinks[0].bucket.as_deref(), config.sinks[0].required), (Some("b"), false));
    assert_eq!(config.sinks[1], Sink::file("files", "objects"));
    assert_eq!((config.keys[0].name.as_str(), config.keys[0].key.expose()), ("1", "1234567890123456"));
    assert_eq!(config.keys[0].streams, ["heard"]);
    assert_eq!((streams[0].ack, streams[0].schema.fields()[0].kind), (schema::Ack::Stored, schema::FieldType::Int));
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    for (name, value, told) in [
        ("LOGWEIR__SPOOL__DISK_QUOTA", "lots", " spool.disk_quota is \"lots\", not a size such as"),
        ("LOGWEIR__SPOOL__SEAL_AFTER", "300", " spool.seal_after is \"300\", not a duration such as"),
        ("LOGWEIR__SERVER__WORKERS", "two", " server.workers is a string, not a whole number"),
        ("LOGWEIR__SERVER__IDLE_TIMEOUT", "30s", " server.idle_timeout is 30s, not more than the 1m"),
        (
            "LOGWEIR__SPOOL__DISK_QUOTTA",
            "1GiB",
            " spool.disk_quotta is no setting\n  remedy: did you mean `LOGWEIR__SPOOL__DISK_QUOTA`?",
        ),
        (
            "LOGWEIR__SINKS__5__NAME",
            "x",
            " sinks is a list of 1, which the variable does not continue\n  remedy: name a place from 0 to 1: ",
        ),
        (
            "LOGWEIR__SINKS__0__DIR__X",
            "x",
            " sinks[0].dir is a string, and has no settings of its own\n  remedy: set LOGWEIR__SINKS__0__DIR as",
        ),
        ("LOGWEIR____X", "x", " has an empty step in its name"),
        ("LOGWEIR__QUEUE", "x", " queue is a string, not a table"),
        ("LOGWEIR__SPOOL", "x", " spool.kind is \"x\", which it cannot be"),
    ] {
        let problems = load_with(&format!("{SINK}{STREAM}"), &[(name, value)]).unwrap_err();
        let told = format!("environment variable {name}:{told}");
        assert!(problems.to_string().starts_with(&told), "{problems}\n{told}");
        assert_eq!(problems.iter().count(), 1, "{problems}");
    }
}

#[test]
fn no_secret_is_ever_printed() {
    const HUSH: &str = "hush-0123456789-hush";
    let sound =
        format!("[admin]\ntoken = '{HUSH}'\n[privacy]\nhash_key = '{HUSH}'\n[[keys]]\nname = 'a'\nkey = '{HUSH}'\n");
    let loaded = load_text(&sound).unwrap();
    let printed = format!("{loaded:?}{}", print_effective(&loaded.config));
    assert!(!printed.contains("hush") && printed.contains("key = \"***\""), "{printed}");

    let digits = "9876543210987654321";
    for text in [
        format!("[admin]\ntoken = {digits}\n[[keys]]\nname = 'a'\nkey = {digits}\n[privacy]\nhash_key = {digits}\n"),
        format!("[admin]\ntoken = ['{HUSH}']\n[privacy]\nhash_key = {{ a = '{HUSH}' }}\n[[keys]]\nkey = 0.{digits}\n"),
        format!("[admin]\ntoken = {HUSH}\n[privacy]\nhash_key = '{HUSH}\n[[keys]]\nkey = \"{HUSH}\\q\"\n"),
        "[admin]\ntoken = 'hush'\n[privacy]\nhash_key = 'hush'\n[[keys]]\nkey = 'hush'\n".to_owned(),
        format!("[[keys]]\nkey = '{HUSH}'\n[[keys]]\nkey = '{HUSH}'\n[[keys]]\nkey = '{HUSH} ü'\n"),
    ] {
        let problems = load_text(&text).unwrap_err();
        let printed = format!("{problems}{problems:?}");
        assert!(problems.iter().count() >= 3, "{problems}");
        assert!(!printed.contains("hush") && !printed.contains("98765"), "{printed}");
    }
    let variable = load_with(SINK, &[("LOGWEIR__ADMIN", HUSH), ("LOGWEIR__KEYS__0", HUSH)]).unwrap_err();
    assert!(!format!("{variable:?}").contains("hush"), "{variable}");
}

#[test]
fn what_is_in_effect_can_be_loaded_again() {
    let text = "
        [spool]
        disk_quota = '1.5GiB'
        [[sinks]]
        name = 'lake'
        kind = 's3'
        bucket = 'b'
        path_style = true
        [streams.heard]
        time_field = 'at'
        fields = { zone = 'string', at = 'timestamp' }
    ";
    let config = load_text(text).unwrap().config;
    let printed = print_effective(&config);
    assert_eq!(load_with(&printed, &[]).unwrap().config, config.in_force(), "{printed}");
}

proptest::proptest! {
    /// Whatever a file and the environment say, there is a configuration or there are problems.
    #[test]
    fn no_text_and_no_variable_breaks_the_loader(
        key in "(server|sinks|keys|streams)(\\.[a-z_]{1,8}){0,3}",
        value in "[0-9a-z'\"\\[\\]{}=, .]{0,20}",
        text in ".{0,40}",
        name in "(SPOOL|SINKS|KEYS|STREAMS)(__[A-Z0-2]{0,6}){0,4}",
    ) {
        let name = format!("LOGWEIR__{name}");
        for text in [format!("{key} = {value}\n"), text] {
            if let Err(problems) = load_with(&text, &[(&name, &value)]) {
                proptest::prop_assert!(problems.iter().count() > 0);
            }
        }
    }
}
