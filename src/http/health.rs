//! Health, honest and small (P11): whether this process lives, and whether it should be sent requests.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::queue::Published;

/// What `/livez` and `/readyz` answer from. Neither ever depends on a sink or on saturation: a loaded instance that is
/// taken out of rotation leaves its load to the others.
#[derive(Debug, Default)]
pub struct Health {
    unready: AtomicBool,
    draining: AtomicBool,
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
    }

    /// Whether [`Self::drain`] was called.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Why requests should go elsewhere, if they should.
    pub fn unready(&self, published: &Published) -> Option<&'static str> {
        if self.unready.load(Ordering::Acquire) {
            Some("draining")
        } else if published.disk_failed() {
            Some("disk failed")
        } else {
            None
        }
    }
}
