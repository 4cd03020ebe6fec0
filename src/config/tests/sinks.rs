//! The rules of sinks beyond their places: what they take, on which terms, in which form, and with how much memory.

use super::{rules::broken, *};
use crate::spool::{MaxLag, Need, Start, Terms};

/// A second sink behind [`SINK`], whose settings begin at line 6.
pub(super) fn second(more: &str) -> String {
    format!("[[sinks]]\nname = 'b'\n{more}\n")
}

fn best_effort(more: &str) -> String {
    second(&format!("dir = 'other'\nrequired = false\n{more}"))
}

pub(super) fn hose(more: &str) -> String {
    second(&format!("kind = 'firehose'\n{more}"))
}

/// Loads `text`, whose lines count from 1.
pub(super) fn load_whole(text: &str) -> Result<Loaded, Problems> {
    load_with(text, &[])
}

/// What is told of `text`, whose lines count from 1: one problem.
pub(super) fn told(text: &str) -> String {
    let Err(problems) = load_whole(text) else { panic!("{text} is taken") };
    assert_eq!(problems.iter().count(), 1, "{text}\n{problems}");
    problems.to_string()
}

#[test]
fn settings_of_one_family_are_refused_for_the_other() {
    for setting in ["prefix = 'a/'", "codec = 'zstd'", "level = 3", "object_size = '1MiB'"] {
        let key = format!("sinks[1].{}", setting.split(' ').next().unwrap());
        let text = hose(&format!("delivery_stream = 'x'\n{setting}"));
        broken(&[(&text, 8, &key, "is a setting of kind \"file\" or \"s3\", and this sink is of kind \"firehose\"")]);
    }
    for setting in [
        "delivery_stream = 'x'",
        "delivery_streams = { any = 'x' }",
        "rejected_stream = 'x'",
        "packing = 'lines'",
        "linger = '1s'",
        "undelivered = 'files'",
        "into_redshift = true",
    ] {
        let key = format!("sinks[1].{}", setting.split(' ').next().unwrap());
        let text = second(&format!("dir = 'other'\n{setting}"));
        broken(&[(&text, 7, &key, "is a setting of kind \"firehose\", and this sink is of kind \"file\"")]);
    }
    let region = second("dir = 'other'\nregion = 'x'");
    broken(&[(&region, 7, "sinks[1].region", "is a setting of kind \"s3\" or \"firehose\"")]);
}

#[test]
fn a_codec_has_its_levels() {
    let compressed = |more: &str| load_text(&second(&format!("dir = 'other'\n{more}"))).unwrap().config;
    let of = |more: &str| {
        let destination = compressed(more).destinations().remove(1);
        (destination.codec, destination.level)
    };
    assert_eq!(of(""), ("gzip".to_owned(), 1));
    assert_eq!(of("codec = 'gzip'\nlevel = 9"), ("gzip".to_owned(), 9));
    assert_eq!(of("codec = 'zstd'"), ("zstd".to_owned(), 1));
    assert_eq!(of("codec = 'zstd'\nlevel = 19"), ("zstd".to_owned(), 19));
    broken(&[
        (&second("dir = 'other'\nlevel = 10"), 7, "sinks[1].level", "is 10, and a level of gzip is 1 to 9"),
        (&second("dir = 'other'\ncodec = 'zstd'\nlevel = 20"), 8, "sinks[1].level", "a level of zstd is 1 to 19"),
        (&second("dir = 'other'\ncodec = 'zstd'\nlevel = 0"), 8, "sinks[1].level", "a level of zstd is 1 to 19"),
        (&second("dir = 'other'\ncodec = 'lz4'"), 7, "sinks[1].codec", "is \"lz4\", which it cannot be"),
    ]);
}

