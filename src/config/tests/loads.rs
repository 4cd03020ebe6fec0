//! The rules about what loads a stream, and into what.

use super::{rules::broken, *};

const POSTGRES: &str =
    "[warehouse]\nkind = 'postgres'\nconnection = { host = 'localhost', database = 'd', user = 'u' }\n";
const REDSHIFT: &str =
    "[warehouse]\nkind = 'redshift'\niam_role = 'r'\nconnection = { host = 'localhost', database = 'd', user = 'u' }\n";
const LAKE: &str = "sink = 'lake'\n[[sinks]]\nname = 'lake'\nkind = 's3'\nbucket = 'b'\n";

/// A stream that `load` loads, with a field.
fn stream(name: &str, load: &str) -> String {
    format!("[streams.{name}]\nload = '{load}'\nfields = {{ a = 'int' }}\n")
}

#[test]
fn a_stream_is_loaded_into_a_warehouse_that_can() {
    let (loader, job) = (stream("heard", "loader"), stream("heard", "copy_job"));
    for text in [
        stream("heard", "none"),
        format!("{loader}{POSTGRES}"),
        format!("{loader}{REDSHIFT}{LAKE}"),
        format!("{job}{REDSHIFT}{LAKE}"),
    ] {
        load_text(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
    }
    broken(&[
        (&loader, 5, "streams.heard.load", "is \"loader\", and there is no warehouse to load into"),
        (&job, 5, "streams.heard.load", "is \"copy_job\", which only Redshift has"),
        (&format!("{job}{POSTGRES}"), 5, "streams.heard.load", "is \"copy_job\", which only Redshift has"),
    ]);
}

#[test]
fn a_stream_that_is_loaded_declares_columns_that_a_table_can_have() {
    let none = format!("[streams.heard]\nload = 'loader'\n{POSTGRES}");
    broken(&[(&none, 5, "streams.heard.load", "asks for a table, and the stream declares no fields")]);
    let field = |load: &str, field: &str| {
        format!("[streams.heard]\nload = '{load}'\n[streams.heard.fields]\n{field} = 'int'\n{POSTGRES}")
    };
    for name in ["load_id", "found_at", "xmin", "oid"] {
        let setting = format!("streams.heard.fields.{name}");
        broken(&[(&field("loader", name), 7, &setting, "is a ")]);
        load_text(&field("none", name)).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    }
}

#[test]
fn no_two_tables_have_one_name_if_one_of_them_is_loaded() {
    let both =
        |one: &str, other: &str, name: &str| format!("{}{}{POSTGRES}", stream("heard", one), stream(name, other));
    for suffix in schema::TABLE_SUFFIXES {
        let name = format!("heard{suffix}");
        let setting = format!("streams.{name}");
        for (one, other) in [("loader", "none"), ("none", "loader"), ("loader", "loader")] {
            broken(&[(&both(one, other, &name), 7, &setting, "has the name of a table of the stream heard")]);
        }
        load_text(&both("none", "none", &name)).unwrap_or_else(|problems| panic!("{problems}"));
    }
    for name in schema::KEPT_TABLES.into_iter().chain(["logweir_ledger", "logweir_anything"]) {
        let setting = format!("streams.{name}");
        broken(&[(
            &both("none", "loader", name),
            7,
            &setting,
            "has the name of a table that logweir keeps for itself",
        )]);
        load_text(&both("loader", "none", name)).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn the_sink_that_is_loaded_from_is_one_that_the_warehouse_can_read() {
    let sink = |name: &str| format!("[warehouse]\nsink = '{name}'\n");
    load_text(&sink("files")).unwrap();
    broken(&[(&sink("fils"), 5, "warehouse.sink", "is \"fils\", which no sink is named")]);
    let near = load_text(&sink("fils")).unwrap_err();
    assert!(near.to_string().contains("did you mean `files`?"), "{near}");
    // Nothing is loaded from it yet.
    load_text(&format!("{REDSHIFT}{}", stream("heard", "none"))).unwrap();
    let loaded = stream("heard", "loader");
    let unnamed = load_text(&format!("{loaded}{REDSHIFT}")).unwrap_err();
    assert_eq!(places(&unnamed), ["f.toml:8 warehouse.sink"], "{unnamed}");
    assert!(unnamed.to_string().contains("is files, a directory, and Redshift reads buckets"), "{unnamed}");
    broken(&[(&format!("{loaded}{REDSHIFT}sink = 'files'\n"), 11, "warehouse.sink", "is files, a directory")]);
    // What heartbeats call complete, a sink that is not required may lack.
    let optional = "[[sinks]]\nname = 'copy'\nkind = 's3'\nbucket = 'b'\nrequired = false\n";
    let from = |load: &str| format!("{}{REDSHIFT}sink = 'copy'\n{optional}", stream("heard", load));
    let problems = load_text(&from("loader")).unwrap_err();
    assert_eq!(places(&problems), ["f.toml:11 warehouse.sink"], "{problems}");
    assert!(problems.to_string().contains("is copy, which is not required: "), "{problems}");
    load_text(&from("copy_job")).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn names_that_postgresql_would_cut_are_refused_where_it_is_loaded() {
    let stream = |name: &str, load: &str, field: &str| {
        format!("[streams.{name}]\nload = '{load}'\n[streams.{name}.fields]\n{field} = 'int'\n")
    };
    let (long, field) = ("s".repeat(54), "f".repeat(64));
    let postgres = |text: &str| format!("{text}{POSTGRES}");
    load_text(&postgres(&stream(&long[1..], "loader", &field[1..]))).unwrap_or_else(|problems| panic!("{problems}"));
    load_text(&postgres(&stream(&long, "none", &field))).unwrap_or_else(|problems| panic!("{problems}"));
    load_text(&format!("{}{REDSHIFT}{LAKE}", stream(&long, "loader", &field)))
        .unwrap_or_else(|problems| panic!("{problems}"));
    let places = |text: &str| places(&load_text(text).unwrap_err()).concat();
    assert!(places(&postgres(&stream(&long, "loader", "a"))).ends_with(&format!(" streams.{long}")));
    assert!(places(&postgres(&stream("heard", "loader", &field))).ends_with(&format!(" streams.heard.fields.{field}")));
    let schema = format!("{}{POSTGRES}schema = '{}'\n", stream("heard", "loader", "a"), "w".repeat(56));
    assert!(places(&schema).ends_with(" warehouse.schema"));
    load_text(&schema.replace("'w", "'")).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn what_a_copy_job_loads_is_not_counted() {
    let counted = |load: &str, warehouse: &str| {
        format!("{}{warehouse}[rollups.streams.heard]\ndevice = 'a'\n", stream("heard", load))
    };
    let lake = format!("{REDSHIFT}{LAKE}");
    for text in [counted("loader", POSTGRES), counted("loader", &lake), counted("none", "")] {
        load_text(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
    }
    let problems = load_text(&counted("copy_job", &lake)).unwrap_err();
    let places = places(&problems).concat();
    assert!(places.ends_with(" rollups.streams.heard"), "{places}");
}
