//! `config/logweir.toml` and `config/default.toml` say what the code does.

use std::collections::BTreeSet;

use super::*;

const REFERENCE: &str = include_str!("../../../config/logweir.toml");

/// The file with its examples: lines that begin with `#` and no space.
pub(super) fn with_examples() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => example,
        _ => line,
    };
    REFERENCE.lines().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn load_examples() -> Loaded {
    let variables =
        [("LOGWEIR__PRIVACY__HASH_KEY", "an example of a secret"), ("LOGWEIR__KEYS_FILE", "config/keys.toml")];
    load_with(&with_examples(), &variables).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The settings of a TOML text, without the places in lists and the names that users choose.
fn settings(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let table: toml::Table = toml::from_str(text).unwrap();
    collect(&toml::Value::Table(table), "", &mut found);
    found
}

fn collect(value: &toml::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            let named = path.ends_with("streams") || path.ends_with("fields");
            for (key, value) in table {
                collect(value, &format!("{path}.{}", if named { "NAME" } else { key }), found);
            }
        }
        toml::Value::Array(elements) if elements.iter().any(toml::Value::is_table) => {
            for element in elements {
                collect(element, path, found);
            }
        }
        // A bare type is short for a table with one.
        toml::Value::String(_) if path.ends_with(".fields.NAME") => drop(found.insert(format!("{path}.type"))),
        _ => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn the_reference_is_the_default_with_one_sink_and_one_stream() {
    let loaded = load_with(REFERENCE, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let heard = ("heard".to_owned(), DeclaredStream::default());
    let expected = Config {
        sinks: vec![Sink::file("files", "./data/objects")],
        streams: [heard].into_iter().collect(),
        ..Config::default()
    };
    assert_eq!(loaded.config, expected);
}

#[test]
fn the_active_lines_of_the_reference_are_all_settings_in_the_order_in_which_they_are_printed() {
    let config = load_with(REFERENCE, &[]).unwrap().config;
    let keys = |text: &str| -> Vec<String> {
        let key = |line: &str| line.split(" = ").next().unwrap_or(line).to_owned();
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(key).collect()
    };
    assert_eq!(keys(&print_written(&config)), keys(REFERENCE));
}

#[test]
fn every_setting_that_exists_stands_in_the_reference() {
    let field = DeclaredField {
        max_bytes: Some(1),
        precision: Some(1),
        scale: Some(1),
        private: Some(schema::Private::Drop),
        ..DeclaredField::new(FieldKind::Decimal)
    };
    let stream = DeclaredStream {
        time_field: Some(String::new()),
        unknown_fields: Some(schema::UnknownFields::Keep),
        fields: [("f".to_owned(), field)].into_iter().collect(),
        ..DeclaredStream::default()
    };
    let every = Config {
        sinks: vec![Sink {
            dir: Some(PathBuf::new()),
            region: Some(String::new()),
            endpoint: Some(String::new()),
            path_style: Some(true),
            storage_class: Some(String::new()),
            sse: Some(Sse::Kms),
            kms_key: Some(String::new()),
            max_lag_bytes: Some(Size::default()),
            max_lag_age: Some(Period::default()),
            memory: Some(Size::default()),
            prefix: "p/".to_owned(),
            codec: Some(Codec::Zstd),
            level: Some(1),
            object_size: Some(Size::default()),
            delivery_stream: Some(String::new()),
            rejected_stream: Some(String::new()),
            packing: Some(Packing::Single),
            linger: Some(Period::default()),
            undelivered: Some(String::new()),
            into_redshift: Some(true),
            delivery_streams: [("s".to_owned(), String::new())].into_iter().collect(),
            ..Sink::s3("s", "b")
        }],
        hints: Hints { send_interval: Some(Period::seconds(60)), sampling: Some(0.1) },
        keys_file: Some(PathBuf::new()),
        keys: vec![Key { key: Secret::new("k"), key_hash: Secret::new("h"), ..Key::default() }],
        mute: vec![Mute {
            key: Some(String::new()),
            stream: Some(String::new()),
            sdk: Some(String::new()),
            devices: Some(0.25),
            ..Mute::default()
        }],
        streams: [("s".to_owned(), stream)].into_iter().collect(),
        warehouse: every_setting_of_a_warehouse(),
        rollups: Rollups {
            streams: [("s".to_owned(), Rollup { device: String::new(), dimensions: vec![String::new()] })]
                .into_iter()
                .collect(),
            export: Connection { ca_file: Some(PathBuf::new()), ..Connection::default() },
            ..Rollups::default()
        },
        ..Config::default()
    };
    assert_eq!(settings(&print_effective(&every)), settings(&with_examples()));
}

fn every_setting_of_a_warehouse() -> Warehouse {
    let text = || Some(String::new());
    Warehouse {
        sink: text(),
        metrics_file: Some(PathBuf::new()),
        connection: Connection { ca_file: Some(PathBuf::new()), ..Connection::default() },
        api: Some(RedshiftApi::Data),
        iam_role: text(),
        region: text(),
        workgroup: text(),
        cluster: text(),
        database: text(),
        secret_arn: text(),
        endpoint: text(),
        ..Warehouse::default()
    }
}

#[test]
fn the_examples_of_the_reference_load() {
    let Loaded { config, streams, .. } = load_examples();
    let kinds: Vec<_> = config.sinks.iter().map(|sink| sink.kind).collect();
    assert_eq!(kinds, [SinkKind::File, SinkKind::S3, SinkKind::Firehose]);
    assert_eq!(config.keys.iter().map(|key| key.browser).collect::<Vec<_>>(), [false, true]);
    let types: BTreeSet<_> =
        streams[0].schema.fields().iter().map(|field| format!("{:?}", std::mem::discriminant(&field.kind))).collect();
    assert_eq!(types.len(), 9, "a field of every type");
    assert_eq!(config.keys_of_file.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["sdk-ios"]);
    assert_eq!(load_with(&print_effective_with_secrets(&config), &[]).unwrap().config.streams, config.streams);
}

/// What is printed, with secrets that are long enough to be read again.
fn print_effective_with_secrets(config: &Config) -> String {
    let mut count = 0;
    let lines = print_effective(config)
        .lines()
        .map(|line| {
            count += 1;
            let hash = key_hash(&count.to_string());
            line.replace("key_hash = \"***\"", &format!("key_hash = \"{hash}\""))
                .replace("***", &format!("a-secret-of-sixteen-bytes-{count}"))
        })
        .collect::<Vec<_>>();
    lines.join("\n")
}

#[test]
fn the_reference_tells_what_sinks_take_of_the_memory() {
    let unit = crate::sink::LineSettings::unit_bytes(crate::sink::FirehoseSink::CALL_LINE_BYTES);
    let (object, call) = (Sink::file("files", "x").least_memory(), Size::bytes(unit as u64));
    for told in [format!("take: {object} for an object with gzip"), format!("for Firehose {call} for a\n# call")] {
        assert!(REFERENCE.contains(&told), "nothing of {told}");
    }
    assert_eq!(Sink::firehose("hose", "x").least_memory(), Size::bytes(2 * unit as u64), "one call, and once more");
}

#[test]
fn examples_use_every_setting_otherwise_than_prose() {
    let example = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    for line in REFERENCE.lines().filter(example) {
        let setting = line == "#" || line.starts_with("#[") || line.contains(" = ");
        assert!(setting, "{line:?} is neither a setting nor prose");
    }
    for line in REFERENCE.lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
}

#[test]
fn the_embedded_default_serves_this_machine_alone_and_takes_every_stream() {
    let Loaded { config, streams, source, .. } =
        load(Source::Embedded, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((streams.len(), source.as_str()), (0, "the embedded default"));
    assert_eq!(config.ingest.undeclared_streams, UndeclaredStreams::Accept);
    assert_eq!(config.sinks, [Sink::file("files", "./data/objects")]);
    assert!(config.server.listen.ip().is_loopback() && config.admin.listen.ip().is_loopback());
    assert_eq!((config.server.listen.port(), config.admin.listen.port()), (8080, 9090));
    assert_eq!((config.spool.seal_after, config.drain.linger), (Period::seconds(10), Period::default()));
    assert!(config.spool.seal_jitter.abs() < f64::EPSILON);
}
