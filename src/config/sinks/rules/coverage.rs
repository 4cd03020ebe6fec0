//! Every stream has a sink that takes it: what is acknowledged must not be dropped.

use super::element;
use crate::config::{Config, Sink, UndeclaredStreams, report::Report, setting::Setting};

/// Who must take everything.
struct Takers<'c> {
    sinks: Vec<&'c Sink>,
    /// What they are called.
    which: &'static str,
    /// Their filters: what is wrong with one is told there, and not by what follows from it.
    filters: Vec<Setting>,
}

/// Checks that everything that is acknowledged, accepted and rejected events of each stream, is taken by a required sink;
/// by any sink, if none is required.
pub(super) fn check(config: &Config, report: &mut Report) {
    let any_required = config.sinks.iter().any(|sink| sink.required);
    let filter = |(index, sink): (usize, &Sink)| {
        let places = (0..sink.streams.len()).map(move |place| element(index).key("streams").index(place));
        places.chain(["required", "streams", "rejected_stream"].map(|key| element(index).key(key))).collect::<Vec<_>>()
    };
    let takers = Takers {
        sinks: config.sinks.iter().filter(|sink| sink.required || !any_required).collect(),
        which: if any_required { "required sink" } else { "sink" },
        filters: config.sinks.iter().enumerate().flat_map(filter).collect(),
    };
    if takers.sinks.is_empty() {
        return;
    }
    for (name, _) in config.streams.iter() {
        takers.declared(name, report);
    }
    if config.ingest.undeclared_streams == UndeclaredStreams::Accept {
        takers.undeclared(report);
    }
}

impl Takers<'_> {
    /// What of the events that `takes` chooses sinks by is taken by none: in words, with what is to be done.
    fn lack(&self, takes: impl Fn(&Sink) -> bool) -> Option<Lack> {
        let mut taking = self.sinks.iter().filter(|sink| takes(sink)).peekable();
        if taking.peek().is_none() {
            Some(Lack::Everything)
        } else if !taking.any(|sink| sink.takes_rejected()) {
            Some(Lack::Rejected)
        } else {
            None
        }
    }

    fn declared(&self, name: &str, report: &mut Report) {
        let which = self.which;
        let (what, remedy) = match self.lack(|sink| sink.takes(name)) {
            None => return,
            Some(Lack::Everything) => (
                format!("is taken by no {which}: its events would be acknowledged and then dropped"),
                format!("add {name:?} to `streams` of a {which}, or leave `streams` out there"),
            ),
            Some(Lack::Rejected) => (
                format!("has no {which} that takes its rejected events: they would be acknowledged and then dropped"),
                format!(
                    "set rejected_stream on the sink that takes it, or let a {which} of kind \"file\" or \"s3\" take it"
                ),
            ),
        };
        report.between(Setting::from("streams").key(name), &self.filters, what, remedy);
    }

    fn undeclared(&self, report: &mut Report) {
        let which = self.which;
        let (what, remedy) = match self.lack(|sink| sink.streams.is_empty()) {
            None => return,
            Some(Lack::Everything) => (
                format!(
                    "is \"accept\", and no {which} takes every stream: events of others would be acknowledged and then dropped"
                ),
                format!("leave `streams` out of a {which}, or set ingest.undeclared_streams = \"refuse\""),
            ),
            Some(Lack::Rejected) => (
                format!(
                    "is \"accept\", and no {which} takes the rejected events of every stream: they would be acknowledged and \
                     then dropped"
                ),
                format!(
                    "set rejected_stream on the sink that takes all, or let a {which} of kind \"file\" or \"s3\" take all"
                ),
            ),
        };
        report.between("ingest.undeclared_streams", &self.filters, what, remedy);
    }
}

/// What is taken by nobody who must.
enum Lack {
    /// Accepted and rejected events.
    Everything,
    /// The rejected ones.
    Rejected,
}
