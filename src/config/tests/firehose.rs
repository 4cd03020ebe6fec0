//! The rules of sinks that send to Firehose: where to, and what becomes of what is never taken.

use super::{
    rules::broken,
    sinks::{hose, load_whole, told},
    *,
};

#[test]
fn a_firehose_sink_has_its_settings_and_defaults() {
    let config = load_text(&hose("delivery_stream = 'logs-{stream}'")).unwrap().config;
    let sink = &config.sinks[1];
    assert_eq!(*sink, Sink::firehose("b", "logs-{stream}"));
    let SinkTarget::Firehose(target) = sink.target() else { panic!("{sink:?}") };
    assert_eq!((target.packing, target.linger, target.into_redshift), (Packing::Lines, Period::millis(200), false));
    assert_eq!((target.accepted("heard"), target.rejected("heard")), (Some("logs-heard".to_owned()), None));
    assert_eq!((sink.takes_rejected(), sink.destination(), sink.in_flight()), (false, None, 2));
    assert_eq!(config.destinations().len(), 1, "a line sink makes no objects");

    let more = "streams = ['any', 'heard']\nrejected_stream = 'bad-{stream}'\npacking = 'single'\nlinger = '0s'\n\
                region = 'x'\nendpoint = 'http://127.0.0.1:5000'\nundelivered = 'files'\n\
                delivery_streams = { any = 'A.1_-', heard = 'h' }\n[streams.any]\n[streams.heard]";
    let config = load_text(&hose(more)).unwrap_or_else(|problems| panic!("{problems}")).config;
    let sink = &config.sinks[1];
    let SinkTarget::Firehose(target) = sink.target() else { panic!("{sink:?}") };
    assert_eq!((target.accepted("any"), target.rejected("any")), (Some("A.1_-".into()), Some("bad-any".into())));
    assert_eq!((target.accepted("other"), target.packing), (None, Packing::Single));
    assert!(sink.takes_rejected() && sink.takes("heard") && !sink.takes("other"));
    assert_eq!(sink.stream_names().len(), 2);
    assert_eq!(config.undelivered(sink).map(|sink| &*sink.name), Some("files"));
    let printed = load_whole(&print_effective(&config)).unwrap().config;
    assert_eq!(printed, config.in_force(), "what is printed is read as the same");
}

#[test]
fn undelivered_lines_go_to_the_first_required_object_sink_or_else_the_first() {
    let file = |name: &str, required: bool| Sink { required, ..Sink::file(name, name) };
    let config = |sinks: Vec<Sink>| Config { sinks, ..Config::default() };
    let named = |config: &Config| config.undelivered(&config.sinks[0]).map(|sink| sink.name.clone());
    let hose = Sink::firehose("hose", "x");
    assert_eq!(named(&config(vec![hose.clone(), file("a", false), file("b", true)])).as_deref(), Some("b"));
    assert_eq!(named(&config(vec![hose.clone(), file("a", false), file("b", false)])).as_deref(), Some("a"));
    assert_eq!(named(&config(vec![hose.clone()])), None);
    let chosen = Sink { undelivered: Some("a".to_owned()), ..hose };
    assert_eq!(named(&config(vec![chosen, file("a", false), file("b", true)])).as_deref(), Some("a"));
}

