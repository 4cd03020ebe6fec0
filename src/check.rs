//! `logweir check`: what a sound configuration comes to.

mod sinks;
mod spool;

use std::fmt::Write;

use crate::{
    app::{self, Changes},
    config::{self, Allowance, Config, Forecast, Key, Loaded, Size},
    schema::{Load, UnknownFields},
};

/// The effective configuration with its secrets masked, what it makes of the data, what it may come to need, who is let in
/// less than others, and what is sound and yet hardly meant.
pub fn report(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let ceiling = app::memory_ceiling(config);
    let forecast = Forecast::new(config).to_string().replace('\n', "\n# ");
    let mut report = format!(
        "# {source} is sound. The effective configuration:\n\n{effective}\n# {forecast}\n# the memory ceiling is {ceiling} \
         ({bytes} bytes)\n",
        source = loaded.source,
        effective = config::print_effective(config),
        ceiling = Size::bytes(ceiling).about(),
        bytes = ceiling,
    );
    let warnings = sinks::warnings(config).into_iter().chain(loaded.warnings.iter().cloned());
    let warnings = warnings.map(|warning| format!("warning: {warning}"));
    let told = sinks::lines(config)
        .into_iter()
        .chain(of_file(config))
        .chain(limits(config))
        .chain(unloaded(loaded))
        .chain(uncounted(loaded));
    for told in told.chain(warnings) {
        // Writing to a string cannot fail.
        let _ = writeln!(report, "# {told}");
    }
    report
}

/// What the spool's directory holds for sinks that are configured no more, and for new ones: a line each. Nothing there is
/// changed, and a server may run on it.
pub fn spool(config: &Config) -> String {
    let lines: Vec<_> = spool::lines(config).into_iter().map(|told| format!("# {told}\n")).collect();
    lines.concat()
}

/// What has changed for the warehouse's tables `since` an older configuration: a line each.
pub fn changes(changes: &Changes, since: &Loaded) -> String {
    let added = changes.evolutions.iter().flat_map(|evolution| evolution.additions(changes.dialect));
    let notes = changes.evolutions.iter().flat_map(|evolution| evolution.notes.iter().cloned());
    let told = added.chain(notes).map(|told| told.to_string()).chain(changes.notes.iter().cloned());
    let told: Vec<_> = told.map(|told| format!("# since {}: {told}\n", since.source)).collect();
    if told.is_empty() { format!("# since {}: no table changes\n", since.source) } else { told.concat() }
}

/// The fields that are stored and reach no table: a line for each stream that has such.
fn unloaded(loaded: &Loaded) -> impl Iterator<Item = String> {
    let kept =
        |stream: &&crate::schema::Stream| stream.load != Load::None && stream.schema.unknown() == UnknownFields::Keep;
    loaded.streams.iter().filter(kept).map(|stream| {
        format!(
            "stream {}: unknown_fields is \"keep\", so undeclared fields stay in the objects and reach no table",
            stream.name
        )
    })
}

/// The streams that are counted, and that nothing loads into the warehouse: a line each.
fn uncounted(loaded: &Loaded) -> impl Iterator<Item = String> {
    let is_not_loaded =
        |name: &str| loaded.streams.iter().any(|stream| stream.name.as_str() == name && stream.load == Load::None);
    loaded.config.rollups.streams.iter().filter(move |(name, _)| is_not_loaded(name)).map(|(name, _)| {
        format!(
            "rollups.streams.{name}: load is \"none\", so it is counted by the views of `logweir schema athena` and `duckdb` \
             alone"
        )
    })
}

/// Whose keys the keys file has, which is named only above.
fn of_file(config: &Config) -> Option<String> {
    let file = config.keys_file.as_ref()?.display();
    let mut names: Vec<&str> = config.keys_of_file.iter().map(|key| key.name.as_str()).collect();
    names.dedup();
    Some(format!(
        "{file} has {}",
        if names.is_empty() { "no key".to_owned() } else { format!("keys: {}", names.join(", ")) }
    ))
}

/// The quotas as one instance keeps them, the rules that mute, and the hints: a line each, of those there are.
fn limits(config: &Config) -> Vec<String> {
    let instances = config.fleet.instances;
    let whose = if instances == 1 { "the instance".to_owned() } else { format!("each of {instances} instances") };
    let quota = |key: &Key| {
        let allowance = key.quota.of_instance(instances);
        (!allowance.is_unlimited()).then(|| format!("key {}: {whose} lets in {}", key.name, rates(&allowance)))
    };
    let mut told: Vec<String> = config.all_keys().filter_map(quota).collect();
    // Two secrets of one key.
    told.dedup();
    match config.mute.len() {
        0 => {}
        1 => told.push("1 mute rule is in effect".to_owned()),
        rules => told.push(format!("{rules} mute rules are in effect")),
    }
    let interval = config.hints.send_interval.map(|interval| format!("to send every {interval} at most"));
    let sampling = config.hints.sampling.map(|share| format!("to keep {share} of their events"));
    let hints: Vec<String> = interval.into_iter().chain(sampling).collect();
    if !hints.is_empty() {
        told.push(format!("devices are given hints: {}", hints.join(", ")));
    }
    told
}

