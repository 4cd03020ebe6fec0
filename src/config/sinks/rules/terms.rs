//! What is wrong with what a sink takes, and on which terms.

use super::Rules;
use crate::{
    batch::StreamName,
    config::{
        Config, Spool,
        ingest::UndeclaredStreams,
        period::Period,
        report::Report,
        setting::Setting,
        sinks::terms::{least_lag_bytes, most_lag_bytes},
        validate::instead,
    },
};

/// The shortest lag in age.
const LEAST_LAG_AGE: Period = Period::seconds(1);
/// The longest lag in age: a spool that holds more is not a spool.
const MAX_LAG_AGE: Period = Period::days(30);

impl Rules<'_> {
    pub(super) fn terms(&self, spool: &Spool, report: &mut Report) {
        let sink = self.sink;
        if !sink.required {
            self.lag(spool, report);
            return;
        }
        let what = if spool.keeps() { "the disk quota" } else { "spool.memory" };
        for (key, given) in
            [("max_lag_bytes", sink.max_lag_bytes.is_some()), ("max_lag_age", sink.max_lag_age.is_some())]
        {
            if given {
                report.between(
                    self.key(key),
                    &[self.key("required")],
                    format!("is a setting of sinks that are not required, and this one is: its lag fills {what}"),
                    "leave it out, or set required = false",
                );
            }
        }
    }

    fn lag(&self, spool: &Spool, report: &mut Report) {
        // Without a disk others stand for the quota and the seal.
        let (quota, room, seal) = if spool.keeps() {
            ("spool.disk_quota", "disk", "spool.seal_after")
        } else {
            ("spool.memory", "memory", "spool.window")
        };
        let (bytes, age) = self.sink.max_lag(spool);
        let (least, most) = (least_lag_bytes(spool), most_lag_bytes(spool));
        // Where the quota has no room for four segments, it is that which is told.
        if least <= most && bytes < least {
            report.between(
                self.key("max_lag_bytes"),
                &["spool.segment_size".into()],
                format!("is {bytes}, less than two segments ({least}): what has just been sealed would be skipped"),
                "raise it, or lower spool.segment_size",
            );
        } else if least <= most && bytes > most {
            report.between(
                self.key("max_lag_bytes"),
                &[quota.into()],
                format!("is {bytes}, more than {most}, which is half of {quota}: a dead sink would fill the {room}"),
                format!("lower it, or raise {quota}"),
            );
        }
        let least = self.sink.least_lag_age(spool);
        if self.sink.kind.has_objects() && age < least && least > LEAST_LAG_AGE {
            report.between(
                self.key("max_lag_age"),
                &[seal.into()],
                format!(
                    "is {age}, less than {least}, which is twice {seal}: what has just been sealed would be skipped"
                ),
                format!("raise it, or lower {seal}"),
            );
        } else {
            report.within(self.key("max_lag_age"), &age, &(LEAST_LAG_AGE..=MAX_LAG_AGE));
        }
    }

    /// The streams that it takes are streams that may come.
    pub(super) fn streams(&self, config: &Config, report: &mut Report) {
        for (place, name) in self.sink.streams.iter().enumerate() {
            let setting = self.key("streams").index(place);
            if self.sink.streams[..place].contains(name) {
                report.wrong(setting, format!("is {name:?} once more"), "leave it out");
            } else {
                may_come(setting, name, config, report);
            }
        }
    }
}

/// Holds `name`, which stands at `setting`, to being a stream that may come.
pub(super) fn may_come(setting: Setting, name: &str, config: &Config, report: &mut Report) {
    if !StreamName::is_valid(name) {
        report.wrong(
            setting,
            format!("is {name:?}, which is no name of a stream"),
            "choose a lower-case letter followed by up to 62 lower-case letters, digits or underscores",
        );
    } else if config.streams.get(name).is_none() && config.ingest.undeclared_streams == UndeclaredStreams::Refuse {
        let declared: Vec<&str> = config.streams.iter().map(|(name, _)| name).collect();
        report.between(
            setting,
            &["streams".into(), "ingest.undeclared_streams".into()],
            format!("is {name:?}, which is not declared, and undeclared streams are refused"),
            instead(name, &declared, "name a stream as in [streams.NAME], or leave it out"),
        );
    }
}
