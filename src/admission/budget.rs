//! The byte budget: what all batches in memory may occupy together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// By how much a reservation grows when nobody knows how much more will come (a chunked or an inflating body), in bytes.
pub const STEP_BYTES: usize = 64 * 1024;

/// What all batches in memory may occupy together: bodies, decoding, encoding, queues.
///
/// Two atomic numbers: what is reserved, which never exceeds its limit, and the part of it that is the backlog of the
/// durable path. What a slow client has announced and not sent is reserved, and keeps no disk busy.
#[derive(Debug)]
pub struct ByteBudget {
    limit: usize,
    used: AtomicUsize,
    backlog: AtomicUsize,
}

/// The budget has no room for what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{asked} bytes were asked for while {used} of {limit} are in use")]
pub struct Exhausted {
    /// Bytes in use.
    pub used: usize,
    /// Bytes that may be in use.
    pub limit: usize,
    /// Bytes asked for.
    pub asked: usize,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), backlog: AtomicUsize::new(0) })
    }

    /// Takes `bytes` until the reservation is dropped.
    ///
    /// # Errors
    /// [`Exhausted`] if that is more than what is left.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reservation, Exhausted> {
        self.take(bytes)?;
        Ok(Reservation { budget: Arc::clone(self), bytes, is_backlog: false })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes in use by batches whose bodies have come, and which are not durable yet.
    pub fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Bytes that may be in use.
    pub fn limit(&self) -> usize {
        self.limit
    }

    fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map(|_| ()).map_err(|used| Exhausted {
            used,
            limit: self.limit,
            asked: bytes,
        })
    }
}

/// Bytes of the budget that a batch holds; given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<ByteBudget>,
    bytes: usize,
    is_backlog: bool,
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `more` bytes.
    ///
    /// # Errors
    /// [`Exhausted`] if that is more than what is left; what is held stays held.
    pub fn grow(&mut self, more: usize) -> Result<(), Exhausted> {
        self.budget.take(more)?;
        self.bytes += more;
        if self.is_backlog {
            self.budget.backlog.fetch_add(more, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The body has come: from now on what is held is backlog of the durable path.
    pub fn arrive(&mut self) {
        if !std::mem::replace(&mut self.is_backlog, true) {
            self.budget.backlog.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }

    /// Holds `bytes`, if that is less than what is held.
    pub fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.budget.used.fetch_sub(surplus, Ordering::Relaxed);
        if self.is_backlog {
            self.budget.backlog.fetch_sub(surplus, Ordering::Relaxed);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_grows_shrinks_and_is_given_back() {
        let budget = ByteBudget::new(100);
        let mut first = budget.reserve(60).unwrap();
        assert_eq!(budget.reserve(41).unwrap_err(), Exhausted { used: 60, limit: 100, asked: 41 });
        let second = budget.reserve(40).unwrap();
        assert!(first.grow(1).is_err());
        assert_eq!((first.bytes(), budget.used()), (60, 100));
        drop(second);
        first.grow(1).unwrap();
        first.shrink_to(10);
        first.shrink_to(50);
        assert_eq!((first.bytes(), budget.used()), (10, 10));
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(budget.reserve(usize::MAX).is_err(), "no overflow");
    }

    #[test]
    fn what_has_come_is_backlog_until_it_is_given_back() {
        let budget = ByteBudget::new(100);
        let mut held = budget.reserve(10).unwrap();
        assert_eq!((budget.used(), budget.backlog()), (10, 0));
        held.arrive();
        held.arrive();
        assert_eq!(budget.backlog(), 10);
        held.grow(20).unwrap();
        held.shrink_to(25);
        assert_eq!((budget.used(), budget.backlog()), (25, 25));
        drop(held);
        assert_eq!((budget.used(), budget.backlog()), (0, 0));
    }

    #[test]
    fn many_threads_never_exceed_the_limit() {
        let budget = ByteBudget::new(1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in 0..10_000 {
                        if let Ok(mut held) = budget.reserve(bytes % 400) {
                            assert!(budget.used() <= 1_000);
                            let _ = held.grow(bytes % 7);
                        }
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }
}
