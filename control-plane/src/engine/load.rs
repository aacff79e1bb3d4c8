//! What the proxies' load reports say of each instance: what is active there, since when nothing
//! is, who keeps it out, how many requests a second.
//!
//! A reporter that stops mentioning an instance has nothing there: our sidecars say zeros
//! explicitly, other proxies leave idle endpoints out. What was active before this process began
//! is unknown, so nothing counts as quiet since before then.

use super::{
    index::Index,
    proxies::Proxies,
    reports::{Counts, Reports},
};
use crate::model::{
    EndpointSample, LoadSample, ProxyId, ServiceKey, Timestamp, VersionId, WorkloadKey,
};
use segue_proto::names::{ClusterName, split_control};
use std::{collections::BTreeMap, time::Duration};

/// A proxy that has not reported for so long is no longer expected to.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// A proxy that is not connected and has not reported for so long says nothing any more: three of
/// the longest intervals at which reports are asked for.
const SILENT: Duration = Duration::from_secs(15);
/// How often those are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// How many proxies may report that are not connected, counting those that are.
const MOST_REPORTERS: usize = 10_000;

/// All reporters' views of all instances.
#[derive(Debug)]
pub(super) struct Loads {
    started: Timestamp,
    pub(super) instances: BTreeMap<WorkloadKey, BTreeMap<Reporter, Reports>>,
    sessions: BTreeMap<(ServiceKey, VersionId), Timestamp>,
    /// When each proxy last reported.
    reported: BTreeMap<ProxyId, Timestamp>,
    swept: Timestamp,
}

/// Who reports: an instance's own proxy, or a client's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reporter {
    pub own: bool,
    pub proxy: ProxyId,
}

/// What is known of one instance's activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub active: u64,
    pub last_activity: Option<Timestamp>,
    pub last_report: Option<Timestamp>,
    pub ejected_by: u32,
}

/// An instance's present traffic, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Traffic {
    pub requests_per_second: f64,
    pub errors_per_second: f64,
    pub requests: u64,
    pub connections: u64,
}

impl Loads {
    pub(super) fn new(started: Timestamp) -> Self {
        Self {
            started,
            instances: BTreeMap::new(),
            sessions: BTreeMap::new(),
            reported: BTreeMap::new(),
            swept: started,
        }
    }

    /// Takes in a report; says when the one before it came in: what it counts began since.
    pub(super) fn record(&mut self, sample: &LoadSample, index: &Index) -> Option<Timestamp> {
        let mut mentioned: BTreeMap<(WorkloadKey, bool), Counts> = BTreeMap::new();
        for endpoint in &sample.endpoints {
            let Ok(cluster) = endpoint.cluster.parse::<ClusterName>() else {
                continue;
            };
            self.note_session(&cluster, endpoint, sample, index);
            if let Some(instance) = instance_of(&cluster, endpoint, sample, index) {
                mentioned.entry(instance).or_default().add(endpoint);
            }
        }
        let sides = [false, true].map(|own| Reporter {
            own,
            proxy: sample.proxy.clone(),
        });
        for (workload, reporters) in &mut self.instances {
            for reporter in &sides {
                if let Some(reports) = reporters.get_mut(reporter) {
                    let counts = mentioned
                        .remove(&(workload.clone(), reporter.own))
                        .unwrap_or_default();
                    reports.add(counts, sample.at);
                }
            }
        }
        for ((workload, own), counts) in mentioned {
            let reporter = Reporter {
                own,
                proxy: sample.proxy.clone(),
            };
            self.instances
                .entry(workload)
                .or_default()
                .entry(reporter)
                .or_default()
                .add(counts, sample.at);
        }
        self.reported.insert(sample.proxy.clone(), sample.at)
    }

    /// When a proxy last reported.
    pub(super) fn reported_at(&self, proxy: &ProxyId) -> Option<Timestamp> {
        self.reported.get(proxy).copied()
    }

    /// A session began or was placed: its version still has sessions. Other clients than our sidecar
    /// don't tell; of theirs, whatever goes to a version may be of a session (at weight 0 it is).
    fn note_session(
        &mut self,
        cluster: &ClusterName,
        endpoint: &EndpointSample,
        sample: &LoadSample,
        index: &Index,
    ) {
        let told = endpoint.pinned_requests.max(endpoint.new_sessions);
        match cluster {
            ClusterName::Outbound { version, host, .. } if told > 0 || endpoint.issued > 0 => {
                let Some(service) = service_of(host) else {
                    return;
                };
                let version = VersionId::from(split_control(version).0);
                if index.has(&service, &version) {
                    self.sessions.insert((service, version), sample.at);
                }
            }
            // Of a client without a sidecar: the instance's own has placed it.
            ClusterName::Inbound { port } if told > 0 => {
                let own = sample.workload.iter();
                let served = own.flat_map(|own| index.served_on(own, *port));
                for key in served {
                    self.sessions.insert(key, sample.at);
                }
            }
            _ => {}
        }
    }

