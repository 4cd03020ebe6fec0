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

/// The longest lag in age: a spool that holds more is not a spool.
const MAX_LAG_AGE: Period = Period::days(30);

impl Rules<'_> {
    pub(super) fn terms(&self, spool: &Spool, report: &mut Report) {
        let sink = self.sink;
        if !sink.required {
            self.lag(spool, report);
            return;
        }
        for (key, given) in
            [("max_lag_bytes", sink.max_lag_bytes.is_some()), ("max_lag_age", sink.max_lag_age.is_some())]
        {
            if given {
                report.between(
                    self.key(key),
                    &[self.key("required")],
                    "is a setting of sinks that are not required, and this one is: its lag fills the disk quota",
                    "leave it out, or set required = false",
                );
            }
        }
    }

    fn lag(&self, spool: &Spool, report: &mut Report) {
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
                &["spool.disk_quota".into()],
                format!("is {bytes}, more than half of spool.disk_quota ({most}): a dead sink would fill the disk"),
                "lower it, or raise spool.disk_quota",
            );
        }
        let least = self.sink.least_lag_age(spool);
        if self.sink.kind.has_objects() && age < least {
            report.between(
                self.key("max_lag_age"),
                &["spool.seal_after".into()],
                format!(
                    "is {age}, less than twice spool.seal_after ({}): what has just been sealed would be skipped",
                    spool.seal_after
                ),
                "raise it, or lower spool.seal_after",
            );
        } else {
            report.within(self.key("max_lag_age"), &age, &(Period::seconds(1)..=MAX_LAG_AGE));
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
