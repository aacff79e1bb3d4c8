//! What goes wrong in the lab's application, and from when on.

use std::time::Duration;
use tokio::sync::watch;

/// How much longer an answer takes under [`FaultKind::Slow`], unless it is said otherwise.
const SLOWNESS: Duration = Duration::from_secs(3);

/// A way for a version to be bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FaultKind {
    /// Answers are 500s
    Errors,
    /// Every answer takes longer
    Slow,
    /// The process ends at once
    Crash,
    /// Nothing is ever answered
    Hang,
}

/// A fault and how bad it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Malady {
    /// What goes wrong.
    pub(super) kind: FaultKind,
    /// By how much answers are late, of [`FaultKind::Slow`].
    pub(super) slow_by: Duration,
    /// The share of answers that are errors, of [`FaultKind::Errors`]; 1: all.
    pub(super) errors_fraction: f64,
}

impl From<FaultKind> for Malady {
    fn from(kind: FaultKind) -> Self {
        Self {
            kind,
            slow_by: SLOWNESS,
            errors_fraction: 1.0,
        }
    }
}

/// What a request is to do about the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Answer as always.
    Normal,
    /// Answer with an error.
    Fail,
}

/// The fault of this process, while there is one.
#[derive(Debug, Clone)]
pub(super) struct Fault(watch::Receiver<Option<Malady>>);

impl Fault {
    /// A fault that has not begun, and what lets it begin and end.
    pub(super) fn new() -> (watch::Sender<Option<Malady>>, Self) {
        let (begin, fault) = watch::channel(None);
        (begin, Self(fault))
    }

    /// Passes as much time as the fault makes it; then says what is left to do.
    pub(super) async fn suffer(&self) -> Course {
        let malady = *self.0.borrow();
        let Some(malady) = malady else {
            return Course::Normal;
        };
        match malady.kind {
            FaultKind::Errors if fastrand::f64() < malady.errors_fraction => Course::Fail,
            FaultKind::Errors | FaultKind::Crash => Course::Normal,
            FaultKind::Slow => {
                tokio::time::sleep(malady.slow_by).await;
                Course::Normal
            }
            FaultKind::Hang => std::future::pending().await,
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
        begin.send_replace(Some(FaultKind::Errors.into()));
        assert_eq!(fault.suffer().await, Course::Fail);
        begin.send_replace(Some(FaultKind::Slow.into()));
        let before = tokio::time::Instant::now();
        assert_eq!(fault.suffer().await, Course::Normal);
        assert_eq!(before.elapsed(), SLOWNESS);
        begin.send_replace(Some(FaultKind::Hang.into()));
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, fault.suffer()).await.is_err());
        begin.send_replace(None);
        assert_eq!(fault.suffer().await, Course::Normal);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_can_be_partial_and_slight() {
        let (begin, fault) = Fault::new();
        begin.send_replace(Some(Malady {
            errors_fraction: 0.1,
            ..FaultKind::Errors.into()
        }));
        let mut failed = 0;
        for _ in 0..2_000 {
            failed += u32::from(fault.suffer().await == Course::Fail);
        }
        // Ten standard deviations to either side.
        assert!((66..=334).contains(&failed), "{failed}");
        let slow_by = Duration::from_millis(50);
        begin.send_replace(Some(Malady {
            slow_by,
            ..FaultKind::Slow.into()
        }));
        let before = tokio::time::Instant::now();
        fault.suffer().await;
        assert_eq!(before.elapsed(), slow_by);
    }
}