    /// A proxy has gone: what it said as a client no longer counts; what it said of its own
    /// application does, unless it said goodbye.
    pub(super) fn proxy_gone(&mut self, proxy: &ProxyId, clean: bool) {
        self.reported.remove(proxy);
        for reporters in self.instances.values_mut() {
            reporters.retain(|reporter, _| reporter.proxy != *proxy || (reporter.own && !clean));
        }
    }

    /// Where it is false, only who is connected is heard: whoever reaches the port may open streams
    /// under any number of names.
    pub(super) fn has_room_for(&self, proxy: &ProxyId) -> bool {
        self.reported.len() < MOST_REPORTERS || self.reported.contains_key(proxy)
    }

    /// Ends what was said by proxies that are not connected and have fallen silent. Reports have a
    /// stream of their own, so the last one may come after its proxy's ADS stream has ended; and
    /// some proxies only report. Of an instance's own proxy it counts until the lease is over.
    pub(super) fn end_silent(&mut self, proxies: &Proxies, now: Timestamp) {
        if now.since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        for reporters in self.instances.values_mut() {
            reporters.retain(|Reporter { own, proxy }, reports| {
                now.since(reports.newest) < SILENT
                    || proxies.is_connected(proxy)
                    || (*own && proxies.is_known(proxy))
            });
        }
        self.instances.retain(|_, reporters| !reporters.is_empty());
        self.reported.retain(|proxy, at| {
            let silent_for = now.since(*at);
            silent_for < SILENT || (silent_for < FORGOTTEN && proxies.is_connected(proxy))
        });
    }

    /// Forgets instances and versions that are no more.
    pub(super) fn retain(&mut self, index: &Index) {
        self.instances
            .retain(|workload, _| !index.services_of(workload).is_empty());
        self.sessions
            .retain(|(service, version), _| index.has(service, version));
    }

