//! Gathers what workers counted and keeps the books: since the last report, and in all.

use crate::{
    model::{Discovery, EndpointLoad, Snapshot, WorkerLoad},
    store::{Command, Worker},
};
use parking_lot::Mutex;
use segue_proto::names::ClusterName;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;

/// How long an endpoint is reported after it left the configuration or was last used.
const MEMORY: Duration = Duration::from_secs(60);

/// A cluster's name and an endpoint's address.
pub(super) type Key = (Arc<str>, SocketAddr);

/// The books.
#[derive(Debug)]
pub struct Loads {
    workers: Vec<Worker>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Counts since the last report, and the levels of the last collection.
    since_report: BTreeMap<Key, EndpointLoad>,
    /// Counts since the process's start, and the levels of the last collection.
    totals: BTreeMap<Arc<str>, EndpointLoad>,
    /// Of the clusters in the configuration.
    versions: BTreeMap<Arc<str>, Option<Arc<str>>>,
    /// What circuit breakers refused since the last report, and in all.
    refused: BTreeMap<Arc<str>, (u64, u64)>,
    ejected: BTreeSet<Key>,
    downstream: Downstream,
    /// The endpoints to report, and when each was last known or used.
    last_seen: BTreeMap<Key, Duration>,
}

/// The endpoints to report even if nothing happens there.
#[derive(Clone, Debug, Default)]
pub struct Known {
    endpoints: BTreeSet<Key>,
    /// With the version that each is of.
    clusters: BTreeMap<Arc<str>, Option<Arc<str>>>,
}

impl Known {
    /// Those of a snapshot. The Pod's own application stands at `own` address, where that is known.
    pub fn new(snapshot: &Snapshot, own: Option<IpAddr>) -> Self {
        let mut known = Self::default();
        for (name, cluster) in &snapshot.clusters {
            let version = cluster.version.clone();
            known.clusters.insert(Arc::clone(name), version);
            let own = match (cluster.discovery, name.parse(), own) {
                (Discovery::OriginalDst, Ok(ClusterName::Inbound { port }), Some(ip)) => {
                    Some(SocketAddr::new(ip, port))
                }
                _ => None,
            };
            let addresses = cluster.endpoints.iter().map(|endpoint| endpoint.address);
            known.endpoints.extend(
                addresses
                    .chain(own)
                    .map(|address| (Arc::clone(name), address)),
            );
        }
        known
    }
}

/// One endpoint's line in a report.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) load: EndpointLoad,
    pub(super) ejected: bool,
}

/// One cluster's totals for the metrics.
#[derive(Clone, Debug)]
pub(super) struct Total {
    pub(super) cluster: Arc<str>,
    /// The version that serves there, where that is known.
    pub(super) version: Option<Arc<str>>,
    pub(super) load: EndpointLoad,
    pub(super) ejected: usize,
    pub(super) refused: u64,
}

/// The downstream connections of all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Downstream {
    /// Open now.
    pub(super) connections: usize,
    /// Refused since the process's start: there were too many.
    pub(super) refused: u64,
}

impl Loads {
    /// The books of these workers.
    pub fn new(workers: Vec<Worker>) -> Self {
        Self {
            workers,
            books: Mutex::default(),
        }
    }

    /// Takes over what the workers counted since the last time.
    pub async fn collect(&self, known: &Known, now: Duration) {
        let answers: Vec<_> = self
            .workers
            .iter()
            .filter_map(|worker| {
                let (answer, load) = oneshot::channel();
                let command = Command::CollectLoad(answer);
                worker.commands.send(command).ok().map(|()| load)
            })
            .collect();
        let mut loads = Vec::with_capacity(answers.len());
        for answer in answers {
            // An error says that the worker has ended.
            loads.extend(answer.await.ok());
        }
        self.books.lock().enter(loads, known, now);
    }

    /// What happened since the last report, by cluster and endpoint: every known endpoint, and all
    /// that were used lately.
    pub(super) fn take_report(&self) -> BTreeMap<Arc<str>, BTreeMap<SocketAddr, Line>> {
        let mut books = self.books.lock();
        let mut loads = std::mem::take(&mut books.since_report);
        let mut report: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for key in books.last_seen.keys() {
            let line = Line {
                load: loads.remove(key).unwrap_or_default(),
                ejected: books.ejected.contains(key),
            };
            report
                .entry(Arc::clone(&key.0))
                .or_default()
                .insert(key.1, line);
        }
        report
    }

    /// What circuit breakers refused since the last report, by cluster.
    pub(super) fn take_refused(&self) -> BTreeMap<Arc<str>, u64> {
        let mut books = self.books.lock();
        let taken = books.refused.iter_mut();
        taken
            .map(|(cluster, (recent, _))| (Arc::clone(cluster), std::mem::take(recent)))
            .filter(|(_, recent)| *recent > 0)
            .collect()
    }

    /// Everything since the process's start, by cluster.
    pub(super) fn totals(&self) -> Vec<Total> {
        let books = self.books.lock();
        let total = |(cluster, load): (&Arc<str>, &EndpointLoad)| Total {
            cluster: Arc::clone(cluster),
            version: books.versions.get(cluster).cloned().flatten(),
            load: load.clone(),
            refused: books.refused.get(cluster).map_or(0, |(_, all)| *all),
            ejected: books
                .ejected
                .iter()
                .filter(|(name, _)| name == cluster)
                .count(),
        };
        books.totals.iter().map(total).collect()
    }

