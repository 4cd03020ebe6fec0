//! What limits devices: quotas, mutes and hints, from the file and from the environment, and every rule about them.

use super::{rules::broken, *};
use crate::schema::Priority;

#[test]
fn what_limits_devices_comes_from_the_environment_too_and_is_nothing_by_default() {
    let Config { admission, hints, fleet, mute, server, spool, .. } = Config::default();
    assert_eq!((admission.target, fleet.instances, mute.len()), (Period::seconds(1), 1, 0));
    assert!((admission.refusing_share - 0.5).abs() < f64::EPSILON && !server.behind_proxy);
    assert_eq!((hints.send_interval, hints.sampling, spool.max_rate.get()), (None, None, 0));
    assert_eq!((Key::default().quota, DeclaredStream::default().priority), (Quota::default(), Priority::Normal));
    assert!(Quota::default().of_instance(3).is_unlimited());
    assert_eq!((Quota::default().burst, Mute::default().retry_after), (Period::seconds(10), Period::hours(6)));

    let key = "[[keys]]\nname = 'app'\nkey = '0123456789abcdef'\n";
    let Loaded { config, streams, .. } = load_with(
        &format!("{SINK}{key}{STREAM}[streams.other]\npriority = 'low'\n"),
        &[
            ("LOGWEIR__ADMISSION__TARGET", "2s"),
            ("LOGWEIR__ADMISSION__REFUSING_SHARE", "1"),
            ("LOGWEIR__FLEET__INSTANCES", "4"),
            ("LOGWEIR__HINTS__SAMPLING", "0.5"),
            ("LOGWEIR__HINTS__SEND_INTERVAL", "60s"),
            ("LOGWEIR__KEYS__0__QUOTA__REQUESTS", "2"),
            ("LOGWEIR__KEYS__0__QUOTA__BYTES", "1MiB"),
            ("LOGWEIR__MUTE__0__KEY", "app"),
            ("LOGWEIR__MUTE__0__RETRY_AFTER", "2d"),
            ("LOGWEIR__MUTE__1__SDK", "7"),
            ("LOGWEIR__MUTE__1__DEVICES", "0.25"),
            ("LOGWEIR__SERVER__BEHIND_PROXY", "true"),
            ("LOGWEIR__SPOOL__MAX_RATE", "20MiB"),
            ("LOGWEIR__STREAMS__ANY__PRIORITY", "high"),
        ],
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.admission, Admission { target: Period::seconds(2), refusing_share: 1.0 });
    assert_eq!(config.hints, Hints { send_interval: Some(Period::seconds(60)), sampling: Some(0.5) });
    let expected = Allowance { requests: Some(0.5), bytes: Some(262_144.0), events: None, burst: Period::seconds(10) };
    assert_eq!(config.keys[0].quota.of_instance(config.fleet.instances), expected);
    let by_key = Mute { key: Some("app".to_owned()), retry_after: Period::hours(48), ..Mute::default() };
    let by_sdk = Mute { sdk: Some("7".to_owned()), devices: Some(0.25), ..Mute::default() };
    assert_eq!(config.mute, [by_key, by_sdk]);
    assert_eq!(config.mute.iter().map(Mute::share).collect::<Vec<_>>(), [1.0, 0.25]);
    assert_eq!((config.server.behind_proxy, config.spool.max_rate), (true, Size::mib(20)));
    assert_eq!(streams.iter().map(|stream| stream.priority).collect::<Vec<_>>(), [Priority::High, Priority::Low]);
    assert_eq!(Priority::High.as_str(), "high");
    assert_eq!(
        load_with(&print_effective(&config).replace("***", "0123456789abcdef"), &[]).unwrap().config.mute.len(),
        2
    );
}

