//! What is wrong with sinks.

use super::{Sink, SinkKind, SinkTarget, Sse};
use crate::{
    batch::StreamName,
    config::{period::Period, report::Report, setting::Setting},
};

/// Checks each sink, and that no two are alike.
pub(in crate::config) fn check(sinks: &[Sink], report: &mut Report) {
    if sinks.is_empty() {
        report.wrong(
            "sinks",
            "has no element, so nothing would ever leave the spool",
            "add a [[sinks]] section, such as name = \"files\", kind = \"file\", dir = \"./data/objects\"",
        );
    }
    for (index, sink) in sinks.iter().enumerate() {
        let rules = Rules { sink, setting: Setting::from("sinks").index(index) };
        rules.common(report);
        rules.settings_of_kind(report);
        rules.s3(report);
        let place = |index: usize, key: &str| Setting::from("sinks").index(index).key(key);
        for (earlier, other) in sinks[..index].iter().enumerate() {
            if sink.name == other.name {
                report.between(
                    place(index, "name"),
                    &[place(earlier, "name")],
                    format!("is {:?}, as sinks[{earlier}].name is", sink.name),
                    "choose another name: each sink has its own cursor in the spool",
                );
            } else if (sink.target(), &sink.prefix) == (other.target(), &other.prefix) {
                report.between(
                    place(index, "prefix"),
                    &[place(earlier, "prefix")],
                    format!("is {:?}, and sinks[{earlier}] stores under the same keys in the same place", sink.prefix),
                    "choose another prefix or place, or leave one of the sinks out",
                );
            }
        }
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
/// The longest prefix, in bytes. A key of S3 has 1024, and 200 or so are the stream's and the segment's.
const MAX_PREFIX_BYTES: usize = 512;
/// The longest part of a prefix, in bytes: a directory's name in a file system has no more, and a bucket that is copied
/// to files should find room there.
const MAX_PART_BYTES: usize = 255;

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
        if let Some(fault) = prefix_fault(&sink.prefix) {
            report.wrong(
                self.key("prefix"),
                format!("is {:?}, which {fault}", sink.prefix),
                "write parts that each end in `/`, such as \"logs/app/\", or \"\" for none",
            );
        }
        report.within(self.key("level"), &sink.level(), &(1..=sink.codec().max_level()));
        report.within(self.key("concurrency"), &sink.concurrency, &(1..=32));
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
            (&[SinkKind::Firehose], "delivery_stream", sink.delivery_stream.is_some()),
            (&[SinkKind::Firehose], "delivery_streams", !sink.delivery_streams.is_empty()),
            (&[SinkKind::Firehose], "rejected_stream", sink.rejected_stream.is_some()),
            (&[SinkKind::Firehose], "packing", sink.packing.is_some()),
            (&[SinkKind::Firehose], "linger", sink.linger.is_some()),
            (&[SinkKind::Firehose], "undelivered", sink.undelivered.is_some()),
            (&[SinkKind::Firehose], "into_redshift", sink.into_redshift.is_some()),
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
            SinkTarget::Firehose(target) => (target.delivery_stream.as_ref(), "delivery_stream", "logs-{stream}"),
        };
        if place.is_empty() {
            report.wrong(
                self.key(key),
                format!("is missing, and a sink of kind {:?} needs it", sink.kind.as_str()),
                format!("add {key} = {example:?}"),
            );
        }
    }

    fn s3(&self, report: &mut Report) {
        let SinkTarget::S3(target) = self.sink.target() else { return };
        for (key, value) in
            [("region", target.region), ("storage_class", target.storage_class), ("kms_key", target.kms_key)]
        {
            if value == Some("") {
                report.wrong(self.key(key), "is empty", "give it a value, or leave it out");
            }
        }
        if target.endpoint.is_some_and(|url| !is_http_url(url)) {
            report.wrong(
                self.key("endpoint"),
                "is no http or https URL of a host alone",
                "write such as \"https://s3.example.com\" or \"http://127.0.0.1:9000\", without user, path and query",
            );
        }
        match (target.sse, target.kms_key) {
            (Sse::Kms, None) => report.between(
                self.key("kms_key"),
                &[self.key("sse")],
                "is missing, and sse = \"kms\" needs it",
                "add the id or ARN of the key",
            ),
            (Sse::None | Sse::S3, Some(_)) => report.between(
                self.key("kms_key"),
                &[self.key("sse")],
                "is given without sse = \"kms\"",
                "add sse = \"kms\", or leave it out",
            ),
            (Sse::Kms, Some(_)) | (Sse::None | Sse::S3, None) => {}
        }
    }
}

fn prefix_fault(prefix: &str) -> Option<&'static str> {
    if prefix.is_empty() {
        return None;
    }
    let parts = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.len() > MAX_PREFIX_BYTES {
        Some("has more than 512 bytes")
    } else if !prefix.ends_with('/') {
        Some("does not end in `/`")
    } else if prefix.starts_with('/') {
        Some("begins with `/`")
    } else if parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("has a part that is empty, `.` or `..`")
    } else if parts.split('/').any(|part| part.len() > MAX_PART_BYTES) {
        Some("has a part of more than 255 bytes")
    } else if prefix.chars().any(char::is_control) {
        Some("has a control character")
    } else {
        None
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
