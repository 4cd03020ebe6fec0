//! Health, honest and small (P11): whether this process lives, and whether it should be sent requests.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::StatusCode;

use crate::queue::Published;

/// What a load balancer asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// `/livez`: whether this process lives.
    Lives,
    /// `/readyz`: whether it should be sent requests.
    IsReady,
}

impl Question {
    /// The question that a request which begins with `bytes` asks, if it is one.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'G', b'E', b'T', b' ', b'/', b'l', b'i', b'v', b'e', b'z', b' ', ..] => Some(Self::Lives),
            [b'G', b'E', b'T', b' ', b'/', b'r', b'e', b'a', b'd', b'y', b'z', b' ', ..] => Some(Self::IsReady),
            _ => None,
        }
    }
}

/// What `/livez` and `/readyz` answer from. Neither ever depends on a sink or on saturation: a loaded instance that is
/// taken out of rotation leaves its load to the others.
///
/// A worker that has not run for half a minute is no saturation: it hangs, or has ended, and the connections that it has
/// get no answer. Requests are to go elsewhere then. The process is not to be killed for it, with what it holds in memory
/// and the other workers: whether to is for people to decide, who can give it a watchdog (`WatchdogSec=` of systemd).
#[derive(Debug, Default)]
pub struct Health {
    unready: AtomicBool,
    draining: AtomicBool,
    ending: AtomicBool,
    looks: AtomicU64,
    stuck: AtomicBool,
}

impl Health {
    /// The load balancer is to send requests elsewhere; those that come are still served.
    pub fn leave(&self) {
        self.unready.store(true, Ordering::Release);
    }

    /// Connections are closed behind their next answer.
    pub fn drain(&self) {
        self.unready.store(true, Ordering::Release);
        self.draining.store(true, Ordering::Release);
        self.end();
    }

    /// Connections are closed behind their next answer, though requests are to come here as before: somebody else serves
    /// them soon, behind the same socket. Or not, after all.
    pub fn give_way(&self, way: bool) {
        self.draining.store(way, Ordering::Release);
    }

    /// Whether connections are closed behind their next answer.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// From now on the parts of the instance end, one after the other.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether they do.
    pub fn ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// How often the acceptor has looked: some times a second.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// The acceptor looks.
    pub(crate) fn look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes whether every worker `turns`. To be called by the acceptor, some times a second.
    pub(super) fn observe(&self, turns: bool) {
        self.look();
        if self.stuck.swap(!turns, Ordering::AcqRel) == turns {
            if turns {
                tracing::warn!("the workers turn again");
            } else {
                tracing::error!("a worker has not run for very long: this instance is not ready");
            }
        }
    }

    /// The answer to `question`.
    pub(super) fn answer(&self, question: Question, published: &Published) -> (StatusCode, &'static str) {
        match (question, self.unready(published)) {
            (Question::Lives, _) => (StatusCode::OK, "alive\n"),
            (Question::IsReady, None) => (StatusCode::OK, "ready\n"),
            (Question::IsReady, Some(why)) => (StatusCode::SERVICE_UNAVAILABLE, why),
        }
    }

    /// Why requests should go elsewhere, if they should.
    pub fn unready(&self, published: &Published) -> Option<&'static str> {
        if self.unready.load(Ordering::Acquire) {
            Some("draining")
        } else if published.disk_failed() {
            Some("disk failed")
        } else if self.stuck.load(Ordering::Acquire) {
            Some("workers stuck")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::queues;

    #[test]
    fn an_instance_that_gives_way_to_another_behind_its_socket_is_ready() {
        let (_lanes, intake) = queues(1, 1);
        let published = intake.published();
        let health = Health::default();
        health.give_way(true);
        assert!(health.draining());
        assert_eq!(health.answer(Question::IsReady, &published).0, StatusCode::OK);
        health.give_way(false);
        assert!(!health.draining(), "and may stay");
    }

    #[test]
    fn an_instance_with_a_stuck_worker_is_alive_and_not_ready_until_it_turns() {
        let (_lanes, intake) = queues(1, 1);
        let published = intake.published();
        let health = Health::default();
        let answers = |health: &Health| {
            [Question::Lives, Question::IsReady].map(|question| health.answer(question, &published).0.as_u16())
        };
        for (turns, ready) in [(true, 200), (false, 503), (true, 200)] {
            health.observe(turns);
            assert_eq!(answers(&health), [200, ready]);
        }
    }
}
