//! The house has floors: a module imports what lies below it, and a foreign crate stays in the rooms made for it.
//!
//! What is read is the source, without comments, strings and tests. A test that a module imports another for does not
//! bind the two together.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "layering/paths.rs"]
mod paths;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use paths::paths;

/// Which modules each module may import, from the ground up: a row names rows above it only, so there is no circle.
/// Everything may import itself.
const FLOORS: [(&str, &[&str]); 28] = [
    // The domain, and what is pure.
    ("batch", &[]),
    ("metrics", &[]),
    ("gzip", &[]),
    ("version", &[]),
    ("schema", &["batch"]),
    // How AWS is asked, whatever for.
    ("aws", &[]),
    // Which streams are shed first is part of what they are.
    ("admission", &["schema"]),
    ("validate", &["batch", "schema"]),
    // A device knows of a server what any other client knows.
    ("client", &["batch"]),
    // A queued batch carries its byte reservation to its receipt.
    ("queue", &["admission", "batch"]),
    // The path of a batch: neither the spool nor a sink knows of HTTP, and HTTP knows of durability as a receipt only.
    ("spool", &["batch", "metrics", "queue"]),
    // A sink writes the books of what it stores.
    ("ledger", &["batch", "spool"]),
    ("sink", &["aws", "batch", "gzip", "ledger", "metrics", "schema", "spool"]),
    // What reads the objects: it knows their keys and their books.
    ("warehouse", &["aws", "batch", "ledger", "schema", "sink"]),
    ("http", &["admission", "batch", "metrics", "queue", "schema", "validate"]),
    // The configuration makes what others are told: schemas, the limits of validation, the settings of the spool; and what
    // the memory of sinks comes to. It does not know who starts with them.
    ("config", &["batch", "schema", "sink", "spool", "validate"]),
    // Fleets of devices: they know a server by its answers.
    ("rehearse", &["admission", "batch", "client", "schema"]),
    ("telemetry", &["config"]),
    // How the sockets of one process come to the next, and which spool.
    ("succession", &["config", "spool"]),
    ("notify", &[]),
    ("cli", &["version"]),
    ("signals", &[]),
    // The only wiring.
    (
        "app",
        &[
            "admission",
            "batch",
            "config",
            "http",
            "ledger",
            "metrics",
            "notify",
            "queue",
            "schema",
            "sink",
            "spool",
            "succession",
            "telemetry",
            "validate",
            "version",
            "warehouse",
        ],
    ),
    ("check", &["app", "config", "schema", "spool"]),
    ("commands", &["app", "batch", "check", "cli", "config", "metrics", "rehearse", "signals", "telemetry", "version"]),
    // A server and its successor.
    ("handover", &["app", "config", "metrics", "notify", "signals", "succession"]),
    ("serve", &["app", "commands", "config", "handover", "notify", "signals", "succession", "telemetry", "version"]),
    // The thin binary, a crate of its own, has no row to hold: it may import everything.
    ("main", &[]),
];

/// Where paths that begin like this may stand: below these files and directories of `src`.
const ROOMS: [(&[&str], &[&str], &str); 8] = [
    (&["axum"], &["http"], "what is served is http's business"),
    (
        &["aws_"],
        &["aws", "sink/s3", "sink/firehose", "warehouse/load/data_api"],
        "an SDK is the business of what asks with it",
    ),
    (&["std", "fs"], FILES, FILES_WHY),
    (&["std", "os", "unix", "fs"], FILES, FILES_WHY),
    (&["tokio", "fs"], FILES, FILES_WHY),
    (&["rustix", "fs"], FILES, FILES_WHY),
    (&["sd_notify"], &["notify"], "what a service manager is told stands in one place"),
    // Whoever reads the environment decides something that `check` cannot show.
    (&["std", "env"], &["config/environment"], "only the configuration reads the environment"),
];

