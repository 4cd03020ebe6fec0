//! Whether the spool's writer is within a file call: how a device that hangs is told from a thread that does.

use std::{cell::OnceCell, sync::Arc};

use crate::queue::Published;

thread_local! {
    /// Whom the calls of this thread are told.
    static TOLD: OnceCell<Arc<Published>> = const { OnceCell::new() };
}

/// From now on it is told whether this thread, which is the writer's, is within a call.
pub(in crate::spool) fn tell_calls(published: &Arc<Published>) {
    TOLD.with(|told| drop(told.set(Arc::clone(published))));
}

/// A call, for as long as it lives.
pub(super) struct Call;

impl Call {
    pub(super) fn begin() -> Self {
        TOLD.with(|told| told.get().into_iter().for_each(|published| published.set_at_disk(true)));
        Self
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        TOLD.with(|told| told.get().into_iter().for_each(|published| published.set_at_disk(false)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writers_calls_are_told_while_they_last_and_those_of_others_are_not() {
        let published = Arc::<Published>::default();
        let call = Call::begin();
        assert!(!published.at_disk());
        drop(call);
        tell_calls(&published);
        let call = Call::begin();
        assert!(published.at_disk());
        drop(call);
        assert!(!published.at_disk());
    }
}