#[test]
fn the_smallest_object_size_counts_and_each_is_less_than_a_segment() {
    let size = |size: &str| second(&format!("dir = 'other'\nobject_size = '{size}'"));
    let config = load_text(&size("64MiB")).unwrap().config;
    assert_eq!(config.spool_settings().object_size, Some(64 << 20));
    let two = format!("{}[[sinks]]\nname = 'c'\ndir = 'c'\nobject_size = '1MiB'\n", size("2MiB"));
    assert_eq!(load_text(&two).unwrap().config.object_size(), Some(Size::mib(1)));
    assert_eq!(load_text("").unwrap().config.spool_settings().object_size, None);
    broken(&[
        (&size("1023KiB"), 7, "sinks[1].object_size", "is 1023 KiB, not 1 MiB to 1 GiB"),
        (
            &size("65MiB"),
            7,
            "sinks[1].object_size",
            "is 65 MiB, more than a segment has before it is compressed (64 MiB)",
        ),
    ]);
    let large = "[spool]\nsegment_size = '2GiB'\n";
    load_text(&format!("{large}{}", size("1GiB"))).unwrap();
    broken(&[(&format!("{large}{}", size("1025MiB")), 9, "sinks[1].object_size", "not 1 MiB to 1 GiB")]);
}

#[test]
fn a_required_sink_is_kept_for_and_another_within_its_lag() {
    let terms = |text: &str| {
        let config = load_text(text).unwrap_or_else(|problems| panic!("{problems}")).config;
        config.sinks[1].terms(&config.spool)
    };
    let kept = |bytes, hours| Need::BestEffort(MaxLag { bytes, age: Period::hours(hours).get() });
    assert_eq!(terms(&second("dir = 'other'")), Terms::REQUIRED);
    assert_eq!(terms(&second("dir = 'other'\nstart = 'now'")).start, Start::Now);
    assert_eq!(terms(&best_effort("")).need, kept(5 << 29, 24));
    let own = terms(&best_effort("max_lag_bytes = '128MiB'\nmax_lag_age = '1h'\nstart = 'now'"));
    assert_eq!(own, Terms { need: kept(128 << 20, 1), start: Start::Now });
    // The defaults keep the rules that they would be held to.
    assert_eq!(terms(&format!("[spool]\nseal_after = '1d'\n{}", best_effort(""))).need, kept(5 << 29, 48));
    assert_eq!(terms(&format!("[spool]\ndisk_quota = '256MiB'\n{}", best_effort(""))).need, kept(128 << 20, 24));
    // Where nothing is kept on disk, the quota is that of the memory, and windows are short.
    let none = format!("[spool]\nkind = 'none'\n{}", best_effort("max_lag_age = '2s'"));
    assert_eq!(terms(&none).need, Need::BestEffort(MaxLag { bytes: 16 << 20, age: Period::seconds(2).get() }));
}

#[test]
fn a_lag_leaves_most_of_the_disk_to_others_and_skips_nothing_that_was_just_sealed() {
    load_text(&best_effort("max_lag_bytes = '5GiB'\nmax_lag_age = '30d'")).unwrap();
    load_text(&best_effort("max_lag_bytes = '128MiB'\nmax_lag_age = '10m'")).unwrap();
    let of_hose = "delivery_stream = 'x'\nrequired = false";
    load_text(&hose(&format!("{of_hose}\nmax_lag_age = '1s'"))).unwrap();
    broken(&[
        (
            &best_effort("max_lag_bytes = '5121MiB'"),
            8,
            "sinks[1].max_lag_bytes",
            "is 5121 MiB, more than 5 GiB, which is half of spool.disk_quota: a dead sink would fill the disk",
        ),
        (
            &best_effort("max_lag_bytes = '127MiB'"),
            8,
            "sinks[1].max_lag_bytes",
            "is 127 MiB, less than two segments (128 MiB)",
        ),
        (&best_effort("max_lag_age = '31d'"), 8, "sinks[1].max_lag_age", "is 31d, not 1s to 30d"),
        (
            &best_effort("max_lag_age = '599s'"),
            8,
            "sinks[1].max_lag_age",
            "is 9m 59s, less than 10m, which is twice spool.seal_after",
        ),
        (&hose(&format!("{of_hose}\nmax_lag_age = '999ms'")), 9, "sinks[1].max_lag_age", "is 999ms, not 1s to 30d"),
        (
            &second("dir = 'other'\nmax_lag_bytes = '1GiB'"),
            7,
            "sinks[1].max_lag_bytes",
            "is a setting of sinks that are not required, and this one is",
        ),
        (
            &second("dir = 'other'\nmax_lag_age = '1h'\nrequired = true"),
            7,
            "sinks[1].max_lag_age",
            "is a setting of sinks that are not required, and this one is",
        ),
        // The quota is told, and nothing that follows from it.
        (
            &format!("[spool]\ndisk_quota = '128MiB'\n{}", best_effort("")),
            5,
            "spool.segment_size",
            "more than a quarter",
        ),
    ]);
}

