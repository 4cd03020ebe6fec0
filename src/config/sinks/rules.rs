//! What is wrong with sinks.

mod coverage;
mod firehose;
mod objects;
mod terms;
mod warehouse;

use super::{Sink, SinkKind, SinkTarget};
use crate::{
    batch::StreamName,
    config::{
        Config,
        period::Period,
        report::Report,
        setting::Setting,
        validate::{instead, resolved},
    },
};

/// Checks each sink, that no two are alike, and that they go with the other sections.
pub(in crate::config) fn check(config: &Config, report: &mut Report) {
    let sinks = &config.sinks;
    if sinks.is_empty() {
        report.wrong(
            "sinks",
            "has no element, so nothing would ever leave the spool",
            "add a [[sinks]] section, such as name = \"files\", kind = \"file\", dir = \"./data/objects\"",
        );
    }
    for (index, sink) in sinks.iter().enumerate() {
        let rules = Rules { sink, setting: element(index) };
        rules.common(report);
        rules.streams(config, report);
        for (earlier, other) in sinks[..index].iter().enumerate() {
            named_apart((index, sink), (earlier, other), report);
        }
        // Of a kind that could not be read, nothing is known of what it needs.
        if report.is_unread(&rules.key("kind")) {
            continue;
        }
        rules.settings_of_kind(report);
        rules.terms(&config.spool, report);
        rules.aws(report);
        rules.objects(&config.spool, report);
        rules.firehose(config, report);
        for (earlier, other) in sinks[..index].iter().enumerate() {
            if !report.is_unread(&element(earlier).key("kind")) {
                placed_apart((index, sink), (earlier, other), config, report);
            }
        }
    }
    coverage::check(config, report);
    warehouse::check(config, report);
}

/// The element of `sinks` at `index`.
fn element(index: usize) -> Setting {
    Setting::from("sinks").index(index)
}

/// Holds `name`, which stands at `setting`, to being that of an object sink: whether it is.
fn names_object_sink(setting: Setting, name: &str, config: &Config, report: &mut Report) -> bool {
    let known: Vec<&str> = config.object_sinks().map(|sink| sink.name.as_str()).collect();
    if known.contains(&name) {
        return true;
    }
    let remedy = "name a sink of kind \"file\" or \"s3\", or leave it out for the first required one";
    let (what, remedy) = match config.sinks.iter().find(|sink| sink.name == name) {
        Some(line) => (format!("a sink of kind {:?}, which has no objects", line.kind.as_str()), remedy.to_owned()),
        None => ("which no sink is named".to_owned(), instead(name, &known, remedy)),
    };
    report.between(setting, &["sinks".into()], format!("is {name:?}, {what}"), remedy);
    false
}

/// No two sinks have the same name.
fn named_apart((index, sink): (usize, &Sink), (earlier, other): (usize, &Sink), report: &mut Report) {
    if sink.name == other.name {
        report.between(
            element(index).key("name"),
            &[element(earlier).key("name")],
            format!("is {:?}, as sinks[{earlier}].name is", sink.name),
            "choose another name: each sink has its own cursor in the spool",
        );
    }
}

/// No two sinks store under the same keys, or send to the same delivery stream.
fn placed_apart((index, sink): (usize, &Sink), (earlier, other): (usize, &Sink), config: &Config, report: &mut Report) {
    if sink.name == other.name {
        // Whichever is meant, that is to be mended first.
        return;
    }
    if let (SinkTarget::Firehose(own), SinkTarget::Firehose(others)) = (sink.target(), other.target()) {
        if let Some(shared) = firehose::shared((sink, own), (other, others), config) {
            report.between(
                element(index).key("delivery_stream"),
                &[element(earlier).key("delivery_stream")],
                format!("leads to the delivery stream {shared:?}, and sinks[{earlier}] sends there too"),
                "choose another delivery stream, or leave one of the sinks out",
            );
        }
    } else if same_keys(sink, other) {
        report.between(
            element(index).key("prefix"),
            &[element(earlier).key("prefix")],
            format!("is {:?}, and sinks[{earlier}] stores under the same keys in the same place", sink.prefix),
            "choose another prefix or place, or leave one of the sinks out",
        );
    }
}

/// Whether what both store would stand under the same keys in the same place, however that is written.
fn same_keys(sink: &Sink, other: &Sink) -> bool {
    match (sink.target(), other.target()) {
        // A prefix is a directory in the directory.
        (SinkTarget::File { dir: own }, SinkTarget::File { dir: others }) => {
            resolved(&own.join(&sink.prefix)) == resolved(&others.join(&other.prefix))
        }
        // How it is stored makes no other place of a bucket.
        (SinkTarget::S3(own), SinkTarget::S3(others)) => {
            (own.bucket, own.endpoint, &sink.prefix) == (others.bucket, others.endpoint, &other.prefix)
        }
        _ => false,
    }
}

/// The rules of one sink.
struct Rules<'s> {
    sink: &'s Sink,
    setting: Setting,
}

/// The kinds that make objects.
const OBJECTS: &[SinkKind] = &[SinkKind::File, SinkKind::S3];
/// The kinds that are reached by an SDK of AWS.
const AWS: &[SinkKind] = &[SinkKind::S3, SinkKind::Firehose];
/// The kind that sends to delivery streams.
const FIREHOSE: &[SinkKind] = &[SinkKind::Firehose];

