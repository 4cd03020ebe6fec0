//! What a configuration comes to for each sink, and what of it is sound and yet hardly meant.

use crate::config::{Codec, Config, FirehoseTarget, Forecast, Period, Sink, SinkTarget, Size};

/// Below this an object is tiny: COPY wants files of 1 MB to 1 GB, and every object costs requests whatever it holds.
const TINY: Size = Size::mib(1);
/// Where nothing is made of a window, and nothing kept: the window that is worth its wait.
const SHORT_WINDOW: Period = Period::millis(100);

/// What each sink is, takes and may come to need, a line each; and what it makes of the example of the forecast.
pub(super) fn lines(config: &Config) -> Vec<String> {
    let forecast = Forecast::new(config);
    config.sinks.iter().flat_map(|sink| [line(sink, config), costs(sink, config, &forecast)]).collect()
}

/// `sink lake: bucket example-logs, required, all streams, zstd at level 1, 2 objects at a time in up to 38 MiB`.
fn line(sink: &Sink, config: &Config) -> String {
    let place = match sink.target() {
        SinkTarget::File { dir } => format!("directory {}", dir.display()),
        SinkTarget::S3(target) => format!("bucket {}", target.bucket),
        SinkTarget::Firehose(target) => format!("Firehose, to {}", delivery_streams(&target)),
    };
    let need = if sink.required {
        "required".to_owned()
    } else {
        let (bytes, age) = sink.max_lag(&config.spool);
        format!("best effort (it may lag {bytes} or {age}, whichever comes first)")
    };
    let mut streams = match &sink.streams[..] {
        [] => "all streams".to_owned(),
        [stream] => format!("stream {stream}"),
        streams => format!("streams {}", streams.join(", ")),
    };
    if !sink.takes_rejected() {
        streams.push_str(" without rejected events");
    }
    let form = match sink.target() {
        SinkTarget::File { .. } | SinkTarget::S3(_) => format!("{} at level {}", sink.codec().as_str(), sink.level()),
        SinkTarget::Firehose(_) => match config.undelivered(sink) {
            Some(keeper) => format!("what is never taken goes to {}", keeper.name),
            None => "nothing keeps what is never taken".to_owned(),
        },
    };
    let (count, (one, more)) = (sink.in_flight(), sink.units());
    let units = if count == 1 { one } else { more };
    let memory = about(sink.memory_bytes());
    format!("sink {}: {place}, {need}, {streams}, {form}, {count} {units} at a time in up to {memory}", sink.name)
}

fn delivery_streams(target: &FirehoseTarget<'_>) -> String {
    let own = target.delivery_streams.iter().map(|(_, name)| name.as_str());
    target.delivery_stream.into_iter().chain(own).collect::<Vec<_>>().join(", ")
}

/// What the sink's requests or records come to.
fn costs(sink: &Sink, config: &Config, forecast: &Forecast) -> String {
    let name = &sink.name;
    let streams = config.streams.iter().filter(|(stream, _)| sink.takes(stream)).count().max(sink.streams.len()).max(1);
    let streams = streams as u64;
    match sink.target() {
        SinkTarget::File { .. } | SinkTarget::S3(_) => {
            let requests = forecast.seals_a_day() * streams + forecast.book_requests_a_day();
            format!(
                "sink {name}: up to {requests} objects and pages of the books are put a day, for {}",
                count(streams)
            )
        }
        SinkTarget::Firehose(target) => {
            let (events, bytes) = Forecast::EXAMPLE;
            let records = forecast.records((events, bytes), target.packing, target.linger);
            format!(
                "sink {name}: at {events} events/s of {bytes} stored bytes a stream makes about {} records a month of {}, \
                 billed as {}",
                records.a_month,
                about(records.bytes),
                about(records.billed),
            )
        }
    }
}

fn about(bytes: u64) -> String {
    Size::bytes(bytes).about()
}

fn count(streams: u64) -> String {
    if streams == 1 { "1 stream".to_owned() } else { format!("{streams} streams") }
}