#[test]
fn memory_limits_what_is_on_its_way_and_suffices_for_one() {
    let flights = |text: &str| {
        let sink = load_text(text).unwrap_or_else(|problems| panic!("{problems}")).config.sinks.remove(1);
        (sink.in_flight(), sink.memory_bytes() >> 20)
    };
    let file = |more: &str| second(&format!("dir = 'other'\n{more}"));
    assert_eq!(flights(&file("")), (2, 34));
    assert_eq!(flights(&file("concurrency = 9")), (9, 9 * 17));
    assert_eq!(flights(&file("concurrency = 9\nmemory = '67MiB'")), (3, 51));
    assert_eq!(flights(&file("concurrency = 1\nmemory = '1GiB'")), (1, 17));
    assert_eq!(flights(&file("memory = '17MiB'")), (1, 17));
    let of_hose = |more: &str| hose(&format!("delivery_stream = 'x'\n{more}"));
    // A line sink takes a unit for each call, and one beside.
    let unit = (crate::sink::LineSettings::unit_bytes(crate::sink::FirehoseSink::CALL_LINE_BYTES) >> 20) as u64;
    assert_eq!(flights(&of_hose("")), (2, 3 * unit));
    assert_eq!(flights(&of_hose(&format!("concurrency = 32\nmemory = '{}MiB'", 4 * unit))), (3, 4 * unit));
    assert_eq!(flights(&of_hose(&format!("concurrency = 32\nmemory = '{}MiB'", 5 * unit - 1))), (3, 4 * unit));
    let zstd = flights(&file("codec = 'zstd'\nlevel = 19"));
    assert!(zstd.1 > 34, "a compressor of many levels takes memory: {zstd:?}");
    let most = load_text(&file("codec = 'zstd'\nlevel = 19")).unwrap().config.sinks[1].least_memory();
    broken(&[
        (
            &file("memory = '17407KiB'"),
            7,
            "sinks[1].memory",
            "is 17407 KiB, less than one object on its way takes (17 MiB)",
        ),
        (
            &of_hose(&format!("memory = '{}MiB'", 2 * unit - 1)),
            8,
            "sinks[1].memory",
            &format!("less than one call on its way takes ({} MiB)", 2 * unit),
        ),
        (
            &file("codec = 'zstd'\nlevel = 19\nmemory = '17MiB'"),
            9,
            "sinks[1].memory",
            &format!("less than one object on its way takes ({most})"),
        ),
    ]);
}

#[test]
fn the_streams_of_a_sink_are_streams_that_may_come() {
    let file = |streams: &str| second(&format!("dir = 'other'\nstreams = {streams}"));
    load_text(&file("['any']")).unwrap();
    load_text(&format!("{}[ingest]\nundeclared_streams = 'accept'\n", file("['else']"))).unwrap();
    broken(&[
        (&file("['any', 'Any']"), 7, "sinks[1].streams[1]", "is \"Any\", which is no name of a stream"),
        (&file("['any', 'heard']"), 7, "sinks[1].streams[1]", "is \"heard\", which is not declared"),
        (&file("['any', 'any']"), 7, "sinks[1].streams[1]", "is \"any\" once more"),
    ]);
    let near = load_text(&file("['anny']")).unwrap_err().to_string();
    assert!(near.contains("did you mean `any`?"), "{near}");
}

