//! Everything that was seen during a run, kept until it is judged. Pure.

use super::{
    Fault,
    load::{Begun, Event, Histogram, Report},
};
use segue_proto::control::Upgrade;
use std::collections::VecDeque;

/// Reports that make up "now": one second.
const RECENT: usize = 4;

/// What was asked of the run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// The new version turns bad.
    pub(super) fault: Option<Fault>,
    /// So often the control plane is killed.
    pub(super) kills: usize,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// What it is judged by.
    pub(super) asked: Asked,
    /// The newest report: counters since the start.
    pub(super) latest: Report,
    /// Latency of all good answers.
    pub(super) latency: Histogram,
    /// Sessions that began.
    pub(super) begun: Vec<Begun>,
    /// What went wrong or changed.
    pub(super) events: Vec<Event>,
    /// The upgrade as last heard of.
    pub(super) upgrade: Option<Upgrade>,
    /// When the fault began.
    pub(super) fault: Option<u64>,
    /// How often the control plane was killed and came back.
    pub(super) killed: usize,
    /// The last second, report by report.
    pub(super) recent: VecDeque<Moment>,
}

#[derive(Debug)]
pub(super) struct Moment {
    at: u64,
    sent: u64,
    failed: u64,
    latency: Histogram,
}

/// The last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Now {
    /// Requests per second.
    pub(super) requests: u64,
    /// Failures per second.
    pub(super) failures: u64,
    /// Median latency in microseconds.
    pub(super) p50: Option<u64>,
    /// 99th percentile.
    pub(super) p99: Option<u64>,
}

impl Evidence {
    /// Adds a report.
    pub(super) fn add(&mut self, mut report: Report) {
        self.latency.merge(&report.latency);
        self.begun.append(&mut report.begun);
        self.events.append(&mut report.events);
        self.recent.push_back(Moment {
            at: report.at,
            sent: report.sent,
            failed: report.failed,
            latency: std::mem::take(&mut report.latency),
        });
        while self.recent.len() > RECENT + 1 {
            self.recent.pop_front();
        }
        self.latest = report;
    }

    /// The last second.
    pub(super) fn now(&self) -> Now {
        let (Some(first), Some(last)) = (self.recent.front(), self.recent.back()) else {
            return Now::default();
        };
        let span = last.at.saturating_sub(first.at).max(1);
        let per_second = |count: u64| (count * 1_000 + span / 2) / span;
        let mut latency = Histogram::default();
        for moment in self.recent.iter().skip(1) {
            latency.merge(&moment.latency);
        }
        Now {
            requests: per_second(last.sent - first.sent.min(last.sent)),
            failures: per_second(last.failed - first.failed.min(last.failed)),
            p50: latency.quantile(500),
            p99: latency.quantile(990),
        }
    }

    /// Sessions whose first request was sent at or after `from` and answered before `until`: all
    /// of them, and those that `version` answered.
    pub(super) fn sessions_between(
        &self,
        from: u64,
        until: Option<u64>,
        version: &str,
    ) -> (u32, u32) {
        let within = self
            .begun
            .iter()
            .filter(|begun| begun.sent >= from && until.is_none_or(|until| begun.at < until));
        within.fold((0, 0), |(all, of_it), begun| {
            (all + 1, of_it + u32::from(begun.version == version))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Evidence, Now};
    use crate::demo::load::{Begun, Report};

    #[test]
    fn now_is_the_last_second() {
        let mut evidence = Evidence::default();
        assert_eq!(evidence.now(), Now::default());
        for n in 0..20_u64 {
            evidence.add(Report {
                at: 1_000 + n * 250,
                sent: n * n,
                ..Report::default()
            });
        }
        // From 15² to 19² in one second.
        assert_eq!(evidence.now().requests, 361 - 225);
    }

    #[test]
    fn a_session_counts_for_the_span_that_holds_request_and_answer() {
        let mut evidence = Evidence::default();
        let begun = |sent, at, version: &str| Begun {
            sent,
            at,
            version: version.into(),
        };
        evidence.begun = vec![
            begun(99, 101, "v2"),
            begun(100, 101, "v2"),
            begun(150, 160, "v1"),
            begun(199, 200, "v2"),
        ];
        assert_eq!(evidence.sessions_between(100, Some(200), "v2"), (2, 1));
        assert_eq!(evidence.sessions_between(100, None, "v2"), (3, 2));
    }
}
