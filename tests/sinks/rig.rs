//! What the suite asks of a sink's back end.

use std::sync::Arc;

use logweir::{
    sink::{LineSink, ObjectStore},
    spool::Destination,
};

use crate::script::{Fault, Script};

/// A sink over a back end that does as a script says.
pub(crate) trait Rig: Sized {
    /// Why an attempt cannot meet with `fault`; `None` if it can. What is given here stands in the test's output.
    fn cannot(fault: Fault) -> Option<&'static str>;

    /// Starts the back end.
    async fn start(script: Script) -> Self;

    /// The sink, as it is after a start of the process.
    fn sink(&self) -> Sink;

    /// The lines that the back end has taken, without line feeds, as often as it has them.
    fn arrived(&self) -> Vec<String>;
}

/// A sink of either family.
pub(crate) enum Sink {
    Lines(Arc<dyn LineSink>),
    Objects(Arc<dyn ObjectStore>, Destination),
}
