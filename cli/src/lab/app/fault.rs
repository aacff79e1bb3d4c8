//! What goes wrong in the lab's application, and from when on.

use std::time::Duration;
use tokio::sync::watch;

/// How long an answer takes under [`FaultKind::Slow`].
const SLOWNESS: Duration = Duration::from_secs(3);

/// A way for a version to be bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FaultKind {
    /// Every answer is a 500
    Errors,
    /// Every answer takes three seconds
    Slow,
    /// The process ends at once
    Crash,
    /// Nothing is ever answered
    Hang,
}

/// What a request is to do about the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Answer as always.
    Normal,
    /// Answer with an error.
    Fail,
}

/// The fault of this process, if it has begun.
#[derive(Debug, Clone)]
pub(super) struct Fault(watch::Receiver<Option<FaultKind>>);

impl Fault {
    /// A fault that has not begun, and what lets it begin.
    pub(super) fn new() -> (watch::Sender<Option<FaultKind>>, Self) {
        let (begin, fault) = watch::channel(None);
        (begin, Self(fault))
    }

    /// Passes as much time as the fault makes it; then says what is left to do.
    pub(super) async fn suffer(&self) -> Course {
        let kind = *self.0.borrow();
        match kind {
            None | Some(FaultKind::Crash) => Course::Normal,
            Some(FaultKind::Errors) => Course::Fail,
            Some(FaultKind::Slow) => {
                tokio::time::sleep(SLOWNESS).await;
                Course::Normal
            }
            Some(FaultKind::Hang) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_suffers_the_fault_that_has_begun() {
        let (begin, fault) = Fault::new();
        assert_eq!(fault.suffer().await, Course::Normal);
        begin.send_replace(Some(FaultKind::Errors));
        assert_eq!(fault.suffer().await, Course::Fail);
        begin.send_replace(Some(FaultKind::Slow));
        let before = tokio::time::Instant::now();
        assert_eq!(fault.suffer().await, Course::Normal);
        assert_eq!(before.elapsed(), SLOWNESS);
        begin.send_replace(Some(FaultKind::Hang));
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, fault.suffer()).await.is_err());
    }
}
