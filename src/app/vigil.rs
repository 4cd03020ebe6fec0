//! The vigil: whether the instance really lives, for a service manager that restarts what does not.
//!
//! It lives as long as, within [`PATIENCE`],
//!
//! - every worker's runtime has turned, and the acceptor has looked at them;
//! - the spool's writer has looked for work, or is within a file call. A disk that takes long to sync, or for ever, is no
//!   reason: another process would wait for the same disk, and what this one holds in memory would be lost. Health tells of
//!   a disk that fails;
//! - the background's runtime turns, on which this stands.
//!
//! It never depends on a sink, on how much is refused, or on how full the disk is. While the instance ends nothing is
//! judged but the last: its parts end one after the other, within the time for the drain.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    http::{Health, WorkerTimes},
    notify,
    queue::Published,
};

/// How long something may stand still before it counts as dead: no flood makes one turn of anything take seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who watches.
pub(super) struct Vigil {
    pub(super) health: Arc<Health>,
    pub(super) workers: Vec<WorkerTimes>,
    pub(super) published: Arc<Published>,
}

/// Something that turns, as its counter tells.
struct Turning {
    turns: u64,
    since: Instant,
}

impl Turning {
    fn new(now: Instant) -> Self {
        Self { turns: 0, since: now }
    }

    /// Whether it has turned within [`PATIENCE`], if it has turned so often by `now`.
    fn turns(&mut self, turns: u64, excused: bool, now: Instant) -> bool {
        if turns != self.turns || excused {
            *self = Self { turns, since: now };
        }
        now.saturating_duration_since(self.since) < PATIENCE
    }
}

/// What is known of those that do not tell a time.
struct Known {
    writer: Turning,
    acceptor: Turning,
    told: bool,
}

impl Known {
    fn new(now: Instant) -> Self {
        Self { writer: Turning::new(now), acceptor: Turning::new(now), told: false }
    }
}

impl Vigil {
    /// Gives the manager a sign of life as often as it wants one, for as long as there is life; not at all if it wants
    /// none.
    pub(super) async fn run(self) {
        let Some(every) = notify::alive_every() else { return };
        let mut signs = interval(every);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = Known::new(Instant::now());
        loop {
            signs.tick().await;
            let dead = self.dead(&mut known, Instant::now());
            if let Some(part) = dead.filter(|_| !known.told) {
                tracing::error!(part, "it has not run for very long: the service manager gets no sign of life");
            }
            known.told = dead.is_some();
            if dead.is_none() {
                notify::alive();
            }
        }
    }

    /// What of it does not live, if anything.
    fn dead(&self, known: &mut Known, now: Instant) -> Option<&'static str> {
        let published = &self.published;
        let acceptor = known.acceptor.turns(self.health.looks(), false, now);
        let writer = known.writer.turns(published.turns(), published.at_disk(), now);
        if self.health.ending() {
            None
        } else if !acceptor {
            Some("acceptor")
        } else if !writer {
            Some("writer")
        } else if !self.workers.iter().all(WorkerTimes::turns) {
            Some("worker")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::queues;

    /// What is found dead after one step of [`PATIENCE`] after the other, in each of which `act` is done.
    fn watch(steps: usize, act: impl Fn(&Vigil)) -> Vec<Option<&'static str>> {
        let (_lanes, intake) = queues(1, 1);
        let vigil = Vigil { health: Arc::default(), workers: Vec::new(), published: intake.published() };
        let began = Instant::now();
        let mut known = Known::new(began);
        let step = |step: usize| {
            act(&vigil);
            vigil.dead(&mut known, began + PATIENCE * step as u32)
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn what_turns_lives() {
        let all = |vigil: &Vigil| {
            vigil.health.look();
            vigil.published.turn();
        };
        assert_eq!(watch(3, all), [None; 3]);
    }

    #[test]
    fn a_writer_or_an_acceptor_that_stands_still_is_dead() {
        assert_eq!(watch(2, |vigil| vigil.health.look()), [None, Some("writer")]);
        assert_eq!(watch(2, |vigil| vigil.published.turn()), [None, Some("acceptor")]);
    }

    #[test]
    fn a_writer_that_waits_for_its_disk_lives_however_long_that_takes() {
        let slow = |vigil: &Vigil| {
            vigil.health.look();
            vigil.published.set_at_disk(true);
        };
        assert_eq!(watch(100, slow), [None; 100]);
    }

    #[test]
    fn an_instance_that_ends_is_not_judged_by_its_parts() {
        assert_eq!(watch(3, |vigil| vigil.health.drain()), [None; 3]);
    }
}
