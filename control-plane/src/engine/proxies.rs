//! The proxies and the ACK barrier.
//!
//! The interest set of a service is every proxy that is subscribed to it. A proxy leaves it at
//! once when it says goodbye or its workload is gone; one that is cut off counts as lagging until
//! its lease has run out. Those that were connected before a restart are expected back for as
//! long. Invariant: a step is never complete because somebody is merely not connected yet.

use crate::model::{
    Applied, Generation, Key, Lagging, ProxyId, ProxyState, ServiceKey, Timestamp, WorkloadKey,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// What outlives the process: who is expected back after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProxyRecord {
    services: BTreeSet<ServiceKey>,
    /// It is the sidecar of a workload, and goes with that.
    is_workload: bool,
}

/// A proxy as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    record: ProxyRecord,
    /// None: known from before a restart.
    state: Option<Arc<ProxyState>>,
    connected_at: Timestamp,
    /// When its stream broke off.
    gone_at: Option<Timestamp>,
    /// Known from before a restart, and has sent no load report since.
    owes_report: bool,
}

impl Known {
    /// The sidecar of a workload that is gone.
    fn is_orphaned(&self, proxy: &ProxyId, exists: &impl Fn(&WorkloadKey) -> bool) -> bool {
        self.record.is_workload && workload_of(proxy).is_some_and(|key| !exists(&key))
    }

    /// It is subscribed to a service, and nothing about it is over.
    fn is_concerned(
        &self,
        proxy: &ProxyId,
        service: &ServiceKey,
        exists: &impl Fn(&WorkloadKey) -> bool,
    ) -> bool {
        !self.is_orphaned(proxy, exists) && self.record.services.contains(service)
    }
}

/// A proxy that is connected, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyView {
    /// What it is subscribed to and has applied.
    pub state: Arc<ProxyState>,
    /// Since when it is connected.
    pub connected_at: Timestamp,
}

/// All proxies.
#[derive(Debug)]
pub(super) struct Proxies {
    started: Timestamp,
    lease: Duration,
    known: BTreeMap<ProxyId, Known>,
    /// The records changed since they were written.
    changed: bool,
}

impl Proxies {
    pub(super) fn recovered(
        records: BTreeMap<ProxyId, ProxyRecord>,
        lease: Duration,
        now: Timestamp,
    ) -> Self {
        let known = records
            .into_iter()
            .map(|(proxy, record)| {
                let known = Known {
                    record,
                    state: None,
                    connected_at: now,
                    gone_at: Some(now),
                    owes_report: true,
                };
                (proxy, known)
            })
            .collect();
        Self {
            started: now,
            lease,
            known,
            changed: false,
        }
    }

    /// A proxy connected or its state changed.
    pub(super) fn seen(
        &mut self,
        state: ProxyState,
        is_workload: impl Fn(&WorkloadKey) -> bool,
        now: Timestamp,
    ) {
        let before = self.known.get(&state.proxy);
        let record = ProxyRecord {
            services: state.interest.clone(),
            is_workload: before.is_some_and(|known| known.record.is_workload)
                || workload_of(&state.proxy).is_some_and(|key| is_workload(&key)),
        };
        self.changed |= before.map(|known| &known.record) != Some(&record);
        let connected_at = match before {
            Some(known) if known.gone_at.is_none() => known.connected_at,
            _ => now,
        };
        let owes_report = before.is_some_and(|known| known.owes_report);
        let known = Known {
            record,
            connected_at,
            gone_at: None,
            state: Some(Arc::new(state)),
            owes_report,
        };
        if let Some(state) = &known.state {
            self.known.insert(state.proxy.clone(), known);
        }
    }

    /// A proxy's load report came in.
    pub(super) fn reported(&mut self, proxy: &ProxyId) {
        if let Some(known) = self.known.get_mut(proxy) {
            known.owes_report = false;
        }
    }

    /// How many of the proxies subscribed to a service that were known before a restart have sent no
    /// load report since. None is waited for beyond its lease: not all proxies report.
    pub(super) fn reports_pending(
        &self,
        service: &ServiceKey,
        exists: impl Fn(&WorkloadKey) -> bool,
        now: Timestamp,
    ) -> u32 {
        if now.since(self.started) >= self.lease {
            return 0;
        }
        let owing = self.known.iter().filter(|(proxy, known)| {
            known.owes_report && known.is_concerned(proxy, service, &exists)
        });
        u32::try_from(owing.count()).unwrap_or(u32::MAX)
    }