/// Files of the data path, on the server and on a device; and the configuration's text, what the kernel tells of the
/// process, the reports of rehearsals, and the loader's certificates and metrics, which are none.
const FILES: &[&str] =
    &["spool/disk", "sink/file", "client/disk", "config/report", "app/pulse", "app/files", "rehearse/files"];
const FILES_WHY: &str = "file calls stand where faults can be injected, see spool::Disk";

/// A source file.
struct Source {
    /// Its modules, from the root of the crate: `["sink", "s3"]`.
    module: Vec<String>,
    text: String,
}

impl Source {
    fn new(module: &str, text: &str) -> Self {
        Self { module: module.split('/').map(Into::into).collect(), text: text.into() }
    }

    fn name(&self) -> String {
        self.module.join("/")
    }
}

/// Every source file of the crate that is not a test's. The build script, a crate of its own, is none.
fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut dirs = vec![src.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.file_stem().is_some_and(|stem| stem == "tests") {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && path != src.join("build.rs") {
                let module: PathBuf = path.strip_prefix(&src).unwrap().with_extension("");
                sources.push(Source::new(module.to_str().unwrap(), &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources
}

/// The modules at the root of the crate that `source` imports from.
fn imports(source: &Source) -> BTreeSet<String> {
    let mut imports = BTreeSet::new();
    for path in paths(&source.text) {
        let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
        let root = match path.segments[0].as_str() {
            "crate" => 1,
            "super" if supers == source.module.len() + path.depth => supers,
            _ => continue,
        };
        imports.insert(path.segments.get(root).cloned().unwrap_or_else(|| "*".into()));
    }
    imports.remove(&source.module[0]);
    imports
}

/// What `source` imports that its row does not grant.
fn forbidden_imports(source: &Source) -> Vec<String> {
    let Some((_, granted)) = FLOORS.iter().find(|(module, _)| *module == source.module[0]) else {
        return vec![format!("{} has no row in the table of tests/layering.rs", source.module[0])];
    };
    let refused = |import: &String| !granted.contains(&import.as_str());
    imports(source).into_iter().filter(refused).map(|import| format!("{} imports {import}", source.name())).collect()
}

/// What `source` names that belongs into another room.
fn strangers(source: &Source) -> Vec<String> {
    let name = source.name();
    let mut strangers = Vec::new();
    for path in paths(&source.text) {
        for (prefix, rooms, why) in ROOMS {
            let is_it = path.segments.len() >= prefix.len()
                && path.segments.iter().zip(prefix).all(|(segment, prefix)| {
                    segment == prefix || (prefix.ends_with('_') && segment.starts_with(prefix))
                });
            let room = |room: &&str| name == *room || name.starts_with(&format!("{room}/"));
            if is_it && !rooms.iter().any(room) {
                strangers.push(format!("{name} names {}: {why}", path.segments.join("::")));
            }
        }
    }
    strangers
}

#[test]
fn every_module_imports_only_what_lies_below_it() {
    let sources = sources();
    let found: Vec<_> = sources.iter().filter(|source| source.name() != "main").flat_map(forbidden_imports).collect();
    // The root of the library declares modules and nothing else, so that nothing can hide in it.
    let found: Vec<_> = found.into_iter().filter(|found| !found.starts_with("lib has no row")).collect();
    assert!(found.is_empty(), "{found:#?}");
    let root = sources.iter().find(|source| source.name() == "lib").unwrap();
    assert!(paths(&root.text).is_empty());
}

#[test]
fn every_foreign_crate_stays_in_its_rooms() {
    let sources = sources();
    let found: Vec<_> = sources.iter().flat_map(strangers).collect();
    assert!(found.is_empty(), "{found:#?}");
    for (prefix, rooms, _) in ROOMS {
        for room in rooms {
            assert!(sources.iter().any(|source| source.name().starts_with(room)), "{prefix:?}: there is no {room}");
        }
    }
}

#[test]
fn the_table_has_a_row_for_each_module_and_no_circle() {
    let modules: BTreeSet<String> =
        sources().into_iter().map(|source| source.module[0].clone()).filter(|module| module != "lib").collect();
    let rows: BTreeSet<String> = FLOORS.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(modules, rows);
    for (floor, (module, granted)) in FLOORS.iter().enumerate() {
        for below in *granted {
            assert!(FLOORS[..floor].iter().any(|(other, _)| other == below), "{module} stands below {below}");
        }
    }
}

#[test]
fn an_import_upwards_is_found_however_it_is_spelled() {
    for text in [
        "use crate::http::Service;",
        "use crate::{batch::Frame, http::{self, Service}};",
        "use crate::{\n    batch::{Frame, Millis},\n    http,\n};",
        "pub use crate::http as web;",
        "fn f() -> crate::http::Service { todo!() }",
        "fn f(x: &dyn Fn(crate::http::Service)) {}",
        "use super::super::http::Service;",
        "use super::{super::http::Service, Other};",
        "mod inner { use super::super::super::http::Service; }",
        "/* a /* nested */ comment */ use crate::http;",
        "const A: &str = \"//\"; const B: char = '\"'; use crate::http;",
        "#[cfg(test)]\nmod tests;\nuse crate::http;",
        "#[cfg(test)]\nuse crate::{batch, sink};\nuse crate::http;",
        "#[cfg(test)]\nmod tests { fn f() { { } } }\nuse crate::http;",
    ] {
        let source = Source::new("spool/writer", text);
        assert_eq!(forbidden_imports(&source), ["spool/writer imports http"], "{text}");
    }
    let everything = Source::new("spool/writer", "use crate::*;");
    assert_eq!(forbidden_imports(&everything), ["spool/writer imports *"]);
    let unknown = Source::new("attic/box", "");
    assert_eq!(forbidden_imports(&unknown), ["attic has no row in the table of tests/layering.rs"]);
}

#[test]
fn what_is_no_import_upwards_is_not_taken_for_one() {
    for text in [
        "use crate::{batch, metrics, queue, spool};",
        "use super::http::Service;",
        "use ::http::Request; use http::Response;",
        "// use crate::http;\n/// See [`crate::http`].\nfn f() {}",
        "const A: &str = \"crate::http\"; const B: &str = r#\"\"crate::http\"#; const C: &[u8] = b\"crate::http\\\"\";",
        "#[cfg(test)]\nmod tests {\n    use crate::http;\n    fn f<'a>(x: &'a str) -> char { '}' }\n}",
        "#[cfg(test)]\n#[path = \"x.rs\"]\nuse crate::http;",
        "pub(in crate::spool) fn f() {}",
    ] {
        let source = Source::new("spool/writer", text);
        assert_eq!(forbidden_imports(&source), [""; 0], "{text}");
    }
}

#[test]
fn a_stranger_is_found_in_the_wrong_room_only() {
    for (module, text, count) in [
        ("sink/file", "use axum::Router;", 1),
        ("http", "use axum::Router;", 0),
        ("http/admin", "use axum::{Router, routing::get};", 0),
        ("httpd", "fn f() -> ::axum::Router { todo!() }", 1),
        ("app", "use aws_config::SdkConfig;", 1),
        ("sink/s3/client", "use aws_sdk_s3::Client;", 0),
        ("spool/writer", "use std::{fs::File, io};", 1),
        ("spool/writer", "use std::fs;", 1),
        ("spool/writer", "fn f() { let _ = std::fs::read(\"x\"); }", 1),
        ("spool/writer", "use rustix::fs::flock; use tokio::fs::File; use std::os::unix::fs::FileExt;", 3),
        ("spool/writer", "#[cfg(test)] mod tests { use std::fs; }", 0),
        ("spool/disk", "use std::fs; use rustix::fs::flock;", 0),
        ("http/ingest", "fn f() { std::env::var(\"X\"); }", 1),
    ] {
        let found = strangers(&Source::new(module, text));
        assert_eq!(found.len(), count, "{module}: {text}: {found:?}");
    }
}