#[test]
fn delivery_streams_have_names_that_firehose_takes() {
    let long = "s".repeat(60);
    let declared = |text: &str| format!("{text}[streams.{long}]\n");
    load_text(&declared(&hose("delivery_stream = 'x-{stream}'"))).unwrap();
    load_text(&declared(&hose(&format!("delivery_stream = 'logs-{{stream}}'\ndelivery_streams = {{ {long} = 'l' }}"))))
        .unwrap();
    load_text(&declared(&hose(&format!("delivery_stream = '{}'", "x".repeat(64))))).unwrap();
    load_text(&hose("streams = ['any']\ndelivery_streams = { any = 'x' }")).unwrap();
    for (name, why) in [
        ("", "is empty"),
        ("a b", "has a character"),
        ("a/{stream}", "has a character"),
        ("ü", "has a character"),
        (&"x".repeat(65), "has more than 64 bytes"),
        ("{name}", "and {stream} is the only placeholder"),
        ("{{stream}}", "and {stream} is the only placeholder"),
        ("logs-{stream", "and {stream} is the only placeholder"),
    ] {
        broken(&[(&hose(&format!("delivery_stream = '{name}'")), 7, "sinks[1].delivery_stream", why)]);
        let rejected = format!("delivery_stream = 'x'\nrejected_stream = '{name}'");
        broken(&[(&hose(&rejected), 8, "sinks[1].rejected_stream", why)]);
    }
    let own = |table: &str| hose(&format!("delivery_stream = 'x'\ndelivery_streams = {table}"));
    broken(&[
        (&hose(""), 4, "sinks[1].delivery_stream", "is missing, and a sink of kind \"firehose\" needs it"),
        (
            &hose("streams = ['any', 'b']\ndelivery_streams = { any = 'x' }\n[streams.b]\n[streams.any]"),
            4,
            "sinks[1].delivery_stream",
            "is missing",
        ),
        (
            &declared(&hose("delivery_stream = 'logs-{stream}'")),
            7,
            "sinks[1].delivery_stream",
            &format!("makes a name of more than 64 bytes of the stream {long}"),
        ),
        (
            &declared(&hose("delivery_stream = 'x'\nrejected_stream = '{stream}-bad_'")),
            8,
            "sinks[1].rejected_stream",
            "makes a name of more than 64 bytes",
        ),
        (&own("{ any = 'x-{stream}' }"), 8, "sinks[1].delivery_streams.any", "has a character that no delivery stream"),
        (&own("{ Any = 'y' }"), 8, "sinks[1].delivery_streams.Any", "is \"Any\", which is no name of a stream"),
        (&own("{ heard = 'y' }"), 8, "sinks[1].delivery_streams.heard", "which is not declared"),
        (
            &format!("{}streams = ['any']\n", own("{ b = 'y' }")),
            8,
            "sinks[1].delivery_streams.b",
            "is of the stream \"b\", which `streams` leaves out",
        ),
        (&hose("delivery_stream = 'x'\nlinger = '11s'"), 8, "sinks[1].linger", "is 11s, not 0s to 10s"),
        (&hose("delivery_stream = 'x'\nregion = ''"), 8, "sinks[1].region", "is empty"),
        (&hose("delivery_stream = 'x'\nendpoint = 'ftp://a'"), 8, "sinks[1].endpoint", "is no http or https URL"),
        (
            &hose("delivery_stream = 'x'\npacking = 'singel'"),
            8,
            "sinks[1].packing",
            "is \"singel\", which it cannot be",
        ),
    ]);
}

