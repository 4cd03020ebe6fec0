//! What is wrong with sinks that send to Firehose.

use super::{Rules, terms::may_come};
use crate::{
    batch::StreamName,
    config::{
        Config, Sink,
        ingest::UndeclaredStreams,
        period::Period,
        report::Report,
        setting::Setting,
        sinks::{FirehoseTarget, SinkTarget},
        size::Size,
        warehouse::WarehouseKind,
    },
    schema::Load,
    sink::{FirehoseSink, Targets},
};

/// The longest record.
const MAX_RECORD: Size = Size::bytes(FirehoseSink::RECORD_BYTES as u64);
/// The longest name of a delivery stream, in bytes.
const MAX_NAME_BYTES: usize = Targets::NAME_BYTES;
/// What a line may have beyond the bytes that its limits tell: values that are stored in another form, as a hash instead
/// of a letter, of as many fields as may be declared.
const OTHER_FORMS: Size = Size::kib(64);
/// The longest that lines wait for others.
const MAX_LINGER: Period = Period::seconds(10);
/// What to do about a name that is none.
const NAME_REMEDY: &str = "write the name of a delivery stream: 1 to 64 letters, digits, dots, underscores or hyphens";

/// The delivery stream to which both sinks send, if there is one.
pub(super) fn shared(
    (one, own): (&Sink, FirehoseTarget<'_>),
    (other, others): (&Sink, FirehoseTarget<'_>),
    config: &Config,
) -> Option<String> {
    if (own.region, own.endpoint) != (others.region, others.endpoint) {
        return None;
    }
    let theirs = names(other, others, config);
    names(one, own, config).into_iter().find(|name| theirs.contains(name))
}

/// The delivery streams to which `sink` sends what may come. For undeclared streams stands one of them.
fn names(sink: &Sink, target: FirehoseTarget<'_>, config: &Config) -> Vec<String> {
    let undeclared = (config.ingest.undeclared_streams == UndeclaredStreams::Accept).then_some("x");
    let streams = named(sink, config).chain(undeclared).filter(|stream| sink.takes(stream));
    streams.flat_map(|stream| [target.accepted(stream), target.rejected(stream)]).flatten().collect()
}

/// The streams that `sink` takes and that have names so far.
fn named<'c>(sink: &'c Sink, config: &'c Config) -> impl Iterator<Item = &'c str> {
    let declared = config.streams.iter().map(|(name, _)| name).filter(|name| sink.takes(name));
    declared.chain(sink.streams.iter().map(String::as_str))
}

impl Rules<'_> {
    pub(super) fn firehose(&self, config: &Config, report: &mut Report) {
        let SinkTarget::Firehose(target) = self.sink.target() else { return };
        report.within(self.key("linger"), &target.linger, &(Period::default()..=MAX_LINGER));
        self.own_delivery_streams(target, config, report);
        let of_its_own = |stream: &str| target.delivery_streams.get(stream).is_some();
        if let Some(pattern) = target.delivery_stream {
            self.pattern("delivery_stream", pattern, config, report, of_its_own);
        }
        if let Some(pattern) = target.rejected_stream {
            self.pattern("rejected_stream", pattern, config, report, |_| false);
        }
        self.undelivered(config, report);
        self.loaded_twice(target, config, report);
    }

    /// Every stream has a delivery stream, and those that have one of their own are taken.
    fn own_delivery_streams(&self, target: FirehoseTarget<'_>, config: &Config, report: &mut Report) {
        let sink = self.sink;
        let all_named = sink.streams.iter().all(|stream| target.delivery_streams.get(stream).is_some());
        if target.delivery_stream.is_none() && (sink.streams.is_empty() || !all_named) {
            self.missing("delivery_stream", "logs-{stream}", report);
        }
        for (stream, name) in target.delivery_streams.iter() {
            let setting = self.key("delivery_streams").key(stream);
            if !sink.takes(stream) {
                report.between(
                    setting,
                    &[self.key("streams")],
                    format!("is of the stream {stream:?}, which `streams` leaves out"),
                    "add the stream there, or leave it out here",
                );
            } else if let Some(fault) = name_fault(name) {
                report.wrong(setting, format!("is {name:?}, which {fault}"), NAME_REMEDY);
            } else if sink.streams.is_empty() {
                // What stands in `streams` is judged there.
                may_come(setting, stream, config, report);
            }
        }
    }

    /// A pattern makes a name of a delivery stream of every stream that has not `another`.
    fn pattern(&self, key: &str, pattern: &str, config: &Config, report: &mut Report, another: impl Fn(&str) -> bool) {
        let setting = self.key(key);
        if Targets::fill(pattern, "").contains(['{', '}']) {
            let remedy = "write such as \"logs-{stream}\", or a name without braces";
            report.wrong(setting, format!("is {pattern:?}, and {{stream}} is the only placeholder"), remedy);
            return;
        }
        if let Some(fault) = name_fault(&Targets::fill(pattern, "x")) {
            report.wrong(setting, format!("is {pattern:?}, which {fault}"), NAME_REMEDY);
            return;
        }
        let is_too_long = |stream: &str| Targets::fill(pattern, stream).len() > MAX_NAME_BYTES;
        if let Some(stream) = named(self.sink, config).find(|stream| !another(stream) && is_too_long(stream)) {
            report.between(
                setting,
                &["streams".into(), self.key("streams")],
                format!("makes a name of more than {MAX_NAME_BYTES} bytes of the stream {stream}"),
                "choose a shorter one, or one without {stream}; single streams may have names in delivery_streams",
            );
            return;
        }
        let any = config.ingest.undeclared_streams == UndeclaredStreams::Accept && self.sink.streams.is_empty();
        if any && is_too_long(&"x".repeat(StreamName::MAX_BYTES)) && config.undelivered(self.sink).is_none() {
            report.between(
                setting,
                &["ingest.undeclared_streams".into(), self.key("undelivered")],
                format!(
                    "makes a name of more than {MAX_NAME_BYTES} bytes of a long stream that is not declared, and no object \
                     sink would keep its lines"
                ),
                "choose a shorter one, or one without {stream}, or add a sink of kind \"file\" or \"s3\"",
            );
        }
    }

    /// What is never taken is kept somewhere, or does not exist.
    fn undelivered(&self, config: &Config, report: &mut Report) {
        if let Some(name) = &self.sink.undelivered {
            super::names_object_sink(self.key("undelivered"), name, config, report);
            return;
        }
        let line = config.limits.line().plus(OTHER_FORMS);
        if config.undelivered(self.sink).is_none() && line > MAX_RECORD {
            report.between(
                "limits.event",
                &["limits.context".into(), self.key("kind")],
                format!(
                    "and limits.context make lines of up to {line}, more than a record of Firehose ({MAX_RECORD}), and no \
                     object sink would keep one that does not fit"
                ),
                "lower one of them, or add a sink of kind \"file\" or \"s3\"",
            );
        }
    }

    /// What Firehose loads into Redshift is not loaded from the objects too: every row would be there twice.
    fn loaded_twice(&self, target: FirehoseTarget<'_>, config: &Config, report: &mut Report) {
        if !target.into_redshift || config.warehouse.kind != WarehouseKind::Redshift {
            return;
        }
        let sink = &self.sink.name;
        for (name, _) in config.streams.iter().filter(|(_, stream)| stream.load != Load::None) {
            if !self.sink.takes(name) {
                continue;
            }
            report.between(
                Setting::from("streams").key(name).key("load"),
                &[self.key("into_redshift"), self.key("streams")],
                format!("loads the stream into Redshift, and Firehose does by the sink {sink}: every row would be there twice"),
                format!(
                    "choose one: load = \"none\" leaves it to Firehose; `streams` of {sink} without {name:?} leaves it to \
                     logweir; into_redshift = false says that Firehose loads other tables"
                ),
            );
        }
    }
}

/// Why no delivery stream is called `name`.
fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > MAX_NAME_BYTES {
        Some("has more than 64 bytes")
    } else if !Targets::is_name(name) {
        Some("has a character that no delivery stream has in its name")
    } else {
        None
    }
}
