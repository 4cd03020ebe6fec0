//! What the configuration says about mutes, hints and quotas, as the workers use it.

use std::{sync::Arc, time::Duration};

use crate::{
    admission::{Allowance, Mute, Quota, SdkPattern},
    config::Config,
    http::{Hints, Policy},
};

/// The policy of `config`. A quota that says the same as in `before` is taken over with what it stands at.
pub(super) fn policy(config: &Config, before: Option<&Policy>) -> Policy {
    let mutes = config.mute.iter().map(|mute| Mute {
        key: mute.key.clone(),
        stream: mute.stream.clone(),
        sdk: mute.sdk.as_deref().map(SdkPattern::new),
        devices: mute.share(),
        retry_after: mute.retry_after.get(),
    });
    let hints = Hints::new(config.hints.send_interval.map(|period| whole_seconds(period.get())), config.hints.sampling);
    let quotas = config.keys.iter().enumerate().map(|(number, key)| {
        let allowance = allowance(config, &key.quota);
        let known = before.and_then(|before| before.quotas.get(number)?.as_ref());
        match known {
            Some(known) if known.allowance() == allowance => Some(Arc::clone(known)),
            _ => allowance.limits().then(|| Arc::new(Quota::new(allowance, config.pacing.retry_after_cap.get()))),
        }
    });
    Policy { mutes: mutes.collect(), hints, quotas: quotas.collect() }
}

/// Rounded up.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1_000) as u64
}

/// This instance's part of what the fleet grants.
fn allowance(config: &Config, quota: &crate::config::Quota) -> Allowance {
    let part = quota.of_instance(config.fleet.instances);
    Allowance { requests: part.requests, bytes: part.bytes, events: part.events, burst: part.burst.get() }
}