#[test]
fn every_stream_is_taken_by_a_sink_that_is_required() {
    let file = |name: &str, more: &str| format!("[[sinks]]\nname = '{name}'\ndir = '{name}'\n{more}\n");
    let streams = "[streams.heard]\n[streams.seen]\n";
    let (one, other) = (file("a", "streams = ['heard']"), file("b", "streams = ['seen']"));
    load_whole(&format!("{one}{other}{streams}")).unwrap();
    assert_eq!(
        told(&format!("{one}{}{streams}", file("b", "required = false"))),
        "f.toml:10: streams.seen is taken by no required sink: its events would be acknowledged and then dropped\n  \
         remedy: add \"seen\" to `streams` of a required sink, or leave `streams` out there"
    );
    // Without a required sink it is enough that one takes it.
    let optional = |more: &str| format!("{more}\nrequired = false");
    let kept = file("a", &optional("streams = ['heard']")) + &file("b", &optional("streams = ['seen']"));
    load_whole(&format!("{kept}{streams}")).unwrap();
    let lost = told(&format!("{}{streams}", file("a", &optional("streams = ['heard']"))));
    assert!(lost.starts_with("f.toml:7: streams.seen is taken by no sink: "), "{lost}");
    // What is not declared is some stream that a filter leaves out.
    let accept = "[ingest]\nundeclared_streams = 'accept'\n";
    load_whole(&format!("{one}{}{accept}", file("b", ""))).unwrap();
    let lost = told(&format!("{one}{accept}[streams.heard]\n"));
    assert!(
        lost.starts_with("f.toml:6: ingest.undeclared_streams is \"accept\", and no required sink takes every"),
        "{lost}"
    );
    // What is wrong with a filter is told there alone.
    let wrong = told(&format!("{}{streams}", file("a", "streams = ['heard', 'sen']")));
    assert!(wrong.starts_with("f.toml:4: sinks[0].streams[1] is \"sen\", which is not declared"), "{wrong}");
    let wrong = told(&format!("{}{streams}", file("a", "streams = 'heard'")));
    assert!(wrong.starts_with("f.toml:4: sinks[0].streams is a string, not a list"), "{wrong}");
}

#[test]
fn rejected_events_are_taken_by_a_sink_that_is_required() {
    let hose = |more: &str| format!("[[sinks]]\nname = 'h'\nkind = 'firehose'\ndelivery_stream = 'x'\n{more}\n");
    let stream = "[streams.heard]\n";
    load_whole(&format!("{}{stream}", hose("rejected_stream = 'bad'"))).unwrap_or_else(|problems| panic!("{problems}"));
    let lost = told(&format!("{}{stream}", hose("")));
    assert!(
        lost.starts_with("f.toml:6: streams.heard has no required sink that takes its rejected events: "),
        "{lost}"
    );
    assert!(lost.contains("remedy: set rejected_stream on the sink"), "{lost}");
    let optional = format!("{SINK}required = false\n{}{stream}", hose(""));
    assert!(told(&optional).starts_with("f.toml:10: streams.heard has no required sink"), "best effort is not enough");
    load_whole(&format!("{SINK}{}{stream}", hose(""))).unwrap();
    let lost = told(&format!("{}[ingest]\nundeclared_streams = 'accept'\n", hose("")));
    assert!(lost.contains("no required sink takes the rejected events of every stream"), "{lost}");
}

#[test]
fn the_warehouse_reads_objects_of_what_it_loads() {
    let warehouse = |sink: &str| {
        format!(
            "[warehouse]\nkind = 'postgres'\n{sink}connection = {{ host = 'localhost', database = 'd', user = 'u' }}\n"
        )
    };
    let stream = "[streams.heard]\nload = 'loader'\nfields = { a = 'int' }\n[streams.seen]\n";
    let all = hose("delivery_stream = 'x'");
    load_text(&format!("{all}{}{stream}", warehouse(""))).unwrap_or_else(|problems| panic!("{problems}"));
    broken(&[(
        &format!("{all}{}{stream}", warehouse("sink = 'b'\n")),
        10,
        "warehouse.sink",
        "is \"b\", a sink of kind \"firehose\", which has no objects",
    )]);
    let only = |streams: &str| format!("{SINK}streams = [{streams}]\n[[sinks]]\nname = 'b'\ndir = 'b'\n");
    load_whole(&format!("{}{}{stream}", only("'heard'"), warehouse(""))).unwrap();
    load_whole(&format!("{}{}{stream}", only("'seen'"), warehouse("sink = 'b'\n"))).unwrap();
    let left_out = told(&format!("{}{}{stream}", only("'seen'"), warehouse("")));
    assert!(
        left_out.contains("warehouse.sink is files, which does not take heard, a stream that is loaded"),
        "{left_out}"
    );
    let counted = "[streams.heard]\nfields = { a = 'int' }\n[streams.seen]\n[rollups.streams.heard]\ndevice = 'a'\n";
    let left_out = told(&format!("{}{counted}", only("'seen'")));
    assert!(left_out.contains("warehouse.sink is files, which does not take heard"), "{left_out}");
}

