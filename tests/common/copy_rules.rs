//! What Redshift's COPY, Athena's JSON `SerDe`, Spark and `DuckDB` all take: a strict reader of stored objects.
//!
//! Written from the vendors' rules, not from the code that writes the lines, so that the two can disagree. What is
//! declared is read from a configuration's text, not from what the crate made of it.

#![allow(dead_code, reason = "not every crate of tests asks for everything")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    io::{self, Read},
    marker::PhantomData,
    path::Path,
    thread,
};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

/// Redshift: a JSON object has at most 4 MB, and `|` counts twice.
const MAX_OBJECT_BYTES: usize = 4 * 1024 * 1024;
/// Redshift: a SUPER nests at most 1,000 deep.
const MAX_NESTING: usize = 1_000;
/// Redshift's names of columns have at most 127 bytes.
const MAX_COLUMN_BYTES: usize = 127;
/// How a zstd frame begins.
const FRAME_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// The largest object that is read, in bytes of its lines.
const MAX_TEXT_BYTES: u64 = 1024 * 1024 * 1024;
/// How much of a tree is read, in bytes of lines: what tests store beyond it is more of the same.
const MAX_TREE_BYTES: usize = 32 * 1024 * 1024;
/// What the server writes on a line: whether it has to be there.
const SERVER: [(&str, bool); 5] =
    [("event_id", true), ("event_time", true), ("received_at", true), ("batch_id", false), ("client_time", false)];

/// A line's members, in their order.
pub(crate) struct Line(pub(crate) Vec<(String, Value)>);

impl Line {
    /// The value under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}

/// A line's members, in their order, however often each comes.
struct Members<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Members<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// A column as a configuration declares it.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    kind: String,
    max_bytes: usize,
    digits: (usize, usize),
    required: bool,
    private: Option<String>,
}

/// What a configuration declares of a stream.
#[derive(Debug, Clone, PartialEq, Default)]
struct Declared {
    columns: BTreeMap<String, Column>,
    /// What becomes of other fields.
    unknown: String,
}

/// What a configuration declares, by stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schemas(BTreeMap<String, Declared>);

impl Schemas {
    /// Those of the configuration `text`; none if it is no TOML.
    pub(crate) fn of(text: &str) -> Self {
        let table: toml::Table = text.parse().unwrap_or_default();
        let streams = table.get("streams").and_then(toml::Value::as_table);
        let streams = streams.into_iter().flatten().filter(|(_, stream)| stream.get("fields").is_some());
        Self(streams.map(|(name, stream)| (name.clone(), Declared::of(stream))).collect())
    }

    /// Takes over what `other` declares; a stream that both declare, and otherwise, is held to nothing.
    fn merge(&mut self, other: Self) {
        for (name, declared) in other.0 {
            let known = self.0.entry(name).or_insert_with(|| declared.clone());
            if *known != declared {
                *known = Declared { columns: BTreeMap::new(), unknown: "keep".into() };
            }
        }
    }
}

impl Declared {
    fn of(stream: &toml::Value) -> Self {
        let text = |value: &toml::Value, key: &str| value.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        let number = |value: &toml::Value, key: &str| {
            value.get(key).and_then(toml::Value::as_integer).and_then(|number| usize::try_from(number).ok())
        };
        let fields = stream.get("fields").and_then(toml::Value::as_table).into_iter().flatten();
        let columns: BTreeMap<String, Column> = fields
            .map(|(name, field)| {
                let kind = field.as_str().map(str::to_owned).or_else(|| text(field, "type")).unwrap_or_default();
                let default = if kind == "string" { 256 } else { 65_535 };
                let column = Column {
                    max_bytes: number(field, "max_bytes").unwrap_or(default),
                    digits: (
                        number(field, "precision").unwrap_or(MAX_OBJECT_BYTES),
                        number(field, "scale").unwrap_or(MAX_OBJECT_BYTES / 2),
                    ),
                    required: field.get("required").and_then(toml::Value::as_bool).unwrap_or_default(),
                    private: text(field, "private"),
                    kind,
                };
                (name.clone(), column)
            })
            .collect();
        let default = if columns.is_empty() { "keep" } else { "collect" };
        Self { unknown: text(stream, "unknown_fields").unwrap_or_else(|| default.into()), columns }
    }

