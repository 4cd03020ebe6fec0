//! Up to which received time everything is stored.

use std::collections::BTreeMap;

use super::place::{Place, PlaceError, Whole};
use crate::{
    batch::{Hour, InstanceId, Millis},
    ledger::{HEARTBEATS, Heartbeat, MAX_HEARTBEAT_BYTES},
};

/// How many of the last hours are searched for heartbeats.
const HOURS: u32 = 48;

/// Up to which received time everything is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completeness {
    /// Up to when; `None` if nobody knows, because there are no heartbeats.
    pub until: Option<Millis>,
    /// The instance that may still store what came later, and whether it is silent.
    pub held_back_by: Option<(InstanceId, bool)>,
}

/// Up to which received time everything is stored in `place`, as its heartbeats tell at `now`; those since `since` are
/// read.
///
/// # Errors
/// [`PlaceError`].
pub async fn completeness(place: &Place, since: Option<Millis>, now: Millis) -> Result<Completeness, PlaceError> {
    let last = now.hour().next();
    let first = since.map_or(0, |since| since.hour().0).max(last.0.saturating_sub(HOURS));
    let mut latest: BTreeMap<InstanceId, Heartbeat> = BTreeMap::new();
    for hour in first..=last.0 {
        let directory = format!("{}{HEARTBEATS}{}/", place.prefix, Hour(hour).partition());
        let mut after = None;
        loop {
            let page = place.list(&directory, after).await?;
            for listed in page.objects {
                let whole = place.read(&listed.key, || Whole { bytes: Vec::new(), most: MAX_HEARTBEAT_BYTES }).await?;
                let Some(heartbeat) = whole.and_then(|whole| Heartbeat::read(&whole.bytes)) else { continue };
                let known = latest.entry(heartbeat.instance).or_insert_with(|| heartbeat.clone());
                if (known.started, known.at) < (heartbeat.started, heartbeat.at) {
                    *known = heartbeat;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let open = latest.values().filter_map(|heartbeat| Some((heartbeat.complete_until()?, heartbeat)));
    Ok(match open.min_by_key(|(until, _)| *until) {
        Some((until, heartbeat)) => {
            Completeness { until: Some(until), held_back_by: Some((heartbeat.instance, heartbeat.is_silent(now))) }
        }
        // Every instance that was heard of has ended and stored everything.
        None if !latest.is_empty() => Completeness { until: Some(now), held_back_by: None },
        None => Completeness { until: None, held_back_by: None },
    })
}
