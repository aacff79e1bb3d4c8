//! One service as proxies are told of it: its versions, their shares, who is ready.
//!
//! Decides how a service's catalog, the health of its instances and its run become a
//! [`ServiceView`]; not when that is published. Pure. Invariants: the shares sum to 100 %, a
//! version stays at weight 0 for as long as it has instances, and where in doubt the version that
//! served before serves.

use super::{
    health::Healths,
    run::Run,
    services::ServiceMemory,
    token::{Attempt, TokenKey, default_cookie_name},
};
use crate::model::{
    Affinity, CookieAffinity, Fuse, Instance, InstanceState, Phase, Policy, Service, ServiceKey,
    ServiceView, SessionToken, Share, ShiftBy, ShiftKey, Side, Timestamp, VersionId, VersionView,
    Workload, WorkloadKey,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The least time that a blown fuse keeps the new version out.
const MIN_EJECTION: Duration = Duration::from_secs(60);
/// Fewer 5xx in a row than this blow no fuse: unlike failed connects they may be the request's fault.
const MIN_5XX: u32 = 3;

/// What a view is made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub service: &'a Arc<Service>,
    pub instances: &'a [Arc<Workload>],
    pub healths: &'a Healths,
    /// The run in force: an active one, or one that was rolled back while instances of its new
    /// version are still there.
    pub run: Option<&'a Run>,
    pub policy: &'a Policy,
    pub memory: &'a ServiceMemory,
    pub tokens: &'a TokenKey,
    pub now: Timestamp,
}

/// The service as proxies are told of it.
pub(super) fn view(parts: &Parts<'_>) -> ServiceView {
    ServiceView {
        service: Arc::clone(parts.service),
        instances: parts
            .instances
            .iter()
            .map(|workload| Instance {
                workload: Arc::clone(workload),
                state: parts.state(workload),
            })
            .collect(),
        versions: match parts.run {
            Some(run) => parts.versions_of_run(run),
            None => parts.versions_at_rest(),
        },
        check_every: parts.policy.health.interval,
        affinity: affinity(&parts.service.key, parts.policy, parts.now),
        placed: parts.service.place
            && (parts.run.is_some() || parts.policy.affinity != Affinity::None),
        shift: shift(&parts.service.key, parts.policy),
        balancing: parts.policy.balancing,
    }
}

/// By what users are told apart whose version is told by a hash.
fn shift(service: &ServiceKey, policy: &Policy) -> Option<ShiftBy> {
    let Affinity::Shift(key) = &policy.affinity else {
        return None;
    };
    Some(match key {
        ShiftKey::Header(name) => ShiftBy::Header(name.clone()),
        ShiftKey::SourceIp => ShiftBy::SourceIp,
        ShiftKey::Cookie(cookie) => ShiftBy::Cookie(CookieAffinity {
            name: cookie
                .name
                .clone()
                .unwrap_or_else(|| default_cookie_name(service)),
            path: cookie.path.clone(),
            ttl: cookie.ttl,
            same_site: cookie.same_site,
            secure: cookie.secure,
            epoch: 0,
        }),
    })
}

/// The session cookie that a policy asks for.
pub(super) fn affinity(
    service: &ServiceKey,
    policy: &Policy,
    now: Timestamp,
) -> Option<CookieAffinity> {
    match &policy.affinity {
        Affinity::None | Affinity::Shift(_) => None,
        Affinity::Cookie {
            name,
            ttl,
            path,
            same_site,
            secure,
        } => {
            let quarter = u64::try_from(ttl.as_millis() / 4)
                .unwrap_or(u64::MAX)
                .max(1);
            Some(CookieAffinity {
                name: name.clone().unwrap_or_else(|| default_cookie_name(service)),
                path: path.clone(),
                ttl: *ttl,
                same_site: *same_site,
                secure: *secure,
                epoch: now.0 / quarter,
            })
        }
    }
}