/// What is sound and yet hardly meant: a line each.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let forecast = Forecast::new(config);
    let mut warnings = Vec::new();
    if !config.sinks.iter().any(|sink| sink.required) {
        warnings.push(
            "no sink is required: what is acknowledged and not yet stored is given up where a sink lags too far; set required = \
             true on one"
                .to_owned(),
        );
    }
    for sink in config.object_sinks().filter(|sink| sink.codec() == Codec::Zstd) {
        warnings.push(format!(
            "sink {}: Redshift Spectrum and BigQuery do not read zstd, and Spark does so only with Hadoop's native library; set \
             codec = \"gzip\" if one of them is to read its objects",
            sink.name
        ));
    }
    if forecast.objects {
        warnings.extend(tiny(config, &forecast));
    } else if !config.spool.keeps() && config.spool.window > SHORT_WINDOW {
        warnings.push(format!(
            "spool.window = {} only delays answers here: no sink makes objects of what a window gathers; set \
             spool.window = \"{SHORT_WINDOW}\"",
            config.spool.window
        ));
    }
    let smallest = config.object_size();
    for sink in config.object_sinks() {
        let Some(size) = sink.object_size else { continue };
        if smallest.is_some_and(|smallest| size > smallest) {
            warnings.push(format!(
                "sink {}: object_size is {size}, and segments are sealed for all sinks at the smallest, {}",
                sink.name,
                smallest.unwrap_or_default()
            ));
        } else if size.get() > forecast.largest_object() {
            warnings.push(format!(
                "sink {}: object_size is {size}, and a segment of spool.segment_size ({}) makes an object of about {} at most; \
                 raise spool.segment_size to some {}",
                sink.name,
                config.spool.segment_size,
                about(forecast.largest_object()),
                Forecast { streams: 1, ..forecast }.segment_for(size),
            ));
        }
    }
    warnings
}

