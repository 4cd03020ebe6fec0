//! What the service manager is told: systemd's notification protocol, and nothing where nobody listens.
//!
//! systemd sets `NOTIFY_SOCKET` for a unit of `Type=notify`, and `WATCHDOG_USEC` for one with `WatchdogSec=`. Each message
//! is one datagram. One that cannot be sent is told in the log and not sent again: the manager has its own time-outs.

use std::{
    process,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tokio::time::sleep;

/// How often the time of a stop is extended, and by how much: one message may come late.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTEND_BY: Duration = Duration::from_secs(15);
/// Into how many parts the manager's patience falls, of which each has one sign of life.
const SIGNS: u32 = 3;

/// It serves, or serves on with the configuration that it has read again: `what` says more to people.
pub fn ready(what: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// It reads its configuration again: [`ready`] is to follow.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told of a reload"),
    }
}

/// It is about to end for good.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// What it does, for people.
pub fn status(what: &str) {
    tell(&[NotifyState::Status(what)]);
}

/// Another process is the service from now on, and this one may end.
pub fn main_process(id: u32) {
    tell(&[NotifyState::MainPid(id)]);
}

/// It lives.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is to be told, if at all.
pub fn alive_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / SIGNS)
}

/// Asks for more time to stop, again and again, until `time` is over.
pub async fn extend_for(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let more = u32::try_from(EXTEND_BY.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::ExtendTimeoutUsec(more)]);
        sleep(EXTEND_EVERY.min(left)).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, process = process::id(), "the service manager cannot be told");
    }
}
