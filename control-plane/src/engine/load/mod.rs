//! The proxies' load reports, by instance and reporter, and when versions had sessions.
//!
//! A reporter that stops mentioning an instance has nothing there: our sidecars say zeros
//! explicitly, other proxies leave idle endpoints out. What was active before this process began
//! is unknown, so nothing counts as quiet since before then.

mod usage;

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

    /// How many proxies report.
    #[cfg(test)]
    pub(super) fn reporters(&self) -> usize {
        self.reported.len()
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
pub(super) mod tests;
