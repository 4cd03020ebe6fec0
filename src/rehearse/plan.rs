//! What to rehearse, within limits that have a name.

use std::{fmt, time::Duration};

use super::{
    device::Mix,
    profile::{Flood, Profile},
    target::Target,
};
use crate::batch::StreamName;

/// The most devices that batches come from: a number is all that a device costs.
pub const MAX_DEVICES: u64 = 1_000_000_000;
/// The most connections that are open together.
pub const MAX_CONNECTIONS: usize = 8_192;
/// The longest rehearsal.
pub const MAX_DURATION: Duration = Duration::from_hours(1);
/// The shortest rehearsal.
pub const MIN_DURATION: Duration = Duration::from_secs(1);
/// The most requests that a rehearsal sends; at the limit it ends early and says so.
pub const MAX_REQUESTS: u64 = 50_000_000;
/// The highest peak that may be asked for, in new batches a second.
pub const MAX_PEAK: f64 = 100_000.0;
/// The highest peak that is taken from the target's capacity: what this generator is made to send from one core. More is
/// rehearsed only if somebody asks for it by number.
pub const MAX_COMPUTED_PEAK: f64 = 20_000.0;
/// The most events a batch.
pub const MAX_EVENTS: usize = 10_000;
/// What an event of a rehearsal comes to once it is stored, in bytes: the unit of the capacity that a target tells.
pub const STORED_EVENT_BYTES: f64 = 640.0;

/// An API key, which nobody reads in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// What to rehearse.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where batches go.
    pub target: Target,
    /// Where the target tells its metrics.
    pub metrics: Target,
    /// The shape of the load.
    pub profile: Profile,
    /// The highest rate of new batches a second; without, it is computed from the target's capacity.
    pub peak: Option<f64>,
    /// How long new batches come.
    pub duration: Duration,
    /// How devices behave.
    pub mix: Mix,
    /// How many devices the batches come from, in turn.
    pub devices: u64,
    /// How many connections may be open together.
    pub connections: usize,
    /// Events a batch.
    pub events: usize,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// The stream that batches go to.
    pub stream: StreamName,
    /// The API key.
    pub key: Option<Key>,
    /// What chance is drawn from.
    pub seed: u64,
    /// What devices take for every Retry-After of a refusal.
    pub constant_retry_after: Option<Duration>,
}

/// What is asked for is beyond a limit, or makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// The peak.
    #[error("--peak is {0}: it is above 0 and at most {MAX_PEAK} new batches a second")]
    Peak(f64),
    /// The duration.
    #[error("--duration is {0:?}: it is {MIN_DURATION:?} to {MAX_DURATION:?}")]
    Duration(Duration),
    /// The shares of behaviours.
    #[error("--behave, --careless and --stubborn are {} : {} : {}: none may be negative, and not all 0", .0.behave, .0.careless, .0.stubborn)]
    Mix(Mix),
    /// The devices.
    #[error("--devices is {0}: it is 1 to {MAX_DEVICES}")]
    Devices(u64),
    /// The connections.
    #[error("--connections is {0}: it is 1 to {MAX_CONNECTIONS}")]
    Connections(usize),
    /// The events.
    #[error("--events is {0}: it is 1 to {MAX_EVENTS}")]
    Events(usize),
    /// The key.
    #[error("the key is empty, or holds a character that no header can")]
    Key,
    /// The constant.
    #[error("--constant-retry-after is {0:?}: it is above 0 and at most {MAX_DURATION:?}")]
    ConstantRetryAfter(Duration),
    /// The load would exceed the requests that a rehearsal may send.
    #[error(
        "{0:.0} new batches are more than the {MAX_REQUESTS} requests that a rehearsal sends: lower --peak or --duration"
    )]
    Requests(f64),
}

