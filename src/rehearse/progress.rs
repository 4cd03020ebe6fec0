//! What is told while a rehearsal runs: one line.

use std::{fmt, time::Duration};

use super::{
    report::{Sample, Second},
    schedule::Schedule,
};

/// How it goes, at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Time since the start.
    pub now: Duration,
    /// When the last new batch comes.
    pub end: Duration,
    /// The last second that is over.
    pub second: Second,
    /// Batches that wait for their devices to come back.
    pub waiting: usize,
    /// Connections that are open.
    pub connections: usize,
    /// The target's backlog in bytes, if it tells.
    pub backlog: Option<f64>,
    /// Tries that were not sent so far: the generator's shortfall.
    pub unsent: u64,
}

impl Progress {
    pub(super) fn of(
        schedule: &Schedule,
        now: Duration,
        end: Duration,
        connections: usize,
        sample: Option<&Sample>,
    ) -> Self {
        let history = schedule.history();
        // The second that runs is not over; in the first one there is none.
        let over = (now.as_secs() as usize).checked_sub(1).and_then(|last| history.seconds().get(last));
        Self {
            now,
            end,
            second: over.cloned().unwrap_or_default(),
            waiting: schedule.waiting(),
            connections,
            backlog: sample.and_then(|sample| sample.backlog),
            unsent: history.totals().unsent,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Second { new, returns, accepted, failed, .. } = &self.second;
        write!(f, "{:>4}/{} s", self.now.as_secs(), self.end.as_secs())?;
        write!(
            f,
            " | offered {new} + {returns} returns/s, accepted {accepted}, refused {}",
            self.second.all_refused()
        )?;
        write!(f, ", failed {failed} | waiting {}, connections {}", self.waiting, self.connections)?;
        if let Some(backlog) = self.backlog {
            write!(f, ", backlog {:.1} MB", backlog / 1e6)?;
        }
        if self.unsent > 0 {
            write!(f, ", NOT SENT {}", self.unsent)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_last_second_and_the_shortfall_if_there_is_one() {
        let mut progress = Progress { now: Duration::from_secs(7), end: Duration::from_mins(1), ..Progress::default() };
        (progress.second.new, progress.second.returns, progress.second.accepted) = (100, 20, 90);
        progress.second.refused.insert("backlog".into(), 30);
        progress.backlog = Some(2_500_000.0);
        let line = "   7/60 s | offered 100 + 20 returns/s, accepted 90, refused 30, failed 0 | waiting 0, connections 0, \
                    backlog 2.5 MB";
        assert_eq!(progress.to_string(), line);
        progress.unsent = 5;
        assert!(progress.to_string().ends_with(", NOT SENT 5"));
    }
}
