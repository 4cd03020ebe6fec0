//! How connections end when their instance does.

use tokio::time::Instant;

/// How the acceptor and the workers end.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// When connections that are still open are cut.
    pub cut: Instant,
    /// When those that wait for the sinks are told what is promised by then; `None` if they wait on.
    pub last_answers: Option<Instant>,
    /// Whether somebody else has the listening socket, too, and serves who waits in its queue. If nobody does, closing it
    /// would reset them: they are served first.
    pub queue_stays: bool,
}
