//! What the reports on one instance come to: what is active there, since when nothing is, who keeps
//! it out, how many requests a second.

use super::Loads;
use crate::model::{ServiceKey, Timestamp, VersionId, WorkloadKey};

/// What is known of one instance's activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Usage {
    pub active: u64,
    pub last_activity: Option<Timestamp>,
    pub last_report: Option<Timestamp>,
    pub ejected_by: u32,
}

/// An instance's present traffic, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::engine) struct Traffic {
    pub requests_per_second: f64,
    pub errors_per_second: f64,
    pub requests: u64,
    pub connections: u64,
}

impl Loads {
    /// What is active on an instance. `expects_own`: its own proxy is known, so that nothing is
    /// known before that has reported. An ejection counts from when `until` has come, and where its
    /// own proxy reports, once that has been heard of since: of a lost machine it is not, and that
    /// is no fault of a version.
    pub(in crate::engine) fn activity(
        &self,
        workload: &WorkloadKey,
        expects_own: bool,
        until: Timestamp,
    ) -> Usage {
        let Some(reporters) = self.instances.get(workload) else {
            return Usage::default();
        };
        let mut activity = Usage::default();
        let own = reporters.iter().filter(|(reporter, _)| reporter.own);
        let heard = own.map(|(_, reports)| reports.newest).max();
        let counts = |since: Timestamp| since <= until && heard.is_none_or(|at| since <= at);
        for (reporter, reports) in reporters {
            let levels = reports.levels;
            activity.active = activity.active.saturating_add(levels.active());
            activity.last_activity = activity.last_activity.max(reports.last_activity);
            let ejects = reports.ejected_since.is_some_and(counts);
            activity.ejected_by += u32::from(ejects && !reporter.own);
        }
        activity.last_report = reporters.values().map(|reports| reports.newest).min();
        if activity.last_report.is_some() {
            activity.last_activity = activity.last_activity.max(Some(self.started));
        }
        if expects_own && !reporters.keys().any(|reporter| reporter.own) {
            activity.last_report = None;
        }
        activity
    }

    /// An instance's present traffic by its own proxy, else by its clients': explicit proxies
    /// connect past it, and then it sees nothing.
    pub(in crate::engine) fn traffic(&self, workload: &WorkloadKey, now: Timestamp) -> Traffic {
        let Some(reporters) = self.instances.get(workload) else {
            return Traffic::default();
        };
        let seen_by = |own: bool| {
            reporters
                .iter()
                .filter(|(reporter, _)| reporter.own == own)
                .fold(Traffic::default(), |sum, (_, reports)| {
                    let (requests, errors) = reports.rates(now);
                    Traffic {
                        requests_per_second: sum.requests_per_second + requests,
                        errors_per_second: sum.errors_per_second + errors,
                        requests: sum.requests.saturating_add(reports.levels.requests),
                        connections: sum.connections.saturating_add(reports.levels.connections),
                    }
                })
        };
        let itself = seen_by(true);
        if itself == Traffic::default() {
            seen_by(false)
        } else {
            itself
        }
    }

    /// An instance's own proxy reports.
    pub(in crate::engine) fn reports_itself(&self, workload: &WorkloadKey) -> bool {
        self.instances
            .get(workload)
            .is_some_and(|reporters| reporters.keys().any(|reporter| reporter.own))
    }

    /// Requests that ended on an instance in the last second until then, and how many of them were
    /// errors: by its own proxy; by its clients' where that does not report. Where it has ceased to,
    /// what fails may be the machine.
    pub(in crate::engine) fn recent(&self, workload: &WorkloadKey, until: Timestamp) -> (u64, u64) {
        let Some(reporters) = self.instances.get(workload) else {
            return (0, 0);
        };
        let sum = |own: bool| {
            reporters
                .iter()
                .filter(|(reporter, _)| reporter.own == own)
                .filter_map(|(_, reports)| reports.recent(until))
                .reduce(|a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)))
        };
        let itself = reporters.keys().any(|reporter| reporter.own);
        sum(itself).unwrap_or_default()
    }

    /// When a session of a version last began or placed a request.
    pub(in crate::engine) fn last_session(
        &self,
        service: &ServiceKey,
        version: &VersionId,
    ) -> Option<Timestamp> {
        self.sessions
            .get(&(service.clone(), version.clone()))
            .copied()
    }
}