    /// Holds the members of a line to what is declared.
    fn check(&self, line: &[u8], values: &Line) -> Result<(), String> {
        // What a value is long is told by how it is written.
        let Members::<&RawValue>(members) = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        for (name, column) in &self.columns {
            match values.get(name) {
                None | Some(Value::Null) if column.required => return Err(format!("no {name}, which is required")),
                Some(_) if column.private.as_deref() == Some("drop") => return Err(format!("{name} is to be dropped")),
                None | Some(Value::Null) => {}
                Some(value) => {
                    let raw = members.iter().find(|(key, _)| key == name).map_or("", |(_, raw)| raw.get());
                    column.check(value, raw).map_err(|rule| format!("{name}: {rule}"))?;
                }
            }
        }
        for (key, raw) in &members {
            let known = self.columns.contains_key(key) || SERVER.iter().any(|(name, _)| name == key);
            match (known, self.unknown.as_str()) {
                (true, _) | (false, "keep") => {}
                (false, "collect") if key == "extra" && raw.get().len() <= 65_535 => {}
                (false, _) => return Err(format!("{key} is not declared, or is too long")),
            }
        }
        Ok(())
    }
}

impl Column {
    fn check(&self, value: &Value, raw: &str) -> Result<(), String> {
        let text = value.as_str();
        let holds = match self.kind.as_str() {
            _ if self.private.as_deref() == Some("hash") => text.is_some_and(|text| text.len() == 64 && is_hex(text)),
            "string" => text.is_some_and(|text| text.len() <= self.max_bytes),
            "int" => value.is_i64(),
            "double" => value.is_number(),
            "bool" => value.is_boolean(),
            "timestamp" => text.is_some_and(is_canonical_instant),
            "date" => text.is_some_and(is_date),
            "uuid" => text.is_some_and(is_uuid),
            "decimal" => text.is_some_and(|text| is_decimal(text, self.digits)),
            "json" => raw.len() <= self.max_bytes,
            other => return Err(format!("a type {other:?}, which these rules do not know")),
        };
        if holds { Ok(()) } else { Err(format!("{raw:.200} is no {}", self.kind)) }
    }
}

/// Reads one stored line, without its line feed, and says which rule it breaks. The server's own fields have to be there.
pub(crate) fn read_line(line: &[u8]) -> Result<Line, String> {
    let values = any_line(line)?;
    server_fields(&values)?;
    Ok(values)
}

/// Reads one stored line of a stream that is declared as `schemas` say.
pub(crate) fn read_declared_line(line: &[u8], stream: &str, schemas: &Schemas) -> Result<Line, String> {
    let values = any_line(line)?;
    server_fields(&values)?;
    if let Some(declared) = schemas.0.get(stream) {
        declared.check(line, &values)?;
    }
    Ok(values)
}

/// What every line is held to, whoever wrote it.
fn any_line(line: &[u8]) -> Result<Line, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
    if text.is_empty() {
        return Err("an empty line".into());
    }
    if b"\n\r\0".iter().any(|byte| line.contains(byte)) {
        return Err("a line break or NUL within the line".into());
    }
    // Most lines are so short that nobody needs to count.
    if text.len() * 2 >= MAX_OBJECT_BYTES && text.len() + text.matches('|').count() >= MAX_OBJECT_BYTES {
        return Err(format!("{} bytes are too many", text.len()));
    }
    // serde_json refuses lone surrogates and numbers beyond a double by itself, and nests less deep than is allowed.
    let Members(values) = serde_json::from_str::<Members<Value>>(text).map_err(|error| {
        // The line's own object is no part of any column's value.
        if nesting(text) > MAX_NESTING + 1 { "nested too deep".to_owned() } else { format!("{error} in {text:.200}") }
    })?;
    let mut keys = BTreeSet::new();
    for (key, value) in &values {
        if *key != key.to_lowercase() {
            return Err(format!("key {key:?} is not in lower case"));
        }
        if key.len() > MAX_COLUMN_BYTES {
            return Err(format!("key {key:?} is too long for a column"));
        }
        if !keys.insert(key) {
            return Err(format!("key {key:?} comes twice"));
        }
        if key.contains('\0') {
            return Err(format!("key {key:?} contains NUL"));
        }
        no_nul(value)?;
    }
    Ok(Line(values))
}