impl Rules<'_> {
    fn key(&self, key: &str) -> Setting {
        self.setting.clone().key(key)
    }

    fn common(&self, report: &mut Report) {
        let sink = self.sink;
        if !StreamName::is_valid(&sink.name) {
            report.wrong(
                self.key("name"),
                format!("is {:?}, which is no name of a sink", sink.name),
                "choose a lower-case letter followed by up to 62 lower-case letters, digits or underscores",
            );
        }
        report.within(self.key("concurrency"), &sink.concurrency, &(1..=32));
        let least = sink.least_memory();
        if let Some(memory) = sink.memory.filter(|memory| *memory < least) {
            report.between(
                self.key("memory"),
                &[self.key("kind"), self.key("codec"), self.key("level")],
                format!("is {memory}, less than one {} on its way takes ({least})", sink.units().0),
                "raise it, or leave it out for as much as concurrency needs",
            );
        }
        report.within(self.key("attempt_timeout"), &sink.attempt_timeout, &(Period::seconds(1)..=Period::hours(1)));
        report.within(self.key("backoff_min"), &sink.backoff_min, &(Period::millis(1)..=Period::hours(1)));
        report.within(self.key("backoff_max"), &sink.backoff_max, &(Period::millis(1)..=Period::hours(1)));
        let (min, max) = (sink.backoff_min, sink.backoff_max);
        if min > max {
            report.between(
                self.key("backoff_min"),
                &[self.key("backoff_max")],
                format!("is {min}, more than backoff_max ({max})"),
                "choose less: waits grow from the one to the other",
            );
        }
    }

    /// Each kind has its own settings and no other's.
    fn settings_of_kind(&self, report: &mut Report) {
        let sink = self.sink;
        for (kinds, key, given) in [
            (OBJECTS, "prefix", !sink.prefix.is_empty()),
            (OBJECTS, "codec", sink.codec.is_some()),
            (OBJECTS, "level", sink.level.is_some()),
            (OBJECTS, "object_size", sink.object_size.is_some()),
            (&[SinkKind::File], "dir", sink.dir.is_some()),
            (&[SinkKind::S3], "bucket", sink.bucket.is_some()),
            (AWS, "region", sink.region.is_some()),
            (AWS, "endpoint", sink.endpoint.is_some()),
            (&[SinkKind::S3], "path_style", sink.path_style.is_some()),
            (&[SinkKind::S3], "storage_class", sink.storage_class.is_some()),
            (&[SinkKind::S3], "sse", sink.sse.is_some()),
            (&[SinkKind::S3], "kms_key", sink.kms_key.is_some()),
            (FIREHOSE, "delivery_stream", sink.delivery_stream.is_some()),
            (FIREHOSE, "delivery_streams", !sink.delivery_streams.is_empty()),
            (FIREHOSE, "rejected_stream", sink.rejected_stream.is_some()),
            (FIREHOSE, "packing", sink.packing.is_some()),
            (FIREHOSE, "linger", sink.linger.is_some()),
            (FIREHOSE, "undelivered", sink.undelivered.is_some()),
            (FIREHOSE, "into_redshift", sink.into_redshift.is_some()),
        ] {
            if given && !kinds.contains(&sink.kind) {
                let others: Vec<_> = kinds.iter().map(|kind| format!("{:?}", kind.as_str())).collect();
                let (others, own) = (others.join(" or "), sink.kind.as_str());
                report.between(
                    self.key(key),
                    &[self.key("kind")],
                    format!("is a setting of kind {others}, and this sink is of kind {own:?}"),
                    format!("leave it out, or set kind = {others}"),
                );
            }
        }
        let (place, key, example) = match sink.target() {
            SinkTarget::File { dir } => (dir.as_os_str(), "dir", "./data/objects"),
            SinkTarget::S3(target) => (target.bucket.as_ref(), "bucket", "my-logs"),
            // What it needs depends on the streams that it takes.
            SinkTarget::Firehose(_) => return,
        };
        if place.is_empty() {
            self.missing(key, example, report);
        }
    }

    /// Notes that the sink lacks `key`, which its kind needs.
    fn missing(&self, key: &str, example: &str, report: &mut Report) {
        report.wrong(
            self.key(key),
            format!("is missing, and a sink of kind {:?} needs it", self.sink.kind.as_str()),
            format!("add {key} = {example:?}"),
        );
    }

    /// How AWS, or what answers instead of it, is reached.
    fn aws(&self, report: &mut Report) {
        let sink = self.sink;
        if !AWS.contains(&sink.kind) {
            return;
        }
        for (key, value) in
            [("region", &sink.region), ("storage_class", &sink.storage_class), ("kms_key", &sink.kms_key)]
        {
            if value.as_deref() == Some("") {
                report.wrong(self.key(key), "is empty", "give it a value, or leave it out");
            }
        }
        if sink.endpoint.as_deref().is_some_and(|url| !is_http_url(url)) {
            report.wrong(
                self.key("endpoint"),
                "is no http or https URL of a host alone",
                "write such as \"https://s3.example.com\" or \"http://127.0.0.1:9000\", without user, path and query",
            );
        }
    }
}

/// A URL that names a host and perhaps a port. A user or password in it would be printed with it.
fn is_http_url(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else { return false };
    matches!(url.scheme_str(), Some("http" | "https"))
        && url.authority().is_some_and(|host| !host.as_str().contains('@') && !host.host().is_empty())
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
}
