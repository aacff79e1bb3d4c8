//! Passive health: an endpoint that fails several times in a row is ejected for a while.
//!
//! The counters are shared by all workers, so that three failures are three wherever they were
//! seen. A success writes only where there is something to forget.
//!
//! How many failing requests reach an endpoint until it is ejected: one that never answered well gets
//! no more than the threshold, also of those under way at once ([`Trial`]); but for sessions that are
//! pinned to its version, and where no other endpoint is left. One that did answer well gets the
//! threshold and what is under way when it is reached. After an ejection the count begins anew.

#[cfg(doc)]
use crate::model::Trial;
use crate::model::{Cluster, Endpoint, EndpointState, OutlierDetection};
use http::StatusCode;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How an exchange with an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Below 500.
    Success,
    /// 5xx of the application's own.
    ServerError,
    /// 502, 503, 504, a failed connect, a reset or a time-out.
    GatewayFailure,
}

impl Outcome {
    /// What a status code means.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            502..=504 => Self::GatewayFailure,
            500.. => Self::ServerError,
            _ => Self::Success,
        }
    }
}

/// Counts an outcome. Some: this one ejected the endpoint, for that long.
pub fn report(
    cluster: &Cluster,
    endpoint: &Endpoint,
    outcome: Outcome,
    now: u64,
) -> Option<Duration> {
    let detection = cluster.outlier_detection.as_ref()?;
    let state = &*endpoint.state;
    match outcome {
        Outcome::Success => {
            state.prove();
            forget(&state.consecutive_5xx);
            forget(&state.consecutive_gateway_failures);
            return None;
        }
        Outcome::ServerError => forget(&state.consecutive_gateway_failures),
        Outcome::GatewayFailure => {}
    }
    if state.is_ejected(now) {
        return None;
    }
    let gateway = outcome == Outcome::GatewayFailure
        && reaches(
            &state.consecutive_gateway_failures,
            detection.consecutive_gateway_failure,
        );
    let any = reaches(&state.consecutive_5xx, detection.consecutive_5xx);
    ((gateway || any) && may_eject(cluster, detection, now)).then(|| eject(state, detection, now))
}

fn forget(counter: &AtomicU32) {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
}

fn reaches(counter: &AtomicU32, threshold: Option<u32>) -> bool {
    let count = counter.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    threshold.is_some_and(|threshold| count >= threshold)
}

/// One more may be out without crossing `max_ejection_percent` of the cluster.
fn may_eject(cluster: &Cluster, detection: &OutlierDetection, now: u64) -> bool {
    let (mut out, mut all) = (0_u64, 0_u64);
    for endpoint in &cluster.endpoints {
        all += 1;
        out += u64::from(endpoint.state.is_ejected(now));
    }
    (out + 1) * 100 <= u64::from(detection.max_ejection_percent) * all
}

fn eject(state: &EndpointState, detection: &OutlierDetection, now: u64) -> Duration {
    let times = state.ejections.load(Ordering::Relaxed).saturating_add(1);
    let time = detection.base_ejection_time.saturating_mul(times).min(
        detection
            .max_ejection_time
            .max(detection.base_ejection_time),
    );
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    forget(&state.consecutive_5xx);
    forget(&state.consecutive_gateway_failures);
    state.eject(now.saturating_add(milliseconds));
    time
}

#[cfg(test)]
mod tests {
    use super::{Outcome, report};
    use crate::model::{
        Balancing, Cluster, Discovery, Endpoint, EndpointId, EndpointState, Health, Locality,
        OutlierDetection, UpstreamProtocol,
    };
    use std::{sync::Arc, time::Duration};

    fn cluster(endpoints: u32, gateway: Option<u32>, any: Option<u32>, percent: u32) -> Cluster {
        let endpoint = |id| Endpoint {
            id: EndpointId(id),
            address: ([127, 0, 0, 1], 1).into(),
            weight: 1,
            priority: 0,
            locality: Locality::default(),
            health: Health::Healthy,
            version: None,
            state: Arc::new(EndpointState::default()),
        };
        Cluster {
            name: "c".into(),
            version: None,
            discovery: Discovery::Endpoints,
            endpoints: (0..endpoints).map(endpoint).collect(),
            overprovisioning_factor: 140,
            balancing: Balancing::default(),
            tables: Arc::default(),
            protocol: UpstreamProtocol::Http1,
            connect_timeout: Duration::from_secs(1),
            outlier_detection: Some(OutlierDetection {
                consecutive_gateway_failure: gateway,
                consecutive_5xx: any,
                base_ejection_time: Duration::from_secs(10),
                max_ejection_time: Duration::from_secs(15),
                max_ejection_percent: percent,
            }),
        }
    }

    fn all(cluster: &Cluster, outcomes: &[Outcome]) -> Vec<bool> {
        let endpoint = &cluster.endpoints[0];
        let ejects = |outcome: &Outcome| report(cluster, endpoint, *outcome, 0).is_some();
        outcomes.iter().map(ejects).collect()
    }

    use Outcome::{GatewayFailure as Gateway, ServerError as Error, Success};

    #[test]
    fn consecutive_gateway_failures_eject_at_the_threshold() {
        let cluster = cluster(1, Some(3), None, 100);
        assert_eq!(
            all(&cluster, &[Gateway, Gateway, Success, Gateway, Error]),
            [false; 5]
        );
        assert_eq!(
            all(&cluster, &[Gateway, Gateway, Gateway, Gateway]),
            [false, false, true, false]
        );
    }

    #[test]
    fn consecutive_5xx_count_gateway_failures_too() {
        let cluster = cluster(1, None, Some(2), 100);
        assert_eq!(all(&cluster, &[Gateway, Error]), [false, true]);
    }

    #[test]
    fn later_ejections_last_longer_up_to_the_maximum() {
        let cluster = cluster(1, Some(1), None, 100);
        let endpoint = &cluster.endpoints[0];
        let eject = |now| report(&cluster, endpoint, Gateway, now);
        assert_eq!(eject(0), Some(Duration::from_secs(10)));
        assert_eq!(eject(9_999), None);
        assert_eq!(eject(10_000), Some(Duration::from_secs(15)));
        assert!(endpoint.state.is_ejected(24_999));
        assert!(!endpoint.state.is_ejected(25_000));
    }

    #[test]
    fn no_more_than_the_allowed_part_of_a_cluster_is_ejected() {
        let cluster = cluster(3, Some(1), None, 50);
        let eject = |index: usize| report(&cluster, &cluster.endpoints[index], Gateway, 0);
        assert!(eject(0).is_some());
        assert!(eject(1).is_none());
    }

    #[test]
    fn without_detection_nothing_is_counted() {
        let mut cluster = cluster(1, Some(1), None, 100);
        cluster.outlier_detection = None;
        assert_eq!(all(&cluster, &[Gateway, Gateway]), [false, false]);
    }
}
