//! The server on one core, and the load on another.

use std::time::Duration;

use crate::{
    load::{Load, Measured},
    servers::{self, Kind, Target},
};

/// What a benchmark of servers works with.
#[derive(Clone, Copy)]
pub(crate) struct Rig {
    /// The core of the server.
    pub(crate) server: usize,
    /// That of the load.
    pub(crate) load: usize,
    pub(crate) connections: usize,
    /// How long is measured, in seconds, behind a warm-up of a quarter of that.
    pub(crate) seconds: f64,
}

impl Rig {
    /// With the first core and the last.
    pub(crate) fn new(connections: usize, seconds: f64) -> Self {
        let (server, load) = servers::cores();
        Self { server, load, connections, seconds }
    }

    /// Batches for `stream` at `target`, with so many events each.
    pub(crate) fn batches(&self, target: &Target, stream: &'static str, events: usize) -> Load {
        Load {
            address: target.address,
            connections: self.connections,
            events,
            stream,
            warm_up: Duration::from_secs_f64(self.seconds / 4.0),
            time: Duration::from_secs_f64(self.seconds),
        }
    }

    /// Each connection sends the next batch when the last is answered.
    pub(crate) fn closed_loop(&self, target: &Target, stream: &'static str, events: usize) -> Measured {
        self.batches(target, stream, events).run(self.load, target)
    }

    /// The same with a server that lives for this alone.
    pub(crate) fn measure(
        &self,
        kind: Kind,
        settings: &[(&str, String)],
        stream: &'static str,
        events: usize,
    ) -> Measured {
        let target = Target::start(kind, self.server, settings);
        let measured = self.closed_loop(&target, stream, events);
        target.stop();
        measured
    }
}