    /// What is active on an instance. `expects_own`: its own proxy is known, so that nothing is
    /// known before that has reported. An ejection counts from when `until` has come.
    pub(super) fn activity(
        &self,
        workload: &WorkloadKey,
        expects_own: bool,
        until: Timestamp,
    ) -> Usage {
        let Some(reporters) = self.instances.get(workload) else {
            return Usage::default();
        };
        let mut activity = Usage::default();
        for (reporter, reports) in reporters {
            let levels = reports.levels;
            activity.active = activity.active.saturating_add(levels.active());
            activity.last_activity = activity.last_activity.max(reports.last_activity);
            let ejects = reports.ejected_since.is_some_and(|since| since <= until);
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

    /// How many proxies report.
    #[cfg(test)]
    pub(super) fn reporters(&self) -> usize {
        self.reported.len()
    }

    /// An instance's present traffic by its own proxy, else by its clients': explicit proxies
    /// connect past it, and then it sees nothing.
    pub(super) fn traffic(&self, workload: &WorkloadKey, now: Timestamp) -> Traffic {
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
    pub(super) fn reports_itself(&self, workload: &WorkloadKey) -> bool {
        self.instances
            .get(workload)
            .is_some_and(|reporters| reporters.keys().any(|reporter| reporter.own))
    }

    /// Requests that ended on an instance in the last second until then, and how many of them were
    /// errors: by its own proxy, else by its clients'.
    pub(super) fn recent(&self, workload: &WorkloadKey, until: Timestamp) -> (u64, u64) {
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
        sum(true).or_else(|| sum(false)).unwrap_or_default()
    }

    /// When a session of a version last began or placed a request.
    pub(super) fn last_session(
        &self,
        service: &ServiceKey,
        version: &VersionId,
    ) -> Option<Timestamp> {
        self.sessions
            .get(&(service.clone(), version.clone()))
            .copied()
    }
}

/// The service whose full host name it is.
pub(super) fn service_of(host: &str) -> Option<ServiceKey> {
    let mut labels = host.split('.');
    let (service, namespace) = (labels.next()?, labels.next()?);
    Some(ServiceKey::new(namespace, service))
}

/// The instance an endpoint's numbers are about, and whether its own proxy says them.
fn instance_of(
    cluster: &ClusterName,
    endpoint: &EndpointSample,
    sample: &LoadSample,
    index: &Index,
) -> Option<(WorkloadKey, bool)> {
    match cluster {
        ClusterName::Inbound { .. } => {
            let own = sample.workload.clone()?;
            (!index.services_of(&own).is_empty()).then_some((own, true))
        }
        ClusterName::Outbound { .. } => {
            let address = endpoint.address?;
            index.owner(&address).map(|owner| (owner.clone(), false))
        }
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::tests::support::{at, catalog};

    pub(in crate::engine) fn endpoint(cluster: &str, requests_active: u64) -> EndpointSample {
        EndpointSample {
            cluster: cluster.to_owned(),
            address: Some("10.0.0.1:8080".parse().unwrap()),
            requests_active,
            ..EndpointSample::default()
        }
    }

    pub(in crate::engine) fn report(
        proxy: &str,
        seconds: u64,
        endpoints: Vec<EndpointSample>,
    ) -> LoadSample {
        LoadSample {
            proxy: proxy.into(),
            workload: crate::model::Key::try_from(proxy.to_owned()).ok(),
            at: at(seconds),
            endpoints,
        }
    }

    const OUTBOUND: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";

    fn fixture() -> (Loads, Index, WorkloadKey) {
        let index = Index::new(&catalog(&[("a-0", "v1")]));
        (Loads::new(at(0)), index, WorkloadKey::new("shop", "a-0"))
    }

    #[test]
    fn activity_sums_all_reporters_and_the_oldest_report_counts() {
        let (mut loads, index, key) = fixture();
        loads.record(
            &report("shop/a-0", 5, vec![endpoint("inbound|8080||", 2)]),
            &index,
        );
        loads.record(&report("shop/web", 7, vec![endpoint(OUTBOUND, 1)]), &index);
        let activity = loads.activity(&key, true, at(99));
        assert_eq!(activity.active, 3);
        assert_eq!(activity.last_report, Some(at(5)));
        assert_eq!(activity.last_activity, Some(at(7)));
    }

    #[test]
    fn a_reporter_that_no_longer_mentions_an_instance_has_nothing_there() {
        let (mut loads, index, key) = fixture();
        loads.record(&report("shop/web", 5, vec![endpoint(OUTBOUND, 1)]), &index);
        loads.record(&report("shop/web", 6, vec![]), &index);
        let activity = loads.activity(&key, false, at(99));
        assert_eq!(activity.active, 0);
        assert_eq!(activity.last_report, Some(at(6)));
        assert_eq!(activity.last_activity, Some(at(5)));
    }

    #[test]
    fn before_its_own_proxy_has_reported_nothing_is_known() {
        let (mut loads, index, key) = fixture();
        loads.record(&report("shop/web", 5, vec![endpoint(OUTBOUND, 0)]), &index);
        assert_eq!(loads.activity(&key, true, at(99)).last_report, None);
        assert_eq!(loads.activity(&key, false, at(99)).last_report, Some(at(5)));
    }

    #[test]
    fn a_session_that_an_instances_own_proxy_placed_is_one_of_its_version() {
        let (mut loads, index, _) = fixture();
        let session =
            |loads: &Loads| loads.last_session(&ServiceKey::new("shop", "checkout"), &"v1".into());
        let mut own = endpoint("inbound|8080||", 1);
        own.issued = 3;
        loads.record(&report("shop/a-0", 4, vec![own.clone()]), &index);
        assert_eq!(session(&loads), None);
        own.pinned_requests = 1;
        loads.record(&report("shop/a-0", 5, vec![own.clone()]), &index);
        assert_eq!(session(&loads), Some(at(5)));
        own.cluster = "inbound|9999||".to_owned();
        loads.record(&report("shop/a-0", 6, vec![own]), &index);
        assert_eq!(session(&loads), Some(at(5)));
    }

    #[test]
    fn a_proxy_that_went_no_longer_counts_as_a_client() {
        let (mut loads, index, key) = fixture();
        loads.record(&report("shop/web", 5, vec![endpoint(OUTBOUND, 4)]), &index);
        loads.proxy_gone(&"shop/web".into(), false);
        assert_eq!(loads.activity(&key, false, at(99)).active, 0);
    }

    #[test]
    fn rates_come_from_the_instances_own_proxy_where_there_is_one() {
        let (mut loads, index, key) = fixture();
        for second in 1..=4 {
            let mut own = endpoint("inbound|8080||", 0);
            own.issued = 100;
            own.errors = 10;
            loads.record(&report("shop/a-0", second, vec![own]), &index);
            let mut client = endpoint(OUTBOUND, 0);
            client.issued = 500;
            loads.record(&report("shop/web", second, vec![client]), &index);
        }
        let traffic = loads.traffic(&key, at(4));
        assert!((traffic.requests_per_second - 100.0).abs() < 0.01);
        assert!((traffic.errors_per_second - 10.0).abs() < 0.01);
    }

    #[test]
    fn what_passes_an_instances_own_proxy_by_is_shown_as_its_clients_see_it() {
        let (mut loads, index, key) = fixture();
        for second in 1..=4 {
            let own = endpoint("inbound|8080||", 0);
            loads.record(&report("shop/a-0", second, vec![own]), &index);
            let mut client = endpoint(OUTBOUND, 2);
            client.issued = 50;
            loads.record(&report("shop/web", second, vec![client]), &index);
        }
        let traffic = loads.traffic(&key, at(4));
        assert!((traffic.requests_per_second - 50.0).abs() < 0.01);
        assert_eq!(traffic.requests, 2);
    }

    #[test]
    fn what_is_gone_or_never_was_is_not_kept_and_no_number_is_too_large() {
        let (mut loads, index, key) = fixture();
        let mut huge = endpoint(OUTBOUND, u64::MAX);
        huge.connections_active = u64::MAX;
        huge.pinned_requests = 1;
        let mut unknown = huge.clone();
        unknown.cluster = OUTBOUND.replace("v1", "v77");
        loads.record(
            &report("shop/web", 1, vec![huge.clone(), unknown, huge]),
            &index,
        );
        loads.record(
            &report("shop/x-9", 1, vec![endpoint("inbound|1||", 1)]),
            &index,
        );
        assert_eq!(loads.activity(&key, false, at(99)).active, u64::MAX);
        assert_eq!((loads.instances.len(), loads.sessions.len()), (1, 1));
        loads.retain(&Index::new(&catalog(&[])));
        assert_eq!((loads.instances.len(), loads.sessions.len()), (0, 0));
    }

    #[test]
    fn sessions_are_noted_by_version() {
        let (mut loads, index, _) = fixture();
        let mut pinned = endpoint(OUTBOUND, 0);
        pinned.pinned_requests = 1;
        loads.record(&report("shop/web", 9, vec![pinned]), &index);
        let service = ServiceKey::new("shop", "checkout");
        assert_eq!(loads.last_session(&service, &"v1".into()), Some(at(9)));
        assert_eq!(loads.last_session(&service, &"v2".into()), None);
    }

    #[test]
    fn what_a_stock_client_sends_to_a_version_may_be_of_a_session() {
        let (mut loads, index, _) = fixture();
        let mut sent = endpoint(OUTBOUND, 0);
        sent.issued = 1;
        loads.record(&report("envoy-1", 9, vec![sent]), &index);
        let service = ServiceKey::new("shop", "checkout");
        assert_eq!(loads.last_session(&service, &"v1".into()), Some(at(9)));
    }

    #[test]
    fn sessions_of_the_control_group_are_sessions_of_its_version() {
        let (mut loads, index, _) = fixture();
        let mut pinned = endpoint(&OUTBOUND.replace("v1", "v1.control"), 0);
        pinned.pinned_requests = 1;
        loads.record(&report("shop/web", 9, vec![pinned]), &index);
        let service = ServiceKey::new("shop", "checkout");
        assert_eq!(loads.last_session(&service, &"v1".into()), Some(at(9)));
    }

    #[test]
    fn a_report_counts_since_the_one_before_of_the_same_proxy() {
        let (mut loads, index, _) = fixture();
        assert_eq!(loads.record(&report("shop/web", 5, vec![]), &index), None);
        assert_eq!(loads.record(&report("shop/api", 6, vec![]), &index), None);
        let before = loads.record(&report("shop/web", 7, vec![]), &index);
        assert_eq!(before, Some(at(5)));
        loads.proxy_gone(&"shop/web".into(), false);
        assert_eq!(loads.record(&report("shop/web", 8, vec![]), &index), None);
    }

    #[test]
    fn recent_is_the_last_second_by_its_own_proxy_else_by_its_clients() {
        let (mut loads, index, key) = fixture();
        for second in 1..=4 {
            let mut client = endpoint(OUTBOUND, 0);
            (client.succeeded, client.errors) = (7, 3);
            loads.record(&report("shop/web", second, vec![client]), &index);
        }
        assert_eq!(loads.recent(&key, at(4)), (10, 3));
        let mut own = endpoint("inbound|8080||", 0);
        own.errors = 2;
        for second in [3, 4] {
            loads.record(&report("shop/a-0", second, vec![own.clone()]), &index);
        }
        assert_eq!(loads.recent(&key, at(4)), (2, 2));
        assert_eq!(loads.recent(&key, at(6)), (0, 0));
    }
}