    /// The downstream connections, for the metrics.
    pub(super) fn downstream(&self) -> Downstream {
        self.books.lock().downstream
    }
}

impl Books {
    fn enter(&mut self, loads: Vec<WorkerLoad>, known: &Known, now: Duration) {
        for load in self
            .since_report
            .values_mut()
            .chain(self.totals.values_mut())
        {
            load.requests_active = 0;
            load.connections_active = 0;
        }
        self.versions.clone_from(&known.clusters);
        self.ejected.clear();
        self.downstream.connections = 0;
        for worker in loads {
            self.downstream.connections += worker.connections;
            self.downstream.refused += worker.connections_refused;
            for (cluster, refused) in worker.refused {
                // A cluster that refuses is known, though nothing was sent there.
                self.totals.entry(Arc::clone(&cluster)).or_default();
                let (recent, all) = self.refused.entry(cluster).or_default();
                *recent += refused;
                *all += refused;
            }
            for (cluster, endpoints) in worker.clusters {
                for (address, load) in endpoints {
                    self.totals
                        .entry(Arc::clone(&cluster))
                        .or_default()
                        .merge(&load);
                    let key = (Arc::clone(&cluster), address);
                    if load != EndpointLoad::default() {
                        self.last_seen.insert(key.clone(), now);
                    }
                    self.since_report.entry(key).or_default().merge(&load);
                }
            }
            let ejected = worker.ejected.into_iter();
            self.ejected
                .extend(ejected.map(|(cluster, address, _)| (cluster, address)));
        }
        for key in &known.endpoints {
            self.last_seen.insert(key.clone(), now);
        }
        self.last_seen.retain(|_, seen| *seen + MEMORY > now);
        let Self {
            since_report,
            totals,
            refused,
            last_seen,
            ..
        } = self;
        since_report.retain(|key, _| last_seen.contains_key(key));
        refused.retain(|cluster, _| totals.contains_key(cluster));
        totals.retain(|cluster, _| {
            known.clusters.contains_key(cluster)
                || last_seen.keys().any(|(name, _)| name == cluster)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Books, Known, Loads, MEMORY};
    use crate::model::{EndpointId, EndpointLoad, WorkerLoad};
    use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

    fn address() -> SocketAddr {
        "10.0.0.1:80".parse().unwrap()
    }

    fn load(issued: u64, active: u64) -> WorkerLoad {
        let load = EndpointLoad {
            issued,
            requests_active: active,
            ..EndpointLoad::default()
        };
        WorkerLoad {
            clusters: BTreeMap::from([(Arc::from("c"), BTreeMap::from([(address(), load)]))]),
            ejected: vec![(Arc::from("c"), address(), EndpointId(0))],
            refused: BTreeMap::from([(Arc::from("c"), 2)]),
            connections: 2,
            connections_refused: 1,
        }
    }

    fn loads(books: Books) -> Loads {
        Loads {
            workers: Vec::new(),
            books: books.into(),
        }
    }

    #[test]
    fn counts_add_up_and_levels_are_the_last() {
        let mut books = Books::default();
        books.enter(vec![load(1, 3), load(2, 1)], &Known::default(), MEMORY);
        books.enter(vec![load(10, 1), load(20, 0)], &Known::default(), MEMORY);
        let loads = loads(books);
        let report = loads.take_report();
        let line = &report["c"][&address()];
        assert_eq!(line.load.issued, 33);
        assert_eq!(line.load.requests_active, 1);
        let downstream = loads.downstream();
        assert_eq!((downstream.connections, downstream.refused), (4, 4));
        assert!(line.ejected);
        assert_eq!(loads.take_refused()["c"], 8);
        assert!(loads.take_refused().is_empty());
        assert_eq!(loads.totals()[0].refused, 8);
        assert_eq!(loads.totals()[0].load.issued, 33);
        let again = loads.take_report();
        assert_eq!(again["c"][&address()].load.issued, 0);
        assert_eq!(loads.totals()[0].load.issued, 33);
    }

    #[test]
    fn a_known_endpoint_is_reported_though_nothing_happens() {
        let known = Known {
            endpoints: [(Arc::from("c"), address())].into(),
            clusters: [(Arc::from("c"), None)].into(),
        };
        let mut books = Books::default();
        books.enter(Vec::new(), &known, MEMORY);
        assert_eq!(loads(books).take_report()["c"].len(), 1);
    }

    #[test]
    fn an_endpoint_is_forgotten_a_while_after_it_left() {
        let mut books = Books::default();
        books.enter(vec![load(1, 0)], &Known::default(), Duration::ZERO);
        books.enter(Vec::new(), &Known::default(), MEMORY / 2);
        assert_eq!(books.last_seen.len(), 1);
        books.enter(Vec::new(), &Known::default(), MEMORY);
        assert!(books.last_seen.is_empty());
        assert!(books.since_report.is_empty());
        assert!(books.totals.is_empty());
    }
}
