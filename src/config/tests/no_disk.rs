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
fn a_bare_kind_in_the_environment_leaves_the_rest_of_the_table_in_force() {
    let file = "[spool]\ndir = '/mnt/spool'\ndisk_quota = '50GiB'\nmemory = '32MiB'";
    for (variables, kind) in [
        (&[("LOGWEIR__SPOOL", "disk")][..], SpoolKind::Disk),
        (&[("LOGWEIR__SPOOL", "none")], SpoolKind::None),
        (&[("LOGWEIR__SPOOL", "none"), ("LOGWEIR__SPOOL__KIND", "disk")], SpoolKind::Disk),
    ] {
        let spool = load_top(file, variables).unwrap_or_else(|problems| panic!("{problems}")).config.spool;
        let dir = std::path::Path::new("/mnt/spool");
        assert_eq!((spool.kind, &*spool.dir), (kind, dir), "{variables:?}");
        assert_eq!((spool.disk_quota, spool.memory), (Size::gib(50), Size::mib(32)), "{variables:?}");
    }
    let problems = load_top(file, &[("LOGWEIR__SPOOL", "non")]).unwrap_err().to_string();
    assert!(problems.starts_with("environment variable LOGWEIR__SPOOL: spool.kind is \"non\""), "{problems}");
}

#[test]
fn a_bare_kind_goes_with_single_settings_from_the_environment() {
    let settings = [("LOGWEIR__SPOOL__MEMORY", "48MiB"), ("LOGWEIR__SPOOL__WINDOW", "100ms")];
    let by_variable = [("LOGWEIR__SPOOL", "none")].into_iter().chain(settings).collect::<Vec<_>>();
    for (top, variables) in [("spool = 'none'", &settings[..]), ("", &by_variable), ("spool = 'disk'", &by_variable)] {
        let spool = load_top(top, variables).unwrap_or_else(|problems| panic!("{top}: {problems}")).config.spool;
        assert_eq!((spool.keeps(), spool.memory, spool.window), (false, Size::mib(48), Period::millis(100)), "{top}");
        assert_eq!(spool.segment_size, Size::mib(4), "{top}");
    }
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
    assert_eq!(printed.config, config.in_force());
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
fn a_lag_is_told_by_the_settings_that_bound_it_without_a_disk() {
    let lag = |more: &str| {
        let second = format!("[[sinks]]\nname = 'b'\ndir = 'b'\nrequired = false\n{more}\n");
        let text = format!("[spool]\nkind = 'none'\nwindow = '2s'\n{SINK}{second}{STREAM}");
        load_with(&text, &[]).unwrap_err().to_string()
    };
    let bytes = lag("max_lag_bytes = '33MiB'");
    let told = "is 33 MiB, more than 32 MiB, which is half of spool.memory: a dead sink would fill the memory";
    assert!(bytes.contains(told) && bytes.contains("lower it, or raise spool.memory"), "{bytes}");
    let age = lag("max_lag_age = '3s'");
    let told = "is 3s, less than 4s, which is twice spool.window: what has just been sealed would be skipped";
    assert!(age.contains(told) && age.contains("raise it, or lower spool.window"), "{age}");
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