fn server_fields(line: &Line) -> Result<(), String> {
    for (key, required) in SERVER {
        match line.get(key) {
            None if required => return Err(format!("no {key}")),
            None => {}
            Some(Value::String(text)) if ["event_id", "batch_id"].contains(&key) && (1..=128).contains(&text.len()) => {
            }
            Some(other) if ["event_id", "batch_id"].contains(&key) => return Err(format!("{key} is {other}")),
            Some(Value::String(text)) if is_canonical_instant(text) => {}
            Some(other) => return Err(format!("{key} is {other}")),
        }
    }
    Ok(())
}

fn no_nul(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains('\0') => Err(format!("NUL in {text:?}")),
        Value::Array(items) => items.iter().try_for_each(no_nul),
        Value::Object(members) => members.iter().try_for_each(|(key, member)| {
            if key.contains('\0') { Err(format!("NUL in key {key:?}")) } else { no_nul(member) }
        }),
        _ => Ok(()),
    }
}

/// How deep objects and arrays nest in `text`.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut within_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if within_string => escaped = true,
            b'"' => within_string = !within_string,
            b'{' | b'[' if !within_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !within_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The lines of an object: of exactly one gzip member or one zstd frame, each with its line feed.
pub(crate) fn lines(object: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = if object.starts_with(&FRAME_MAGIC) { in_frame(object)? } else { in_member(object)? };
    if text.pop() != Some(b'\n') {
        return Err("it does not end with a line".into());
    }
    Ok(text)
}

fn in_member(object: &[u8]) -> Result<Vec<u8>, String> {
    let mut member = flate2::bufread::GzDecoder::new(object);
    let mut text = Vec::new();
    io::copy(&mut (&mut member).take(MAX_TEXT_BYTES), &mut text).map_err(|error| format!("no gzip: {error}"))?;
    let behind = member.into_inner().len();
    if behind > 0 { Err(format!("{behind} bytes behind the first gzip member")) } else { Ok(text) }
}

/// The text of exactly one frame, which tells its length and ends in a checksum.
fn in_frame(object: &[u8]) -> Result<Vec<u8>, String> {
    use zstd::zstd_safe::{find_frame_compressed_size, get_error_name, get_frame_content_size};
    /// The bit of the frame's descriptor that tells of a checksum (RFC 8878, section 3.1.1.1.1).
    const HAS_CHECKSUM: u8 = 1 << 2;
    let frame = find_frame_compressed_size(object).map_err(|code| format!("no frame: {}", get_error_name(code)))?;
    if frame < object.len() {
        return Err(format!("{} bytes behind the first zstd frame", object.len() - frame));
    }
    let told = get_frame_content_size(object).ok().flatten().ok_or("the frame does not tell the length of its text")?;
    if object.get(FRAME_MAGIC.len()).is_none_or(|descriptor| descriptor & HAS_CHECKSUM == 0) {
        return Err("the frame has no checksum".into());
    }
    let mut text = Vec::new();
    let mut decoder = zstd::Decoder::with_buffer(object).map_err(|error| format!("no frame: {error}"))?.single_frame();
    io::copy(&mut (&mut decoder).take(MAX_TEXT_BYTES), &mut text).map_err(|error| format!("no frame: {error}"))?;
    if text.len() as u64 != told {
        return Err(format!("the frame tells of {told} bytes and has {}", text.len()));
    }
    Ok(text)
}

/// Holds an object to the rules of COPY: its length in bytes of lines. Lines that a server wrote (those with
/// `received_at`) have the server's fields, and if they were accepted, those that are declared.
fn check_object(object: &[u8], stream: Option<&str>, schemas: &Schemas) -> Result<usize, String> {
    let text = lines(object)?;
    check_declared_lines(&text, stream, schemas)?;
    Ok(text.len())
}