/// Why objects can only be tiny, and what to do about it.
fn tiny(config: &Config, forecast: &Forecast) -> Option<String> {
    let (events, bytes) = Forecast::EXAMPLE;
    let (by_age, by_size) = (forecast.by_age(events, bytes), forecast.by_size());
    if by_age.min(by_size) >= TINY.get() {
        return None;
    }
    // What makes the smaller ones decides: to change the other would change nothing.
    let (size, why, remedy) = if by_size < by_age {
        let (streams, segment) = (count(forecast.streams), config.spool.segment_size);
        let why = format!("a segment of spool.segment_size ({segment}) is shared by {streams}");
        let mut remedy = format!("raise spool.segment_size to some {}", forecast.segment_for(TINY));
        if !config.spool.keeps() {
            remedy.push_str(", and spool.memory with it");
        }
        (by_size, why, remedy)
    } else {
        let why = format!("at {events} events/s of {bytes} stored bytes, with a seal every {}", forecast.seal_after);
        let remedy = if !config.spool.keeps() {
            "that is the price of keeping nothing; Firehose gathers longer, or raise spool.window"
        } else if forecast.seal_after < config.spool.seal_after {
            "raise spool.early_seal_interval, for which answers of ack = \"stored\" wait, or ask for \"spooled\""
        } else {
            "raise spool.seal_after, if data may be later"
        };
        (by_age, why, remedy.to_owned())
    };
    Some(format!(
        "objects are tiny, about {} ({why}): each costs a request to put and more to read, and COPY wants 1 MB to 1 GB; {remedy}",
        about(size)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, Source, load};

    const FILES: &str = "[[sinks]]\nname = 'files'\ndir = 'objects'\n";

    fn config(text: &str) -> Config {
        let source = Source::Text { name: "f.toml".to_owned(), text: text.to_owned() };
        let Loaded { config, .. } = load(source, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
        config
    }

    /// What is warned of `text` behind a sink, before a stream.
    fn warned(text: &str) -> Vec<String> {
        warnings(&config(&format!("{FILES}{text}[streams.any]\n")))
    }

    #[test]
    fn each_sink_is_told_with_what_it_takes_and_costs() {
        let text = "
            [[sinks]]
            name = 'lake'
            kind = 's3'
            bucket = 'b'
            codec = 'zstd'
            memory = '25MiB'
            streams = ['heard']
            [[sinks]]
            name = 'hose'
            kind = 'firehose'
            delivery_stream = 'logs-{stream}'
            delivery_streams = { heard = 'h' }
            required = false
            max_lag_age = '1h'
            concurrency = 3
            undelivered = 'lake'
            [streams.heard]
            [streams.seen]
        ";
        let config = config(&format!("{FILES}{text}"));
        let memory = about(config.sinks[2].memory_bytes());
        assert_eq!(
            lines(&config),
            [
                "sink files: directory objects, required, all streams, gzip at level 1, 2 objects at a time in up to 34 MiB",
                "sink files: up to 2304 objects and pages of the books are put a day, for 2 streams",
                "sink lake: bucket b, required, stream heard, zstd at level 1, 1 object at a time in up to 19 MiB",
                "sink lake: up to 2016 objects and pages of the books are put a day, for 1 stream",
                &format!(
                    "sink hose: Firehose, to logs-{{stream}}, h, best effort (it may lag 2.5 GiB or 1h, whichever comes \
                     first), all streams without rejected events, what is never taken goes to lake, 3 calls at a time in \
                     up to {memory}"
                ),
                "sink hose: at 100 events/s of 600 stored bytes a stream makes about 13140000 records a month of 146.9 GiB, \
                 billed as 188 GiB",
            ]
        );
    }

    #[test]
    fn settings_that_make_tiny_objects_are_warned_of_with_what_to_change() {
        assert_eq!(warned(""), [""; 0]);
        let of = |text: &str| {
            let mut warned = warned(text);
            assert_eq!(warned.len(), 1, "{warned:?}");
            warned.remove(0)
        };
        let by_age = of("[spool]\nseal_after = '10s'\n");
        assert_eq!(
            by_age,
            "objects are tiny, about 117.2 KiB (at 100 events/s of 600 stored bytes, with a seal every 10s): each costs a \
             request to put and more to read, and COPY wants 1 MB to 1 GB; raise spool.seal_after, if data may be later"
        );
        let streams = (0..20).map(|n| format!("[streams.s{n}]\n")).collect::<Vec<_>>().concat();
        let by_size = of(&streams);
        assert!(
            by_size.starts_with(
                "objects are tiny, about 624.2 KiB (a segment of spool.segment_size (64 MiB) is shared by"
            )
        );
        assert!(
            by_size.ends_with(
                "by 21 streams): each costs a request to put and more to read, and COPY wants 1 MB to 1 GB; \
            raise spool.segment_size to some 105 MiB"
            ),
            "{by_size}"
        );
        assert_eq!(
            warned(&format!("{streams}[spool]\nsegment_size = '105MiB'\n")),
            [""; 0],
            "what is told to do helps"
        );
        let early = of("[streams.kept]\nack = 'stored'\n");
        assert!(early.contains("with a seal every 5s") && early.contains("raise spool.early_seal_interval"), "{early}");
        // Without a disk it is the window, unless so much comes, or of so many streams, that segments fill before.
        for (none, told) in [
            ("", "about 11.7 KiB (at 100 events/s of 600 stored bytes, with a seal every 1s)"),
            ("window = '20ms'\n", "about 240 B (at 100 events/s of 600 stored bytes, with a seal every 20ms)"),
            ("segment_size = '16MiB'\n", "about 11.7 KiB (at 100 events/s of 600 stored bytes, with a seal every 1s)"),
        ] {
            let of_none = of(&format!("[spool]\nkind = 'none'\n{none}"));
            assert!(of_none.contains(told) && of_none.contains("the price of keeping nothing"), "{of_none}");
        }
        let by_size =
            of(&format!("[ingest]\nstored_timeout = '40s'\n[spool]\nkind = 'none'\nwindow = '30s'\n{streams}"));
        assert!(
            by_size.contains("a segment of spool.segment_size (4 MiB)") && by_size.contains("spool.memory with it"),
            "{by_size}"
        );
        let hose = "[[sinks]]\nname = 'h'\nkind = 'firehose'\ndelivery_stream = 'x'\nrejected_stream = 'y'\n";
        let no_objects = config(&format!("{hose}[spool]\nseal_after = '1s'\n[streams.any]\n"));
        assert_eq!(warnings(&no_objects), [""; 0], "no sink makes objects");
    }

    #[test]
    fn a_window_of_which_nothing_is_made_is_warned_of() {
        let hose = "[[sinks]]\nname = 'h'\nkind = 'firehose'\ndelivery_stream = 'x'\nrejected_stream = 'y'\n";
        let of = |spool: &str| warnings(&config(&format!("{hose}[spool]\n{spool}[streams.any]\n")));
        assert_eq!(
            of("kind = 'none'\n"),
            ["spool.window = 1s only delays answers here: no sink makes objects of what a window gathers; set \
                 spool.window = \"100ms\""]
        );
        assert_eq!(of("kind = 'none'\nwindow = '100ms'\n"), [""; 0]);
        assert_eq!(of(""), [""; 0], "a disk needs no window");
    }

    #[test]
    fn an_object_size_that_will_not_be_reached_is_warned_of() {
        let sink =
            |name: &str, size: &str| format!("[[sinks]]\nname = '{name}'\ndir = '{name}'\nobject_size = '{size}'\n");
        assert_eq!(warned(&sink("b", "12MiB")), [""; 0]);
        assert_eq!(
            warned(&sink("b", "13MiB")),
            [
                "sink b: object_size is 13 MiB, and a segment of spool.segment_size (64 MiB) makes an object of about 12.8 MiB at \
                 most; raise spool.segment_size to some 65 MiB"
            ]
        );
        assert_eq!(
            warned(&(sink("b", "12MiB") + &sink("c", "2MiB"))),
            ["sink b: object_size is 12 MiB, and segments are sealed for all sinks at the smallest, 2 MiB"]
        );
    }

    #[test]
    fn that_no_sink_is_required_is_warned_of() {
        let optional = config(&format!("{FILES}required = false\n[streams.any]\n"));
        let warned = warnings(&optional);
        assert!(warned.len() == 1 && warned[0].starts_with("no sink is required: what is acknowledged"), "{warned:?}");
    }
}