impl Parts<'_> {
    fn state(&self, workload: &Workload) -> InstanceState {
        if self.is_draining(&workload.key, &workload.version) {
            InstanceState::Draining
        } else if self.is_cut_off(workload) {
            InstanceState::NotReady
        } else if self.healths.may_serve(workload, self.instances)
            || self.is_taken_for_well(workload)
        {
            InstanceState::Ready
        } else {
            InstanceState::NotReady
        }
    }

    /// Its machine is lost, and the version that served before is there to serve: so it is not this
    /// control plane that is cut off.
    fn is_cut_off(&self, workload: &Workload) -> bool {
        let serves = |run: &Run, other: &Workload| {
            other.version == run.spec.from
                && self.healths.is_ready(&other.key)
                && !self.healths.is_lost(&other.key)
                && !self.is_draining(&other.key, &other.version)
        };
        self.healths.is_lost(&workload.key)
            && self.run.is_some_and(|run| {
                workload.version == run.spec.to
                    && self.instances.iter().any(|other| serves(run, other))
            })
    }

    /// Nobody checks it, and it serves already.
    fn is_taken_for_well(&self, workload: &Workload) -> bool {
        let serving = match self.run {
            Some(run) => Some(&run.spec.from),
            None => self.memory.stable.as_ref(),
        };
        let serves = serving.is_none_or(|version| *version == workload.version);
        serves && self.healths.is_assumed(&workload.key)
    }

    fn is_draining(&self, workload: &WorkloadKey, version: &VersionId) -> bool {
        let Some(run) = self.run else {
            return self.memory.rolled_back.contains(version);
        };
        let side = if *version == run.spec.from {
            Side::Old
        } else if *version == run.spec.to {
            Side::New
        } else {
            return self.memory.rolled_back.contains(version);
        };
        run.status.traffic.draining == Some(side) || run.status.drained.contains(workload)
    }

    fn count(&self, version: &VersionId) -> usize {
        self.instances
            .iter()
            .filter(|workload| workload.version == *version)
            .count()
    }

    fn versions_of_run(&self, run: &Run) -> Vec<VersionView> {
        let (spec, status) = (&run.spec, &run.status);
        let old_is_there = self.count(&spec.from) > 0;
        let mut versions = vec![
            VersionView {
                id: spec.to.clone(),
                weight: status.weight,
                token: status
                    .traffic
                    .new_sessions_held
                    .then(|| self.token(&spec.to))
                    .flatten(),
                control: None,
                released: released(run),
                fallback: Some(spec.from.clone()),
                fuse: (status.phase != Phase::RolledBack).then(|| self.fuse()),
            },
            VersionView {
                id: spec.from.clone(),
                weight: status.weight.rest(),
                token: status
                    .traffic
                    .old_sessions_held
                    .then(|| self.token(&spec.from))
                    .flatten(),
                control: self.control(run),
                released: Share::ZERO,
                fallback: (status.traffic.new_is_fallback || !old_is_there)
                    .then(|| spec.to.clone()),
                fuse: None,
            },
        ];
        versions.extend(
            self.present()
                .into_keys()
                .filter(|version| *version != spec.from && *version != spec.to)
                .map(idle),
        );
        versions
    }

    /// The stable version serves. Where none is known, each version by its number of instances:
    /// that is what clients saw before the mesh came.
    fn versions_at_rest(&self) -> Vec<VersionView> {
        let present = self.present();
        let Some(stable) = &self.memory.stable else {
            return self.by_instances(&present);
        };
        let mut versions = vec![VersionView {
            token: self.token(stable),
            weight: Share::ALL,
            ..idle(stable.clone())
        }];
        versions.extend(present.into_keys().filter(|id| id != stable).map(idle));
        versions
    }

    fn by_instances(&self, present: &BTreeMap<VersionId, u64>) -> Vec<VersionView> {
        let total: u64 = present.values().sum();
        let mut left = Share::ALL.basis_points();
        let mut versions: Vec<VersionView> = present
            .iter()
            .map(|(id, count)| {
                let points = u16::try_from(count * 10_000 / total.max(1))
                    .unwrap_or(0)
                    .min(left);
                left -= points;
                VersionView {
                    token: self.token(id),
                    weight: Share::from_basis_points(points).unwrap_or(Share::ZERO),
                    ..idle(id.clone())
                }
            })
            .collect();
        if let Some(first) = versions.first_mut() {
            let points = first.weight.basis_points() + left;
            first.weight = Share::from_basis_points(points).unwrap_or(first.weight);
        }
        versions
    }

    fn present(&self) -> BTreeMap<VersionId, u64> {
        let mut present = BTreeMap::new();
        for workload in self.instances {
            *present.entry(workload.version.clone()).or_insert(0) += 1;
        }
        present
    }

    fn token(&self, version: &VersionId) -> Option<SessionToken> {
        let epoch = self.memory.epoch(version);
        match self.policy.affinity {
            Affinity::None | Affinity::Shift(_) => None,
            Affinity::Cookie { .. } => Some(self.tokens.token(&self.service.key, version, epoch)),
        }
    }

    /// The mark of the old version's control group. There is one from `Preparing` on, so that the
    /// first step changes nothing but weights, and still on the way back, where the old version's
    /// connections had better not be opened anew. With the first step the mark changes: only who
    /// was drawn since then is of the group.
    fn control(&self, run: &Run) -> Option<Arc<str>> {
        let runs = run.is_active() && run.status.phase != Phase::Pending;
        let sessions = self.policy.affinity.holds_sessions();
        let history = run.status.history.iter();
        (runs && sessions).then(|| {
            let attempt = Attempt {
                upgrade: &run.spec.key,
                to: &run.spec.to,
                created: run.created,
                number: history
                    .filter(|line| line.phase == Phase::RolledBack)
                    .count(),
                shifts: run.status.phase != Phase::Preparing,
            };
            self.tokens.mark(&self.service.key, &attempt)
        })
    }

    fn fuse(&self) -> Fuse {
        let threshold = self.policy.health.failure_threshold.max(1);
        Fuse {
            consecutive_gateway_failure: threshold,
            consecutive_5xx: threshold.max(MIN_5XX),
            ejection: self.policy.rollback.window.max(MIN_EJECTION),
        }
    }
}

/// The share of the new version's sessions that is let go on the way back.
pub(super) fn released(run: &Run) -> Share {
    let status = &run.status;
    if status.phase == Phase::RollingBack && status.traffic.new_sessions_held {
        status.traffic.new_sessions_released
    } else {
        Share::ZERO
    }
}

/// A version that has instances and no traffic.
fn idle(id: VersionId) -> VersionView {
    VersionView {
        id,
        weight: Share::ZERO,
        token: None,
        control: None,
        released: Share::ZERO,
        fallback: None,
        fuse: None,
    }
}
