//! A spool that keeps nothing: how it is asked for, what follows from it, and what does not go with it.

use super::*;

/// Loads a file that begins with `top`, between which and its sink nothing stands; its lines count from 1.
fn load_top(top: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load_with(&format!("{top}\n{SINK}{STREAM}"), variables)
}

#[test]
fn it_is_asked_for_by_a_word_a_table_or_a_variable_and_all_say_the_same() {
    let by_word = load_top("spool = 'none'", &[]).unwrap_or_else(|problems| panic!("{problems}")).config;
    assert_eq!((by_word.spool.kind, by_word.spool.keeps()), (SpoolKind::None, false));
    for (top, variables) in [
        ("[spool]\nkind = 'none'", &[][..]),
        ("", &[("LOGWEIR__SPOOL", "none")]),
        ("", &[("LOGWEIR__SPOOL__KIND", "none")]),
        ("[spool]\ndir = 'x'\nseal_after = '10s'", &[("LOGWEIR__SPOOL", "none")]),
        ("spool = 'none'", &[("LOGWEIR__SPOOL__MEMORY", "64MiB")]),
        ("spool = 'disk'", &[("LOGWEIR__SPOOL__KIND", "none")]),
    ] {
        let loaded = load_top(top, variables).unwrap_or_else(|problems| panic!("{top} {problems}"));
        assert_eq!(loaded.config, by_word, "{top} {variables:?}");
    }
    // And the other way round.
    let kept = load_top("spool = 'none'", &[("LOGWEIR__SPOOL", "disk")]).unwrap().config;
    assert_eq!(kept, load_top("", &[]).unwrap().config);
    assert!(load_top("spool = 'non'", &[]).unwrap_err().to_string().contains("did you mean `none`?"));
}

#[test]
fn segments_are_small_windows_short_and_streams_promise_what_is_stored() {
    let text = "spool = 'none'\n[streams.quick]\nack = 'memory'\n[streams.safe]\nack = 'stored'\n[streams.usual]\n";
    let Loaded { config, streams, .. } = load_with(&format!("{text}{SINK}"), &[]).unwrap();
    let acks: Vec<_> = streams.iter().map(|stream| stream.ack).collect();
    assert_eq!(acks, [schema::Ack::Memory, schema::Ack::Stored, schema::Ack::Stored]);
    let settings = config.spool.settings(Vec::new(), None);
    assert_eq!((settings.disk_quota, settings.segment_size), (64 << 20, 4 << 20));
    let second = std::time::Duration::from_secs(1);
    assert_eq!((settings.seal_after, settings.early_seal_interval), (second, second));
    assert_eq!(Forecast::new(&config).objects_a_day(), 86_400 * 3);
    // What is printed is read as the same.
    let printed = load_with(&print_effective(&config), &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(printed.config, config);
}

#[test]
fn what_is_for_a_disk_is_passed_over_and_judged_no_more() {
    let text =
        "[spool]\nkind = 'none'\ndir = ''\ndisk_quota = 1\nwindow = '100ms'\nmemory = '32MiB'\nsegment_size = '1MiB'";
    let spool = load_top(text, &[]).unwrap_or_else(|problems| panic!("{problems}")).config.spool;
    assert_eq!((spool.quota(), spool.seals_after()), (Size::mib(32), Period::millis(100)));
    assert_eq!(spool.in_memory(), (32 << 20) + crate::spool::RESERVE_BYTES);
    assert_eq!(load_top("", &[]).unwrap().config.spool.in_memory(), 0);
}

#[test]
fn what_cannot_be_is_told_with_its_place() {
    for (rest, line, setting, words) in [
        ("memory = '3MiB'", 3, "spool.memory", "is 3 MiB, not 4 MiB to 64 GiB"),
        ("memory = '31MiB'", 3, "spool.memory", "is 31 MiB, less than twice limits.output (16 MiB)"),
        ("segment_size = '17MiB'", 3, "spool.segment_size", "is 17 MiB, more than a quarter of spool.memory (64 MiB)"),
        ("window = '31s'", 3, "spool.window", "is 31s, not 10ms to 30s"),
        ("window = '10s'", 3, "spool.window", "answers wait no longer than ingest.stored_timeout (10s)"),
        ("[streams.heard]\nack = 'spooled'", 4, "streams.heard.ack", "nothing is synced to a disk here"),
    ] {
        let problems =
            load_top(&format!("[spool]\nkind = 'none'\n{rest}"), &[]).err().unwrap_or_else(|| panic!("{rest}"));
        assert_eq!(places(&problems), [format!("f.toml:{line} {setting}")], "{problems}");
        assert!(problems.to_string().contains(words), "{problems}");
    }
    let sink = "[[sinks]]\nname = 'files'\ndir = 'objects'\nrequired = false\n";
    let problems = load_with(&format!("spool = 'none'\n{sink}{STREAM}"), &[]).unwrap_err();
    assert_eq!(places(&problems), ["f.toml:1 spool.kind"], "{problems}");
}