fn check_declared_lines(text: &[u8], stream: Option<&str>, schemas: &Schemas) -> Result<(), String> {
    for line in text.split(|byte| *byte == b'\n') {
        let values = any_line(line)?;
        if values.get("received_at").is_some() {
            server_fields(&values)?;
            if let Some(declared) = stream.and_then(|stream| schemas.0.get(stream)) {
                declared.check(line, &values)?;
            }
        }
    }
    Ok(())
}

/// Holds lines, without the last line feed, to the rules of COPY.
pub(crate) fn check_lines(text: &[u8]) -> Result<(), String> {
    check_declared_lines(text, None, &Schemas::default())
}

/// Holds an object that stands by itself to the rules of COPY.
pub(crate) fn check(object: &[u8]) -> Result<(), String> {
    check_object(object, None, &Schemas::default()).map(drop)
}

/// Holds every object below `root` to the rules of COPY, and to what the configurations (`*.toml`) directly in `root`
/// declare: unless the thread panics already, it does if one breaks a rule. Objects are told by their keys; the books are
/// none, nor is what has no name yet.
pub(crate) fn check_tree(root: &Path) {
    if thread::panicking() {
        return;
    }
    let mut schemas = Schemas::default();
    let (mut dirs, mut left) = (vec![root.to_owned()], MAX_TREE_BYTES);
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_str().unwrap_or_default();
            if path.is_dir() {
                dirs.extend(Some(path.clone()).filter(|_| !["_ledger", ".tmp"].contains(&name)));
            } else if dir == root && path.extension().is_some_and(|extension| extension == "toml") {
                schemas.merge(Schemas::of(&fs::read_to_string(&path).unwrap_or_default()));
            } else if left > 0
                && let Some((stream, rejected)) = stream_of(&path)
            {
                let object = fs::read(&path).unwrap();
                let bytes = check_object(&object, Some(stream).filter(|_| !rejected), &schemas);
                left = left.saturating_sub(bytes.unwrap_or_else(|rule| panic!("{}: {rule}", path.display())));
            }
        }
    }
}

/// Of an object's path, whose stream it is, and whether its events were rejected; `None` if it is no object's.
fn stream_of(path: &Path) -> Option<(&str, bool)> {
    let mut parts = path.to_str()?.rsplit('/');
    let (name, hour, day, stream) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_object = [".ndjson.gz", ".ndjson.zst"].iter().any(|it| name.ends_with(it))
        && hour.starts_with("hour=")
        && day.starts_with("dt=");
    is_object.then_some((stream, parts.next() == Some("_rejected")))
}

/// `2026-11-22T09:00:00.123Z`: what TIMEFORMAT 'auto' reads without losing the zone.
pub(crate) fn is_canonical_instant(text: &str) -> bool {
    let within = |place, most: &str| text.get(place).is_some_and(|part| part <= most);
    is_like(text, "dddd-dd-ddTdd:dd:dd.dddZ")
        && text.get(..10).is_some_and(is_date)
        && within(11..13, "23")
        && within(14..16, "59")
        && within(17..19, "59")
}

/// `2026-11-22`, a day that there is.
fn is_date(text: &str) -> bool {
    if !is_like(text, "dddd-dd-dd") {
        return false;
    }
    let number = |place| text.get(place).and_then(|part: &str| part.parse::<u32>().ok()).unwrap_or_default();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year > 0 && (1..=days).contains(&day)
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|part| is_hex(part))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A decimal number of `precision` digits in all, `scale` of them behind the point.
fn is_decimal(text: &str, (precision, scale): (usize, usize)) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    are_digits(whole)
        && are_digits(fraction)
        && whole.trim_start_matches('0').len() <= precision - scale
        && fraction.trim_end_matches('0').len() <= scale
}

/// Whether `text` is `form`, where `d` stands for any digit.
fn is_like(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text
            .bytes()
            .zip(form.bytes())
            .all(|(byte, form)| if form == b'd' { byte.is_ascii_digit() } else { byte == form })
}