impl Plan {
    /// Holds what is asked for against the limits.
    ///
    /// # Errors
    /// The first [`PlanError`].
    pub fn check(&self) -> Result<(), PlanError> {
        if let Some(peak) = self.peak.filter(|peak| !(*peak > 0.0 && *peak <= MAX_PEAK)) {
            return Err(PlanError::Peak(peak));
        }
        if !(MIN_DURATION..=MAX_DURATION).contains(&self.duration) {
            return Err(PlanError::Duration(self.duration));
        }
        if !self.mix.is_sound() {
            return Err(PlanError::Mix(self.mix));
        }
        if !(1..=MAX_DEVICES).contains(&self.devices) {
            return Err(PlanError::Devices(self.devices));
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            return Err(PlanError::Connections(self.connections));
        }
        if !(1..=MAX_EVENTS).contains(&self.events) {
            return Err(PlanError::Events(self.events));
        }
        if self.key.as_ref().is_some_and(|Key(key)| key.is_empty() || ::http::HeaderValue::from_str(key).is_err()) {
            return Err(PlanError::Key);
        }
        if let Some(told) = self.constant_retry_after.filter(|told| told.is_zero() || *told > MAX_DURATION) {
            return Err(PlanError::ConstantRetryAfter(told));
        }
        match self.peak.map(|peak| self.flood(peak).batches()) {
            Some(batches) if batches > MAX_REQUESTS as f64 => Err(PlanError::Requests(batches)),
            _ => Ok(()),
        }
    }

    /// The load with this peak.
    pub fn flood(&self, peak: f64) -> Flood {
        Flood { profile: self.profile, peak, duration: self.duration }
    }

    /// The peak for a target that takes `capacity` bytes a second, and whether it is lower than the profile asks for.
    pub fn computed_peak(&self, capacity: f64) -> (f64, bool) {
        let batches = capacity / (self.events as f64 * STORED_EVENT_BYTES);
        let wanted = (batches * self.profile.peak_in_capacities()).max(1.0);
        (wanted.min(MAX_COMPUTED_PEAK), wanted > MAX_COMPUTED_PEAK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let target = Target { address: ([127, 0, 0, 1], 1).into(), host: String::new(), path: String::new() };
        Plan {
            metrics: target.clone(),
            target,
            profile: Profile::SeedOutage,
            peak: Some(100.0),
            duration: Duration::from_secs(4),
            mix: Profile::SeedOutage.mix(),
            devices: 1,
            connections: 1,
            events: 10,
            gzip: false,
            stream: StreamName::new("rehearsal").unwrap(),
            key: None,
            seed: 1,
            constant_retry_after: None,
        }
    }

    #[test]
    fn what_is_beyond_a_limit_is_refused_by_its_name() {
        assert_eq!(plan().check(), Ok(()));
        let told = |change: fn(&mut Plan)| {
            let mut plan = plan();
            change(&mut plan);
            plan.check().unwrap_err().to_string()
        };
        assert!(told(|plan| plan.peak = Some(0.0)).contains("--peak is 0"));
        assert!(told(|plan| plan.peak = Some(f64::NAN)).contains("--peak"));
        assert!(told(|plan| plan.peak = Some(MAX_PEAK + 1.0)).contains("--peak"));
        assert!(told(|plan| plan.duration = MAX_DURATION * 2).contains("--duration"));
        assert!(told(|plan| plan.mix.behave = -1.0).contains("--behave"));
        assert!(told(|plan| plan.devices = 0).contains("--devices"));
        assert!(told(|plan| plan.connections = MAX_CONNECTIONS + 1).contains("--connections"));
        assert!(told(|plan| plan.events = 0).contains("--events"));
        assert!(told(|plan| plan.key = Some(Key("a\nb".into()))).contains("key"));
        assert!(told(|plan| plan.key = Some(Key(String::new()))).contains("key is empty"));
        assert!(told(|plan| plan.constant_retry_after = Some(Duration::ZERO)).contains("--constant-retry-after"));
        let many = |plan: &mut Plan| (plan.peak, plan.duration) = (Some(MAX_PEAK), MAX_DURATION);
        assert!(told(many).contains("requests"));
    }

    #[test]
    fn a_plan_is_shown_without_its_key() {
        let shown = format!("{:?}", Plan { key: Some(Key("sdk-key-0123".into())), ..plan() });
        assert!(shown.contains("Key(***)") && !shown.contains("0123"), "{shown}");
    }

    #[test]
    fn the_peak_is_so_many_times_the_capacity_and_no_more_than_can_be_sent() {
        let (peak, lowered) = plan().computed_peak(640_000.0);
        assert!((peak - 1_000.0).abs() < 1e-9 && !lowered, "{peak}");
        assert_eq!(plan().computed_peak(1e9), (MAX_COMPUTED_PEAK, true));
        assert_eq!(plan().computed_peak(0.0), (1.0, false));
    }
}
