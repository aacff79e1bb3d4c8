//! The LRS stream: reports at the interval that the server asks for.
//!
//! What happened while nobody listened is not reported: a report describes the time since the last
//! one, or since the stream began.

use super::{
    loads::{Known, Loads},
    report::cluster_stats,
};
use crate::{
    model::Snapshot,
    xds::{Backoff, Dialer, Identity},
};
use envoy_types::pb::envoy::{
    config::endpoint::v3::ClusterStats,
    service::load_stats::v3::{
        LoadStatsRequest, LoadStatsResponse,
        load_reporting_service_client::LoadReportingServiceClient,
    },
};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};
use tracing::{debug, warn};

/// What a server asks for at the least; more often would cost more than it tells.
const SHORTEST: Duration = Duration::from_millis(50);
/// What is said where the server names no interval.
const DEFAULT: Duration = Duration::from_secs(10);

/// Reports load to the control plane.
#[derive(Clone, Debug)]
pub struct Reporter {
    /// Who reports.
    pub identity: Identity,
    /// To the control plane.
    pub channel: Channel,
    /// Knows our own address, where nobody said it.
    pub dialer: Dialer,
    /// Our own address, as the health checks say it.
    pub own: watch::Receiver<Option<IpAddr>>,
    /// The books.
    pub loads: Arc<Loads>,
    /// The configuration in force.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// When the process started.
    pub started: Instant,
}

/// What the server asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Order {
    /// None: all.
    clusters: Option<BTreeSet<String>>,
    interval: Duration,
}

impl From<LoadStatsResponse> for Order {
    fn from(response: LoadStatsResponse) -> Self {
        let interval = response.load_reporting_interval.map_or(DEFAULT, |given| {
            let seconds = Duration::from_secs(given.seconds.try_into().unwrap_or(0));
            seconds + Duration::from_nanos(given.nanos.try_into().unwrap_or(0))
        });
        Self {
            clusters: (!response.send_all_clusters)
                .then(|| response.clusters.into_iter().collect()),
            interval: interval.max(SHORTEST),
        }
    }
}

impl Reporter {
    /// The endpoints to report even if nothing happens there.
    pub fn known(&self) -> Known {
        let own = self.own.borrow().or_else(|| self.dialer.local_address());
        Known::new(&self.snapshot.borrow(), own)
    }

    /// Brings the books up to date.
    pub async fn collect(&self) {
        self.loads
            .collect(&self.known(), self.started.elapsed())
            .await;
    }

    /// Reports for as long as it is not dropped.
    pub async fn run(self, seed: u64) {
        let mut backoff = Backoff::new(seed);
        loop {
            if let Err(status) = self.stream(&mut backoff).await {
                debug!(%status, "the load report stream ended");
            }
            // Workers forget what they handed over: their books don't grow while nobody listens.
            self.collect().await;
            sleep(backoff.wait()).await;
        }
    }

    async fn stream(&self, backoff: &mut Backoff) -> Result<(), Status> {
        let (requests, receiver) = mpsc::channel(4);
        let first = LoadStatsRequest {
            node: Some(self.identity.node()),
            cluster_stats: Vec::new(),
        };
        requests.try_send(first).ok();
        let mut client = LoadReportingServiceClient::new(self.channel.clone());
        let mut orders = client
            .stream_load_stats(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let Some(response) = orders.message().await? else {
            return Ok(());
        };
        backoff.reset();
        let mut order = Order::from(response);
        let mut ticks = ticker(order.interval);
        self.collect().await;
        drop(self.loads.take_report());
        drop(self.loads.take_refused());
        let mut last = Instant::now();
        loop {
            tokio::select! {
                response = orders.message() => match response? {
                    Some(response) => {
                        let new = Order::from(response);
                        if new.interval != order.interval {
                            ticks = ticker(new.interval);
                        }
                        order = new;
                    }
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    self.collect().await;
                    // A server that does not keep up gets fewer and larger reports.
                    match requests.try_reserve() {
                        Ok(place) => {
                            place.send(self.report(&order, last.elapsed()));
                            last = Instant::now();
                        }
                        Err(mpsc::error::TrySendError::Full(())) => {
                            warn!("the control plane does not keep up with load reports");
                        }
                        Err(mpsc::error::TrySendError::Closed(())) => return Ok(()),
                    }
                }
            }
        }
    }

    fn report(&self, order: &Order, since: Duration) -> LoadStatsRequest {
        let wanted = |cluster: &str| {
            order
                .clusters
                .as_ref()
                .is_none_or(|clusters| clusters.contains(cluster))
        };
        let refused = self.loads.take_refused();
        let with_refused = |stats: ClusterStats| ClusterStats {
            total_dropped_requests: refused.get(&*stats.cluster_name).copied().unwrap_or(0),
            ..stats
        };
        LoadStatsRequest {
            node: None,
            cluster_stats: self
                .loads
                .take_report()
                .iter()
                .filter(|(cluster, _)| wanted(cluster))
                .map(|(cluster, endpoints)| cluster_stats(cluster, endpoints, since))
                .map(with_refused)
                .collect(),
        }
    }
}

fn ticker(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
