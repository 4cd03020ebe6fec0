//! The sinks' lags: once a second it is looked how far each has come, and gone on without one that lags too far.
//!
//! Not by the sinks themselves: one that hangs would not.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{batch::Clock, spool::Shelf};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks until it is dropped.
pub(super) async fn watch(shelf: Arc<Shelf>, clock: Arc<Clock>) {
    let mut looks = interval(INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let (shelf, clock) = (Arc::clone(&shelf), Arc::clone(&clock));
        if let Err(error) = tokio::task::spawn_blocking(move || shelf.keep_up(clock.now())).await {
            tracing::error!(%error, "how far the sinks have come could not be looked at");
        }
    }
}