/// Each part is held to its range, and what an instance has of it lets in something.
#[test]
fn quotas_let_something_in() {
    let key = |quota: &str| format!("[[keys]]\nname = 'a'\nkey = '0123456789abcdef'\nquota = {{ {quota} }}\n");
    let fleet = |instances: u32, quota: &str| format!("{}[fleet]\ninstances = {instances}\n", key(quota));
    for good in [
        key(""),
        key("requests = 0.1"),
        fleet(3, "requests = 0.3"),
        key("requests = 1000000000, bytes = '1TiB', events = 1000000000, burst = '1h'"),
        key("requests = 1, bytes = 1, events = 1, burst = '1s'"),
        fleet(10_000, "requests = 1000, bytes = '1000B', events = 1000"),
        fleet(10_000, "burst = '1s'"),
    ] {
        load_text(&good).unwrap_or_else(|problems| panic!("{good}: {problems}"));
    }
    for (part, setting, words) in [
        ("requests = -1", "requests", "is -1, not 0 to 1000000000"),
        ("requests = 1000000001", "requests", "is 1000000001, not 0 to 1000000000"),
        ("requests = nan", "requests", "is NaN, not 0 to"),
        ("events = -0.5", "events", "is -0.5, not 0 to"),
        ("events = inf", "events", "is inf, not 0 to"),
        ("bytes = '2TiB'", "bytes", "is 2 TiB, not 0 B to 1 TiB"),
        ("burst = '999ms'", "burst", "is 999ms, not 1s to 1h"),
        ("burst = '61m'", "burst", "is 1h 1m, not 1s to 1h"),
        ("requests = 0.09", "requests", "that the instance lets in less than one request in a burst (10s)"),
        ("events = 0.9, burst = '1s'", "events", "that the instance lets in less than one event in a burst (1s)"),
    ] {
        broken(&[(&key(part), 7, &format!("keys[0].quota.{setting}"), words)]);
    }
    for (instances, part, setting, words) in [
        (11, "requests = 1", "requests", "that each of 11 instances lets in less than one request in a burst (10s)"),
        (10_000, "bytes = '999B'", "bytes", "that each of 10000 instances lets in less than one byte"),
        (10_000, "events = 999", "events", "that each of 10000 instances lets in less than one event"),
    ] {
        broken(&[(&fleet(instances, part), 7, &format!("keys[0].quota.{setting}"), words)]);
    }
    broken(&[(&fleet(0, "requests = 0.1"), 9, "fleet.instances", "is 0, not 1 to 10000")]);
    for negative in ["bytes = -1", "bytes = 0.5"] {
        broken(&[(&key(negative), 7, "keys[0].quota.bytes", "not a size such as")]);
    }
}

#[test]
fn mutes_select_something_that_there_is() {
    let key = "[[keys]]\nname = 'sdk-android'\nkey = '0123456789abcdef'\n";
    let mute = |rule: &str| format!("{key}[[mute]]\n{rule}\n[streams.heard]\n");
    let undeclared = "[ingest]\nundeclared_streams = 'accept'\n";
    for rule in [
        "key = 'sdk-android'",
        "stream = 'heard'",
        "sdk = '*'",
        "sdk = 'My App/1.0 (beta)'",
        "devices = 1",
        "devices = 0.001",
        "key = 'sdk-android'\nstream = 'heard'\nsdk = 'android/2.3.*'\ndevices = 0.25\nretry_after = '1m'",
        "devices = 1\nretry_after = '7d'",
        &format!("sdk = '{}'", "x".repeat(64)),
    ] {
        load_text(&mute(rule)).unwrap_or_else(|problems| panic!("{rule}: {problems}"));
    }
    load_text(&format!("{undeclared}[[mute]]\nstream = 'any_one'\n")).unwrap();
    for (rule, setting, words) in [
        ("key = 'sdk-ios-tv'", "key", "is \"sdk-ios-tv\", which no key is named"),
        ("stream = 'seen'", "stream", "is \"seen\", which is not declared, and undeclared streams are refused"),
        ("stream = 'Heard'", "stream", "is \"Heard\", which is no name of a stream"),
        ("sdk = ''", "sdk", "no SDK says of itself"),
        ("sdk = 'a*b'", "sdk", "is \"a*b\", which has a * elsewhere than at its end"),
        ("sdk = '*a*'", "sdk", "has a * elsewhere"),
        ("sdk = 'a**'", "sdk", "has a * elsewhere"),
        ("sdk = 'ä'", "sdk", "has a character that is not printable ASCII"),
        ("sdk = \"a\\tb\"", "sdk", "has a character that is not printable ASCII"),
        ("sdk = ' a'", "sdk", "begins or ends with a space"),
        (&format!("sdk = '{}'", "x".repeat(65)), "sdk", "has more than 64 bytes"),
        ("devices = 0", "devices", "is 0, not above 0 and up to 1"),
        ("devices = 1.01", "devices", "is 1.01, not above 0 and up to 1"),
        ("devices = nan", "devices", "is NaN, not above 0"),
        ("devices = 1\nretry_after = '59s'", "retry_after", "is 59s, not 1m to 7d"),
        ("devices = 1\nretry_after = '169h'", "retry_after", "is 7d 1h, not 1m to 7d"),
    ] {
        let line = 8 + rule.matches('\n').count();
        broken(&[(&mute(rule), line, &format!("mute[0].{setting}"), words)]);
    }
    broken(&[
        (&mute(""), 7, "mute[0]", "selects nothing, and would mute everyone"),
        (&mute("retry_after = '1h'"), 7, "mute[0]", "selects nothing"),
        (&format!("{undeclared}[[mute]]\nstream = 'a-b'"), 7, "mute[0].stream", "which is no name of a stream"),
        ("[[mute]]\nkey = 'app'", 5, "mute[0].key", "is \"app\", which no key is named"),
    ]);
    let near = load_text(&mute("key = 'sdk-andriod'")).unwrap_err();
    assert!(near.to_string().ends_with("remedy: did you mean `sdk-android`?"), "{near}");
    let many = |rules: usize| "[[mute]]\ndevices = 0.5\n".repeat(rules);
    load_text(&many(1_000)).unwrap_or_else(|problems| panic!("{problems}"));
    broken(&[(&many(1_001), 4, "mute", "has 1001 rules, more than 1000")]);
}
