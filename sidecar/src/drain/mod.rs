//! Running, draining, cut: how the work of one worker comes to an end.
//!
//! Draining changes what is said to clients (`Connection: close`, GOAWAY), not whether they are
//! served: whoever still sends is still answered. [`Drain::finished`] ends once nothing is under
//! way; how long idle connections are still waited for is the worker's to say.
//!
//! Invariant: the number under way is exactly the number of [`Underway`] guards alive.

use std::{cell::Cell, rc::Rc};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// How far the end has come. Only ever goes on, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nothing ends.
    Running,
    /// Answer on, but send clients elsewhere.
    Draining,
    /// The deadline has passed: what is left is closed.
    Cut,
}

/// One worker's end.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
    underway: Cell<u64>,
    /// When the last of what was under way ended.
    ended: Cell<Option<Instant>>,
    idle: Notify,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Running),
            underway: Cell::new(0),
            ended: Cell::new(None),
            idle: Notify::new(),
        }
    }
}

impl Drain {
    /// True from the beginning of the drain on.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Goes on to a phase; an earlier one changes nothing.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }

    /// Waits until `phase` is reached.
    pub(crate) fn reached(&self, phase: Phase) -> impl Future<Output = ()> + use<> {
        let mut receiver = self.phase.subscribe();
        async move {
            // The sender lives as long as the worker: an error means that all ends anyway.
            receiver.wait_for(|now| *now >= phase).await.ok();
        }
    }

    /// Notes that a request, a stream or an opaque connection is under way.
    pub(crate) fn begin(self: &Rc<Self>) -> Underway {
        self.underway.set(self.underway.get() + 1);
        Underway(Rc::clone(self))
    }

    /// Waits until nothing is under way. Returns since when that is so; None: nothing ever was.
    pub(crate) async fn finished(&self) -> Option<Instant> {
        loop {
            let idle = self.idle.notified();
            if self.underway.get() == 0 {
                return self.ended.get();
            }
            idle.await;
        }
    }
}

/// Something is under way as long as this lives.
#[derive(Debug)]
pub(crate) struct Underway(Rc<Drain>);

impl Drop for Underway {
    fn drop(&mut self) {
        let left = self.0.underway.get().saturating_sub(1);
        self.0.underway.set(left);
        if left == 0 {
            self.0.ended.set(Some(Instant::now()));
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Drain, Phase};
    use futures_util::FutureExt;
    use std::rc::Rc;

    #[test]
    fn it_is_finished_once_the_last_guard_is_dropped() {
        let drain = Rc::new(Drain::default());
        let (one, other) = (drain.begin(), drain.begin());
        drop(one);
        let mut finished = Box::pin(drain.finished());
        assert!(finished.as_mut().now_or_never().is_none());
        drop(other);
        assert!(finished.now_or_never().unwrap().is_some());
    }

    #[test]
    fn phases_never_go_back() {
        let drain = Drain::default();
        assert!(!drain.is_draining());
        drain.advance(Phase::Cut);
        drain.advance(Phase::Draining);
        assert!(drain.is_draining());
        assert!(drain.reached(Phase::Cut).now_or_never().is_some());
    }
}