    /// A proxy's stream ended.
    pub(super) fn gone(&mut self, proxy: &ProxyId, clean: bool, now: Timestamp) {
        if clean {
            self.changed |= self.known.remove(proxy).is_some();
        } else if let Some(known) = self.known.get_mut(proxy) {
            known.gone_at = Some(now);
        }
    }

    /// Lets go of sidecars whose workload is gone, and of proxies whose lease has run out. Says
    /// which instances' own proxies those are, and since when they are gone.
    pub(super) fn fence(
        &mut self,
        exists: impl Fn(&WorkloadKey) -> bool,
        now: Timestamp,
    ) -> Vec<(WorkloadKey, Timestamp)> {
        let (lease, before) = (self.lease, self.known.len());
        let mut lost = Vec::new();
        self.known.retain(|proxy, known| {
            let orphaned = known.is_orphaned(proxy, &exists);
            let fenced = known.gone_at.is_some_and(|gone| now.since(gone) >= lease);
            if fenced && !orphaned {
                tracing::warn!(%proxy, ?lease, "proxy did not come back within its lease: fenced");
                if known.record.is_workload {
                    lost.extend(workload_of(proxy).zip(known.gone_at));
                }
            }
            // A connected sidecar whose workload is not there (yet) is still shown to people.
            !fenced && (!orphaned || known.gone_at.is_none())
        });
        self.changed |= self.known.len() != before;
        lost
    }

    /// How far a generation has come among the proxies subscribed to a service.
    pub(super) fn applied(
        &self,
        service: &ServiceKey,
        generation: Generation,
        published_at: Timestamp,
        exists: impl Fn(&WorkloadKey) -> bool,
    ) -> Applied {
        let mut applied = Applied::default();
        for (proxy, known) in &self.known {
            if !known.is_concerned(proxy, service, &exists) {
                continue;
            }
            applied.total += 1;
            let state = known.state.as_ref();
            if state.is_some_and(|state| state.acked >= generation) {
                applied.acked += 1;
            } else {
                applied.lagging.push(Lagging {
                    proxy: proxy.clone(),
                    since: known.connected_at.max(published_at),
                    nack: state.and_then(|state| state.nacks.get(service).cloned()),
                });
            }
        }
        applied
    }

    /// True where a workload's own proxy is known, connected or expected back.
    pub(super) fn contains(&self, workload: &WorkloadKey) -> bool {
        self.is_known(&ProxyId::from(workload.to_string().as_str()))
    }

    /// True where it is connected or expected back.
    pub(super) fn is_known(&self, proxy: &ProxyId) -> bool {
        self.known.contains_key(proxy)
    }

    /// True where its stream is open.
    pub(super) fn is_connected(&self, proxy: &ProxyId) -> bool {
        let known = self.known.get(proxy);
        known.is_some_and(|known| known.gone_at.is_none())
    }

    /// True where a proxy is subscribed to a service, or was when it was last connected.
    pub(super) fn is_subscribed(&self, proxy: &ProxyId, service: &ServiceKey) -> bool {
        let known = self.known.get(proxy);
        known.is_some_and(|known| known.record.services.contains(service))
    }

    /// The connected ones.
    pub(super) fn views(&self) -> BTreeMap<ProxyId, ProxyView> {
        self.known
            .iter()
            .filter(|(_, known)| known.gone_at.is_none())
            .filter_map(|(proxy, known)| {
                let view = ProxyView {
                    state: Arc::clone(known.state.as_ref()?),
                    connected_at: known.connected_at,
                };
                Some((proxy.clone(), view))
            })
            .collect()
    }

    /// What is to be written, where it changed since the last call.
    pub(super) fn take_changed(&mut self) -> Option<BTreeMap<ProxyId, ProxyRecord>> {
        std::mem::take(&mut self.changed).then(|| {
            self.known
                .iter()
                .map(|(proxy, known)| (proxy.clone(), known.record.clone()))
                .collect()
        })
    }

    /// The records were not written: they are still to be.
    pub(super) fn not_written(&mut self) {
        self.changed = true;
    }
}