#[test]
fn two_sinks_do_not_send_to_one_delivery_stream() {
    let two = |one: &str, other: &str, rest: &str| {
        let sink = |name: &str, more: &str| format!("[[sinks]]\nname = '{name}'\nkind = 'firehose'\n{more}\n");
        format!("{}{}{rest}", sink("b", one), sink("c", other))
    };
    let accept = "[ingest]\nundeclared_streams = 'accept'\n";
    for (one, other, rest, shared) in [
        ("delivery_stream = 'x'", "delivery_stream = 'x'", "", "x"),
        ("delivery_stream = 'x-{stream}'", "delivery_stream = 'x-any'", "", "x-any"),
        ("delivery_stream = 'x'", "rejected_stream = 'x'\ndelivery_stream = 'y'", "", "x"),
        ("delivery_stream = 'y-{stream}'", "delivery_stream = 'y-{stream}'", accept, "y-any"),
    ] {
        let Err(problems) = load_text(&two(one, other, rest)) else { panic!("{one} and {other} are taken") };
        assert_eq!(problems.iter().count(), 1, "{problems}");
        let words =
            format!("sinks[2].delivery_stream leads to the delivery stream {shared:?}, and sinks[1] sends there too");
        assert!(problems.to_string().contains(&words), "{problems}");
    }
    for (one, other) in [
        ("delivery_stream = 'x'", "delivery_stream = 'x'\nregion = 'elsewhere'"),
        ("delivery_stream = 'x'", "delivery_stream = 'x'\nendpoint = 'http://127.0.0.1:1'"),
        ("delivery_stream = 'x-{stream}'", "delivery_stream = 'y-{stream}'\nrejected_stream = 'bad'"),
    ] {
        load_text(&two(one, other, "")).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn what_is_never_taken_is_kept_in_an_object_sink_or_does_not_exist() {
    let of_hose = |name: &str| hose(&format!("delivery_stream = 'x'\nundelivered = '{name}'"));
    load_text(&of_hose("files")).unwrap();
    broken(&[
        (&of_hose("file"), 8, "sinks[1].undelivered", "is \"file\", which no sink is named"),
        (&of_hose("b"), 8, "sinks[1].undelivered", "is \"b\", a sink of kind \"firehose\", which has no objects"),
    ]);
    let alone = |more: &str| {
        let sink = "[[sinks]]\nname = 'h'\nkind = 'firehose'\nrejected_stream = 'bad'\n";
        format!("{sink}{more}\n")
    };
    let limits = |event: &str| format!("delivery_stream = 'x'\n[streams.any]\n[limits]\nevent = '{event}'\n");
    load_whole(&alone(&limits("916KiB"))).unwrap_or_else(|problems| panic!("{problems}"));
    let long = told(&alone(&limits("917KiB")));
    assert!(
        long.starts_with("f.toml:8: limits.event and limits.context make lines of up to 1001 KiB, more than"),
        "{long}"
    );
    load_text(&format!("{}{}", hose("delivery_stream = 'x'"), "[limits]\nevent = '1MiB'\n")).unwrap();
    // The name of an undeclared stream may be too long for its pattern.
    let accept =
        |pattern: &str| alone(&format!("delivery_stream = '{pattern}'\n[ingest]\nundeclared_streams = 'accept'\n"));
    load_whole(&accept("{stream}-")).unwrap();
    let long = told(&accept("x-{stream}"));
    assert!(
        long.contains("sinks[0].delivery_stream makes a name of more than 64 bytes of a long stream that"),
        "{long}"
    );
    load_whole(&format!("{SINK}{}", accept("logs-{stream}"))).unwrap();
}

#[test]
fn no_stream_is_loaded_into_redshift_twice() {
    let text = |into: &str, streams: &str, load: &str| {
        format!(
            "[[sinks]]\nname = 'lake'\nkind = 's3'\nbucket = 'b'\n\
             [[sinks]]\nname = 'h'\nkind = 'firehose'\ndelivery_stream = 'x'\nrequired = false\n{into}\nstreams = [{streams}]\n\
             [warehouse]\nkind = 'redshift'\niam_role = 'arn:aws:iam::1:role/x'\nconnection = {{ host = 'h', database = 'd', \
             user = 'u', password = 'p' }}\n\
             [streams.heard]\nload = '{load}'\nfields = {{ a = 'int' }}\n[streams.seen]\n"
        )
    };
    for (into, streams, load) in [
        ("", "", "loader"),
        ("into_redshift = false", "", "loader"),
        ("into_redshift = true", "'seen'", "loader"),
        ("into_redshift = true", "", "none"),
    ] {
        load_whole(&text(into, streams, load)).unwrap_or_else(|problems| panic!("{problems}"));
    }
    for load in ["loader", "copy_job"] {
        let twice = told(&text("into_redshift = true", "", load));
        assert!(
            twice.starts_with("f.toml:17: streams.heard.load loads the stream into Redshift, and Firehose does"),
            "{twice}"
        );
        assert!(twice.contains("every row would be there twice\n  remedy: choose one: "), "{twice}");
    }
}