/// `2.5 requests/s, 1 MiB/s, 100 events/s, and saves up 10s of them`.
fn rates(allowance: &Allowance) -> String {
    // The slowest that passes the checks is one an hour: 0.000278 a second.
    let count = |rate: f64| {
        let precision = if rate < 1.0 { 1e6 } else { 1e3 };
        (rate * precision).round() / precision
    };
    let requests = allowance.requests.map(|rate| format!("{} requests/s", count(rate)));
    let bytes = allowance.bytes.map(|rate| format!("{}/s", Size::bytes(rate.ceil() as u64).about()));
    let events = allowance.events.map(|rate| format!("{} events/s", count(rate)));
    let rates: Vec<String> = requests.into_iter().chain(bytes).chain(events).collect();
    format!("{}, and saves up {} of them", rates.join(", "), allowance.burst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, load};

    /// The lines of the report for `text` that stand behind the memory ceiling.
    fn told(text: &str) -> Vec<String> {
        let text = format!("[[sinks]]\nname = 'files'\ndir = 'objects'\n[streams.any]\n{text}");
        let source = Source::Text { name: "f.toml".to_owned(), text };
        let loaded = load(source, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
        let report = report(&loaded);
        let (_, behind) = report.split_once("# the memory ceiling is ").unwrap();
        behind.lines().skip(1).filter(|line| !line.starts_with("# sink files: ")).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn nothing_is_told_of_limits_that_there_are_not() {
        assert_eq!(told("[[keys]]\nname = 'app'\nkey = '0123456789abcdef'\n"), Vec::<String>::new());
    }

    #[test]
    fn quotas_are_told_as_an_instance_keeps_them_and_mutes_are_counted_and_hints_repeated() {
        let limited = "
            [[keys]]
            name = 'app'
            key = '0123456789abcdef'
            quota = { requests = 100, bytes = '8MiB', events = 1, burst = '1m' }
            [[keys]]
            name = 'free'
            key = 'fedcba9876543210'
            [[mute]]
            key = 'app'
        ";
        assert_eq!(
            told(limited),
            [
                "# key app: the instance lets in 100 requests/s, 8 MiB/s, 1 events/s, and saves up 1m of them",
                "# 1 mute rule is in effect",
            ]
        );
        let fleet = format!("{limited}[[mute]]\nsdk = 'x'\n[fleet]\ninstances = 8\n[hints]\nsend_interval = '1m'\n");
        assert_eq!(
            told(&fleet),
            [
                "# key app: each of 8 instances lets in 12.5 requests/s, 1 MiB/s, 0.125 events/s, and saves up 1m of them",
                "# 2 mute rules are in effect",
                "# devices are given hints: to send every 1m at most",
            ]
        );
        assert_eq!(
            told("[hints]\nsend_interval = '90s'\nsampling = 0.1\n"),
            ["# devices are given hints: to send every 1m 30s at most, to keep 0.1 of their events"]
        );
    }

    #[test]
    fn a_quota_of_one_an_hour_is_not_told_as_nothing() {
        let key = "[[keys]]\nname = 'app'\nkey = '0123456789abcdef'\n";
        let told = told(&format!("{key}quota = {{ requests = 0.000278, bytes = 1, burst = '1h' }}\n"));
        assert_eq!(told, ["# key app: the instance lets in 0.000278 requests/s, 1 B/s, and saves up 1h of them"]);
    }

    #[test]
    fn where_nothing_makes_objects_nothing_is_told_of_them() {
        let hose =
            "[[sinks]]\nname = 'h'\nkind = 'firehose'\ndelivery_stream = 'x'\nrejected_stream = 'y'\n[streams.any]\n";
        let source = Source::Text { name: "f.toml".to_owned(), text: hose.to_owned() };
        let loaded = load(source, std::iter::empty()).unwrap_or_else(|problems| panic!("{problems}"));
        let report = report(&loaded);
        let told: Vec<&str> = report.lines().filter(|line| line.starts_with('#')).collect();
        assert!(told[1].starts_with("# while the sinks take nothing, the disk quota of 10 GiB lasts"), "{told:?}");
        assert!(!told.iter().any(|line| line.contains("object") || line.contains("books")), "{told:?}");
    }
}
