//! What an alarm saw when it rang, so that its finding can say so ever after.

use super::{alarm::Alarm, look::Span};
use crate::model::Finding;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The evidence since the fortune was last no larger than its capital of 1, and once the alarm rang,
/// what it was like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rise {
    since: Span,
    seen: Option<Seen>,
}

/// Measured over the rise that made an alarm ring, in a finding's units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) new: Option<u64>,
    pub(super) old: Option<u64>,
    pub(super) limit: Option<u64>,
    /// What else the sentence says.
    pub(super) detail: Option<String>,
    /// How long the rise took.
    pub(super) over: Duration,
}

impl Rise {
    /// A block that was just bet on.
    pub(super) fn take_in(
        &mut self,
        (alarm, alpha): (&Alarm, f64),
        span: &Span,
        measure: impl FnOnce(&Span) -> Seen,
    ) {
        if self.seen.is_some() {
            return;
        }
        self.since.merge(span);
        if alarm.rings(alpha) {
            let since = std::mem::take(&mut self.since);
            self.seen = Some(Seen {
                over: since.elapsed,
                ..measure(&since)
            });
        } else if alarm.ln() <= 0.0 {
            self.since = Span::default();
        }
    }

    /// What was seen when the alarm rang.
    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }
}

impl Seen {
    /// Puts it in the place of what is measured now.
    pub(super) fn show_in(&self, finding: &mut Finding) {
        finding.new = self.new;
        finding.old = self.old;
        finding.limit = self.limit;
    }
}
