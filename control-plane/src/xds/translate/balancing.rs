//! The part of a cluster that says how its endpoints share its requests.

use super::wrap::{duration, number};
use crate::model::{Algorithm, Balancing, CircuitBreaker, Zones};
use envoy_types::pb::{
    envoy::{
        config::cluster::v3::{
            CircuitBreakers, Cluster,
            circuit_breakers::Thresholds,
            cluster::{
                CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, RoundRobinLbConfig,
                SlowStartConfig,
                common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
            },
        },
        r#type::v3::Percent,
    },
    google::protobuf::UInt32Value,
};

/// The same cluster, with what the policy says. Health is always looked at: the other priority is the
/// other version, which is better than an endpoint that is known not to be well.
pub(super) fn balanced(cluster: Cluster, balancing: &Balancing) -> Cluster {
    let slow_start_config = (!balancing.slow_start.is_zero()).then(|| SlowStartConfig {
        slow_start_window: Some(duration(balancing.slow_start)),
        ..SlowStartConfig::default()
    });
    let slow = slow_start_config.is_some();
    let (policy, config) = match balancing.algorithm {
        Algorithm::LeastRequest => (
            LbPolicy::LeastRequest,
            LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                slow_start_config,
                ..LeastRequestLbConfig::default()
            }),
        ),
        Algorithm::RoundRobin => (
            LbPolicy::RoundRobin,
            LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config }),
        ),
        Algorithm::RingHash => return hashed(cluster, balancing, LbPolicy::RingHash),
        Algorithm::Maglev => return hashed(cluster, balancing, LbPolicy::Maglev),
    };
    Cluster {
        lb_policy: policy.into(),
        lb_config: slow.then_some(config),
        common_lb_config: Some(common(balancing)),
        ..cluster
    }
}

/// Envoy's sizes of rings and tables hold.
fn hashed(cluster: Cluster, balancing: &Balancing, policy: LbPolicy) -> Cluster {
    Cluster {
        lb_policy: policy.into(),
        common_lb_config: Some(common(balancing)),
        ..cluster
    }
}

/// What holds for every cluster with endpoints.
pub(super) fn common(balancing: &Balancing) -> CommonLbConfig {
    CommonLbConfig {
        healthy_panic_threshold: Some(Percent { value: 0.0 }),
        locality_config_specifier: (balancing.zones == Zones::Prefer).then_some(
            LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}),
        ),
        ..CommonLbConfig::default()
    }
}