#[test]
fn of_a_kind_that_cannot_be_read_only_the_kind_is_told() {
    for more in ["delivery_stream = 'x'\nlinger = '1h'", "bucket = 'b'\nregion = ''", "level = 30\nprefix = 'x'"] {
        let one = told(&format!("{SINK}[[sinks]]\nname = 'b'\nkind = 'fire_hose'\n{more}\n{STREAM}"));
        assert!(one.starts_with("f.toml:6: sinks[1].kind is \"fire_hose\", which it cannot be"), "{one}");
    }
    // Nor of one behind it, as if both were directories.
    told(&format!("[[sinks]]\nname = 'b'\nkind = 'fire_hose'\ndir = 'objects'\n{SINK}{STREAM}"));
    // What has nothing to do with the kind is told all the same.
    let problems =
        load_whole(&format!("{SINK}[[sinks]]\nname = 'B'\nkind = 'f'\nconcurrency = 0\n{STREAM}")).unwrap_err();
    assert_eq!(problems.iter().count(), 3, "{problems}");
}

#[test]
fn the_same_place_is_the_same_however_it_is_written() {
    let two =
        |one: &str, other: &str| format!("[[sinks]]\nname = 'a'\n{one}\n[[sinks]]\nname = 'b'\n{other}\n{STREAM}");
    let here = std::path::absolute("o").unwrap();
    for other in ["dir = './o/'", "dir = 'x/../o'", &format!("dir = '{}'", here.display())] {
        let told = told(&two("dir = 'o'", other));
        assert!(told.contains("sinks[0] stores under the same keys in the same place"), "{told}");
    }
    // A prefix is a directory, too.
    let nested = told(&two("dir = 'o'\nprefix = 'p/'", "dir = 'o/p'"));
    assert!(nested.contains("stores under the same keys"), "{nested}");
    for other in ["dir = 'p'", "dir = './o/'\nprefix = 'p/'"] {
        load_whole(&two("dir = 'o'", other)).unwrap_or_else(|problems| panic!("{problems}"));
    }
    let bucket = "kind = 's3'\nbucket = 'b'";
    let stored = told(&two(bucket, &format!("{bucket}\nstorage_class = 'STANDARD_IA'")));
    assert!(stored.contains("stores under the same keys"), "{stored}");
    load_whole(&two(bucket, &format!("{bucket}\nendpoint = 'http://127.0.0.1:9000'"))).unwrap();
}

#[test]
fn what_is_in_force_by_default_is_printed_for_each_sink_and_read_back_the_same() {
    let best_effort = best_effort("codec = 'zstd'\nconcurrency = 3");
    let text = format!("{best_effort}[[sinks]]\nname = 'h'\nkind = 'firehose'\ndelivery_stream = 'x'\n");
    let config = load_text(&text).unwrap_or_else(|problems| panic!("{problems}")).config;
    let printed = print_effective(&config);
    let table: toml::Table = toml::from_str(&printed).unwrap();
    let memory = |index: usize| Size::bytes(config.sinks[index].memory_bytes()).to_string().replace(' ', "");
    let in_force: [&[(&str, &str)]; 3] = [
        &[("codec", "gzip"), ("level", "1"), ("memory", &memory(0))],
        &[
            ("codec", "zstd"),
            ("level", "1"),
            ("max_lag_bytes", "2560MiB"),
            ("max_lag_age", "1d"),
            ("memory", &memory(1)),
        ],
        &[("packing", "lines"), ("linger", "200ms"), ("undelivered", "files"), ("memory", &memory(2))],
    ];
    for (sink, in_force) in table["sinks"].as_array().unwrap().iter().zip(in_force) {
        for (key, value) in in_force {
            let printed = sink.get(key).map(|value| value.to_string().trim_matches('"').to_owned());
            assert_eq!(printed.as_deref(), Some(*value), "{key} of {sink}");
        }
    }
    let again = load_whole(&printed).unwrap_or_else(|problems| panic!("{problems}")).config;
    assert_eq!(print_effective(&again), printed);
    for (one, other) in config.sinks.iter().zip(&again.sinks) {
        assert_eq!((one.target(), one.in_flight()), (other.target(), other.in_flight()));
        assert_eq!((one.terms(&config.spool), one.destination()), (other.terms(&again.spool), other.destination()));
    }
}
