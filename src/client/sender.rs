//! Sends what waits: one device, one request at a time, batches in the order in which they were made.
//!
//! What an answer says about time holds for the device, not for the batch: after a 429 nothing at all is sent before the
//! time it names. The exception is 403, by which the key is good and the stream is not: only the stream's batches wait, or a
//! stream that nobody may write to would hold up all others. Both outlive the process, if there is a directory. A batch that a server fails on again and again (500) does hold
//! up what is behind it, until it is too old or the buffer is full: a device cannot know that it is the batch.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    buffer::{Next, READ_AGAIN},
    contract::{Fate, KEY_WAIT, Verdict},
    exchange::{Heard, Requests},
    pace::Pace,
    pauses::Pauses,
    shared::{Shared, lock},
    transport::Transport,
};
use crate::batch::StreamName;

/// The shortest pause that outlives the process, if there is a directory. Shorter ones are over before an application has
/// started again, and not worth a write.
pub const KEPT_PAUSE: Duration = Duration::from_mins(1);

/// Sends what waits.
#[derive(Debug)]
pub(super) struct Sender {
    transport: Arc<dyn Transport>,
    requests: Requests,
    pace: Pace,
    /// The uptime before which nothing is sent.
    paused_until: Duration,
    /// The uptime of the last request, unless the server has named the time of the next.
    last_sent: Option<Duration>,
    /// Streams that the key may not write to, and the uptime at which that is tried again. They are streams of batches
    /// that wait, or did in the last run, so there are no more than of these.
    barred: BTreeMap<StreamName, Duration>,
}

impl Sender {
    /// A sender that keeps the `pauses` of the last run.
    pub(super) fn new(transport: Arc<dyn Transport>, requests: Requests, pauses: Pauses, now: Duration) -> Self {
        let until = |pause| now.saturating_add(pause);
        Self {
            transport,
            requests,
            pace: Pace::default(),
            paused_until: until(pauses.device),
            last_sent: None,
            barred: pauses.streams.into_iter().map(|(stream, pause)| (stream, until(pause))).collect(),
        }
    }

    /// For how long nothing is to be sent.
    fn pauses(&self, now: Duration) -> Pauses {
        let streams = self.barred.iter().map(|(stream, until)| (stream.clone(), until.saturating_sub(now)));
        Pauses { device: self.paused_until.saturating_sub(now), streams: streams.collect() }
    }

    /// Sends what waits and what comes. With an `end`, in uptime, it returns when nothing more can be sent before that;
    /// else never. Dropping it between two polls loses nothing: what was being sent is sent again.
    pub(super) async fn run(&mut self, shared: &Arc<Shared>, end: Option<Duration>) {
        loop {
            let now = shared.clock.uptime();
            let due = self.due(shared);
            if due > now {
                if end.is_some_and(|end| due > end) {
                    return;
                }
                shared.clock.sleep_until(due).await;
                continue;
            }
            self.barred.retain(|_, until| *until > now);
            let barred: Vec<_> = self.barred.keys().cloned().collect();
            let next = shared.with_buffer(move |buffer, now, counts| {
                buffer.settled();
                buffer.drop_old(now.uptime, counts);
                let next = buffer.next(|stream| !barred.contains(stream), now.uptime, counts);
                (next, buffer.read_again(now.uptime))
            });
            match next.await {
                Ok((Some(next), _)) => self.attempt(shared, next).await,
                Ok((None, read_again)) => {
                    let again = self.barred.values().copied().chain(read_again).min();
                    if end.is_some_and(|end| again.is_none_or(|again| again > end)) {
                        return;
                    }
                    wait(shared, again).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the buffer cannot be asked; trying again");
                    self.paused_until = now.saturating_add(READ_AGAIN);
                }
            }
        }
    }

    /// The uptime of the next request, if there is something to send.
    fn due(&self, shared: &Shared) -> Duration {
        let interval = shared.hints().send_interval.unwrap_or_default();
        self.last_sent.map_or(Duration::ZERO, |sent| sent.saturating_add(interval)).max(self.paused_until)
    }

    /// Sends a batch and does what the answer says.
    async fn attempt(&mut self, shared: &Arc<Shared>, next: Next) {
        let sent = shared.clock.uptime();
        let request = self.requests.send(&next.packed, shared.clock.wall());
        {
            let mut counts = lock(&shared.counts);
            counts.attempts += 1;
            counts.retries += u64::from(next.attempts > 0);
        }
        let batch = next.packed.label.id;
        let heard = match self.transport.send(request).await {
            Ok(response) => Heard::read(&response),
            Err(error) => {
                tracing::debug!(%batch, %error, "no answer");
                Heard::default()
            }
        };
        let verdict = heard.answer.verdict();
        shared.hear(heard.hints, verdict == Verdict::Forget);

        let now = shared.clock.uptime();
        let age = next.age.saturating_add(now.saturating_sub(sent));
        let step = self.pace.answered(&heard.answer, age, fastrand::f64());
        let named = heard.answer.wait().is_some();
        // A time that the server names for this device stands before the interval that it asks of all.
        self.last_sent = Some(sent).filter(|_| !named);
        let barred = heard.answer.status == Some(403);
        let pause = step.pause.filter(|_| !barred);
        if barred {
            self.barred.insert(next.packed.label.stream.clone(), now.saturating_add(KEY_WAIT));
        }
        if let Some(pause) = pause {
            self.paused_until = now.saturating_add(pause);
        }
        let worth_keeping = barred || pause.is_some_and(|pause| pause >= KEPT_PAUSE);
        let pauses = worth_keeping.then(|| self.pauses(now));
        if matches!(step.fate, Fate::Refused | Fate::TooOld) {
            tracing::warn!(%batch, status = heard.answer.status, fate = ?step.fate, "a batch is dropped");
        }
        let settled = shared.with_buffer(move |buffer, now, counts| {
            buffer.settled();
            if let Some(pauses) = pauses {
                buffer.keep_pauses(&pauses, now.wall);
            }
            match step.fate {
                Fate::Again(_) => {}
                Fate::Forgotten => {
                    counts.delivered += buffer.remove(batch);
                    let (accepted, rejected) = heard.events.unwrap_or_default();
                    counts.accepted += accepted;
                    counts.rejected += rejected;
                }
                Fate::Refused => counts.dropped_refused += buffer.remove(batch),
                Fate::TooOld => counts.dropped_too_old += buffer.remove(batch),
            }
        });
        if let Err(error) = settled.await {
            tracing::debug!(%error, "the answer could not be noted; the batch is sent again");
        }
    }
}

/// Waits until a batch comes, or until the uptime is `again`, if there is something to try again.
async fn wait(shared: &Shared, again: Option<Duration>) {
    let again = async {
        match again {
            Some(again) => shared.clock.sleep_until(again).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = again => {}
        () = shared.buffered.notified() => {}
    }
}