fn workload_of(proxy: &ProxyId) -> Option<WorkloadKey> {
    Key::try_from(proxy.0.to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::support::{at, proxy};

    const LEASE: Duration = Duration::from_secs(15);

    fn checkout() -> ServiceKey {
        ServiceKey::new("shop", "checkout")
    }

    fn proxies() -> Proxies {
        Proxies::recovered(BTreeMap::new(), LEASE, at(0))
    }

    fn applied(proxies: &Proxies, generation: u64) -> Applied {
        proxies.applied(&checkout(), Generation(generation), at(0), |_| true)
    }

    #[test]
    fn a_generation_is_applied_when_every_subscriber_has_acked_it_or_a_later_one() {
        let mut proxies = proxies();
        proxies.seen(proxy("shop/web-0", 4), |_| true, at(1));
        proxies.seen(proxy("shop/web-1", 5), |_| true, at(1));
        let result = applied(&proxies, 5);
        assert_eq!((result.acked, result.total), (1, 2));
        assert_eq!(result.lagging[0].proxy, "shop/web-0".into());
        proxies.seen(proxy("shop/web-0", 6), |_| true, at(2));
        assert!(applied(&proxies, 5).is_complete());
    }

    #[test]
    fn a_proxy_that_says_goodbye_leaves_at_once_and_one_that_breaks_off_after_its_lease() {
        let mut proxies = proxies();
        proxies.seen(proxy("shop/web-0", 1), |_| true, at(1));
        proxies.seen(proxy("shop/web-1", 1), |_| true, at(1));
        proxies.gone(&"shop/web-0".into(), true, at(2));
        proxies.gone(&"shop/web-1".into(), false, at(2));
        assert_eq!(applied(&proxies, 2).lagging.len(), 1);
        proxies.fence(|_| true, at(16));
        assert_eq!(applied(&proxies, 2).lagging.len(), 1);
        proxies.fence(|_| true, at(17));
        assert!(applied(&proxies, 2).is_complete());
    }

    #[test]
    fn a_sidecar_leaves_with_its_workload() {
        let mut proxies = proxies();
        proxies.seen(proxy("shop/web-0", 1), |_| true, at(1));
        let result = proxies.applied(&checkout(), Generation(2), at(0), |_| false);
        assert!(result.is_complete());
    }

    #[test]
    fn proxies_known_before_a_restart_are_expected_back() {
        let mut before = proxies();
        before.seen(proxy("shop/web-0", 9), |_| true, at(1));
        let records = before.take_changed().unwrap();
        assert!(before.take_changed().is_none());

        let mut after = Proxies::recovered(records, LEASE, at(100));
        assert_eq!(applied(&after, 1).lagging.len(), 1);
        after.seen(proxy("shop/web-0", 1), |_| true, at(101));
        assert!(applied(&after, 1).is_complete());
    }

    #[test]
    fn proxies_known_before_a_restart_owe_a_report_until_their_lease_is_over() {
        let mut before = proxies();
        for id in ["shop/web-0", "shop/web-1"] {
            before.seen(proxy(id, 9), |_| true, at(1));
        }
        let pending = |proxies: &Proxies, now| proxies.reports_pending(&checkout(), |_| true, now);
        assert_eq!(pending(&before, at(1)), 0);
        let records = before.take_changed().unwrap();

        let mut after = Proxies::recovered(records, LEASE, at(100));
        assert_eq!(pending(&after, at(100)), 2);
        after.seen(proxy("shop/web-0", 9), |_| true, at(101));
        after.seen(proxy("shop/web-2", 9), |_| true, at(101));
        assert_eq!(pending(&after, at(101)), 2, "an ACK is no report");
        after.reported(&"shop/web-0".into());
        after.seen(proxy("shop/web-0", 10), |_| true, at(102));
        assert_eq!(pending(&after, at(102)), 1);
        assert_eq!(pending(&after, at(114)), 1);
        assert_eq!(pending(&after, at(115)), 0);
    }

    #[test]
    fn a_refusal_is_told_with_its_message() {
        let mut proxies = proxies();
        let mut state = proxy("shop/web-0", 1);
        state.nacks.insert(checkout(), "lb_policy: no".into());
        proxies.seen(state, |_| true, at(1));
        let result = applied(&proxies, 2);
        assert_eq!(result.lagging[0].nack.as_deref(), Some("lb_policy: no"));
    }
}