/// What may be under way at once. Said also where nobody limits it: a client's own defaults (Envoy's
/// 1,024 connections and requests, 3 retries) would be limits that nobody has asked for.
pub(super) fn circuit_breakers(limits: CircuitBreaker) -> CircuitBreakers {
    let limit =
        |limit: Option<u32>| -> Option<UInt32Value> { Some(number(limit.unwrap_or(u32::MAX))) };
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: limit(None),
            max_pending_requests: limit(None),
            max_requests: limit(limits.max_requests),
            max_retries: limit(limits.max_retries),
            ..Thresholds::default()
        }],
        ..CircuitBreakers::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        model::{Algorithm, Balancing, CircuitBreaker, InstanceState, ShiftBy, Zones},
        xds::{
            fixture::{Make, node, world},
            snapshot::Snapshot,
            translate::{ClientKind, Node, ResourceType},
        },
    };
    use envoy_types::pb::envoy::config::{
        cluster::v3::{Cluster, cluster::LbConfig},
        endpoint::v3::ClusterLoadAssignment,
    };
    use prost::Message;
    use std::{sync::Arc, time::Duration};

    const V1: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";

    fn checkout(balancing: Balancing) -> Make {
        Make {
            balancing,
            shift: Some(ShiftBy::SourceIp),
            ..Make::http("checkout", 7, &[("v2", 500, 1), ("v1", 9500, 4)])
        }
    }

    fn cluster(balancing: Balancing, kind: ClientKind) -> Cluster {
        let world = world(1, &[checkout(balancing).view()]);
        let snapshot = Snapshot::build(world, None);
        let found = snapshot.find(&node(kind, "shop/web-0"), ResourceType::Cluster, V1);
        Cluster::decode(found.unwrap().body.value.as_slice()).unwrap()
    }

    #[test]
    fn each_algorithm_is_spelled_as_envoy_has_it() {
        for (algorithm, expected) in [
            (Algorithm::RoundRobin, 0),
            (Algorithm::LeastRequest, 1),
            (Algorithm::RingHash, 2),
            (Algorithm::Maglev, 5),
        ] {
            let balancing = Balancing {
                algorithm,
                ..Balancing::default()
            };
            let envoys = cluster(balancing, ClientKind::Envoy);
            assert_eq!(envoys.lb_policy, expected, "{algorithm:?}");
            assert_eq!(envoys.lb_config, None);
            assert_eq!(cluster(balancing, ClientKind::Grpc).lb_policy, 0);
        }
    }

    #[test]
    fn a_slow_start_stands_with_its_algorithm() {
        let window = |algorithm| {
            let slow = Balancing {
                algorithm,
                slow_start: Duration::from_secs(30),
                ..Balancing::default()
            };
            let slow = match cluster(slow, ClientKind::Sidecar).lb_config? {
                LbConfig::RoundRobinLbConfig(config) => config.slow_start_config,
                LbConfig::LeastRequestLbConfig(config) => config.slow_start_config,
                _ => None,
            };
            Some(slow?.slow_start_window?.seconds)
        };
        assert_eq!(window(Algorithm::RoundRobin), Some(30));
        assert_eq!(window(Algorithm::LeastRequest), Some(30));
        assert_eq!(window(Algorithm::Maglev), None);
    }

    #[test]
    fn limits_are_those_of_the_policy_and_never_a_clients_own() {
        let balancing = Balancing {
            circuit_breaker: CircuitBreaker {
                max_requests: Some(7),
                max_retries: None,
            },
            ..Balancing::default()
        };
        for (balancing, requests) in [(balancing, 7), (Balancing::default(), u32::MAX)] {
            let cluster = cluster(balancing, ClientKind::Sidecar);
            let thresholds = cluster.circuit_breakers.unwrap().thresholds[0];
            assert_eq!(thresholds.max_requests.unwrap().value, requests);
            for limit in [
                thresholds.max_connections,
                thresholds.max_pending_requests,
                thresholds.max_retries,
            ] {
                assert_eq!(limit.unwrap().value, u32::MAX);
            }
        }
    }

    /// The localities that a client is told of: zone, priority and weight.
    fn localities(asker: &Node, states: &[InstanceState], zones: Zones) -> Vec<(String, u32, u32)> {
        let mut make = checkout(Balancing {
            zones,
            ..Balancing::default()
        });
        make.states = states.to_vec();
        let mut view = (*make.view()).clone();
        for (instance, zone) in view.instances.iter_mut().zip(["a", "a", "a", "b", "c"]) {
            Arc::make_mut(&mut instance.workload).zone = Some(zone.to_owned());
        }
        let snapshot = Snapshot::build(world(1, &[Arc::new(view)]), None);
        let found = snapshot.find(asker, ResourceType::Endpoints, V1).unwrap();
        let all = snapshot.all(asker, ResourceType::Endpoints);
        assert!(all.iter().any(|one| one.body == found.body));
        let message = ClusterLoadAssignment::decode(found.body.value.as_slice()).unwrap();
        let locality =
            |given: &envoy_types::pb::envoy::config::endpoint::v3::LocalityLbEndpoints| {
                let zone = given.locality.clone().unwrap().zone;
                (
                    zone,
                    given.priority,
                    given.load_balancing_weight.unwrap().value,
                )
            };
        message.endpoints.iter().map(locality).collect()
    }

    fn at(zone: Option<&str>) -> Node {
        Node {
            zone: zone.map(str::to_owned),
            workload: None,
            ..node(ClientKind::Envoy, "web")
        }
    }

    fn told(weights: [u32; 3]) -> Vec<(String, u32, u32)> {
        let zones = ["a", "b", "c"].into_iter().zip(weights);
        zones
            .map(|(zone, weight)| (zone.to_owned(), 0, weight))
            .collect()
    }

    use InstanceState::{NotReady, Ready};

    #[test]
    fn the_clients_own_zone_comes_first_as_far_as_it_is_well() {
        let weights = |zone, states: &[InstanceState]| localities(&at(zone), states, Zones::Prefer);
        assert_eq!(weights(Some("a"), &[]), told([1_000_000_000, 1, 1]));
        assert_eq!(weights(Some("b"), &[]), told([2, 1_000_000_000, 1]));
        // One of two: 140 % of a half.
        let half = [Ready, NotReady, Ready, Ready, Ready];
        let spilt = told([700_000_000, 150_000_001, 150_000_001]);
        assert_eq!(weights(Some("a"), &half), spilt);
        let none = [Ready, NotReady, NotReady, Ready, Ready];
        let elsewhere = told([1, 500_000_001, 500_000_001]);
        assert_eq!(weights(Some("a"), &none), elsewhere);
        // Of a zone that no instance is in, or of none that is known.
        for zone in [Some("z"), None] {
            assert_eq!(weights(zone, &[]), told([2, 1, 1]));
        }
    }

    #[test]
    fn without_being_asked_for_zones_mean_nothing() {
        let weights = localities(&at(Some("a")), &[], Zones::Any);
        assert_eq!(weights, told([2, 1, 1]));
        let any = cluster(Balancing::default(), ClientKind::Sidecar);
        assert_eq!(
            any.common_lb_config.unwrap().locality_config_specifier,
            None
        );
    }

    #[test]
    fn a_sidecars_zone_is_its_workloads() {
        let asker = node(ClientKind::Sidecar, "shop/checkout-v1-2");
        let weights = localities(&asker, &[], Zones::Prefer);
        assert_eq!(weights, told([2, 1_000_000_000, 1]));
    }
}
