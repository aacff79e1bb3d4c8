//! The part of a Cluster that says how its endpoints share what comes to it.
//!
//! `RANDOM` is taken as least request, which spreads as evenly and queues less. A cluster of the
//! original destination has nothing to choose.

use super::field::{FieldError, Result, Within as _, duration, none_of, unsupported};
use crate::model::{Balancing, Breaker, Limits, Policy, Retries, SlowStart};
use envoy_types::pb::envoy::{
    config::{
        cluster::v3::{
            CircuitBreakers, Cluster as Message,
            circuit_breakers::Thresholds,
            cluster::{
                CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig,
                RingHashLbConfig, SlowStartConfig, common_lb_config::LocalityConfigSpecifier,
                ring_hash_lb_config::HashFunction,
            },
        },
        core::v3::{RoutingPriority, RuntimeDouble},
    },
    r#type::v3::Percent,
};
use std::{num::NonZeroU32, ops::RangeInclusive};

/// Envoy's default, in percent.
const PANIC_THRESHOLD: f64 = 50.0;
/// Envoy's defaults; the larger is also the most it allows.
const RING_SIZE: (u64, u64) = (1_024, 8 * 1_024 * 1_024);
/// Envoy's default, as in the paper.
const MAGLEV_SIZE: u64 = 65_537;
/// The most that Envoy allows.
const MAGLEV_LIMIT: u64 = 5_000_011;
/// Envoy's default.
const LEAST_WEIGHT: f64 = 10.0;
/// Envoy's defaults.
const MAX_REQUESTS: u32 = 1_024;
const MAX_RETRIES: u32 = 3;
const BUDGET: f64 = 20.0;
const LEAST_RETRIES: u32 = 3;
/// How many endpoints are drawn for one request at most.
const CHOICES: RangeInclusive<u32> = 2..=64;

/// How the endpoints share what comes to a cluster.
pub(super) fn balancing(message: &Message) -> Result<Balancing> {
    let common = message.common_lb_config.clone().unwrap_or_default();
    let (policy, slow_start) = policy(message)?;
    let hashes = matches!(policy, Policy::RingHash { .. } | Policy::Maglev { .. });
    if hashes {
        hashing(&common).within("common_lb_config.consistent_hashing_lb_config")?;
    }
    Ok(Balancing {
        policy,
        panic_threshold: percent(common.healthy_panic_threshold, PANIC_THRESHOLD)
            .map(rounded)
            .within("common_lb_config.healthy_panic_threshold")?,
        slow_start: slow_start
            .map(|given| slow(&given).within("lb_config.slow_start_config"))
            .transpose()?
            .flatten(),
        by_locality: matches!(
            common.locality_config_specifier,
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        ),
        breaker: breaker(message.circuit_breakers.as_ref()).within("circuit_breakers")?,
    })
}

/// None: nothing is limited. Its number is given when it is compiled.
fn breaker(message: Option<&CircuitBreakers>) -> Result<Option<Breaker>> {
    let is_default = |one: &&Thresholds| one.priority() == RoutingPriority::Default;
    let found = message.and_then(|given| given.thresholds.iter().find(is_default));
    let thresholds = found.copied().unwrap_or_default();
    let fixed = thresholds
        .max_retries
        .map_or(MAX_RETRIES, |most| most.value);
    let limits = Limits {
        max_requests: thresholds
            .max_requests
            .map_or(MAX_REQUESTS, |most| most.value),
        max_retries: match thresholds.retry_budget {
            None => Retries::Fixed(fixed),
            Some(budget) => Retries::Budget {
                percent: percent(budget.budget_percent, BUDGET)
                    .within("thresholds.retry_budget.budget_percent")?,
                least: budget
                    .min_retry_concurrency
                    .map_or(LEAST_RETRIES, |least| least.value),
            },
        },
    };
    Ok((limits != Limits::NONE).then_some(Breaker {
        number: NonZeroU32::MIN,
        limits,
    }))
}

fn policy(message: &Message) -> Result<(Policy, Option<SlowStartConfig>)> {
    const LEAST_REQUEST: Policy = Policy::LeastRequest { choices: 2 };
    let config = message.lb_config.as_ref();
    match (LbPolicy::try_from(message.lb_policy), config) {
        (Ok(LbPolicy::RoundRobin), None) => Ok((Policy::RoundRobin, None)),
        (Ok(LbPolicy::RoundRobin), Some(LbConfig::RoundRobinLbConfig(config))) => {
            Ok((Policy::RoundRobin, config.slow_start_config.clone()))
        }
        (Ok(LbPolicy::LeastRequest | LbPolicy::Random | LbPolicy::ClusterProvided), None) => {
            Ok((LEAST_REQUEST, None))
        }
        (Ok(LbPolicy::LeastRequest), Some(LbConfig::LeastRequestLbConfig(config))) => {
            let policy = least_request(config).within("lb_config")?;
            Ok((policy, config.slow_start_config.clone()))
        }
        (Ok(LbPolicy::RingHash), None) => Ok((ring_hash(&RingHashLbConfig::default())?, None)),
        (Ok(LbPolicy::RingHash), Some(LbConfig::RingHashLbConfig(config))) => {
            Ok((ring_hash(config).within("lb_config")?, None))
        }
        (Ok(LbPolicy::Maglev), None) => Ok((maglev(MaglevLbConfig::default())?, None)),
        (Ok(LbPolicy::Maglev), Some(LbConfig::MaglevLbConfig(config))) => {
            Ok((maglev(*config).within("lb_config")?, None))
        }
        (Ok(LbPolicy::LoadBalancingPolicyConfig), _) => Err(FieldError::new(
            "lb_policy",
            "LOAD_BALANCING_POLICY_CONFIG is not supported",
        )),
        (Ok(other), _) => Err(FieldError::new(
            "lb_config",
            format!("is not supported for {}", other.as_str_name()),
        )),
        (Err(_), _) => Err(FieldError::new(
            "lb_policy",
            format!("{} is not supported", message.lb_policy),
        )),
    }
}

fn least_request(config: &LeastRequestLbConfig) -> Result<Policy> {
    let bias = double(config.active_request_bias.as_ref(), 1.0);
    unsupported((bias - 1.0).abs() > f64::EPSILON, "active_request_bias")?;
    let choices = config.choice_count.map_or(2, |count| count.value);
    if !CHOICES.contains(&choices) {
        return Err(FieldError::new(
            "choice_count",
            format!("{choices} is not from 2 to 64"),
        ));
    }
    Ok(Policy::LeastRequest { choices })
}

fn ring_hash(config: &RingHashLbConfig) -> Result<Policy> {
    if config.hash_function() != HashFunction::XxHash {
        return Err(FieldError::new(
            "hash_function",
            "only XX_HASH is supported",
        ));
    }
    let min_size = config
        .minimum_ring_size
        .map_or(RING_SIZE.0, |size| size.value);
    let max_size = config
        .maximum_ring_size
        .map_or(RING_SIZE.1, |size| size.value);
    if max_size > RING_SIZE.1 || max_size == 0 {
        return Err(FieldError::new(
            "maximum_ring_size",
            format!("{max_size} is not from 1 to {}", RING_SIZE.1),
        ));
    }
    if min_size > max_size {
        return Err(FieldError::new(
            "minimum_ring_size",
            format!("{min_size} is more than the maximum of {max_size}"),
        ));
    }
    Ok(Policy::RingHash { min_size, max_size })
}

fn maglev(config: MaglevLbConfig) -> Result<Policy> {
    let given = config.table_size.map_or(MAGLEV_SIZE, |size| size.value);
    let fits = given <= MAGLEV_LIMIT && is_prime(given);
    match u32::try_from(given) {
        Ok(size) if fits => Ok(Policy::Maglev { size }),
        _ => Err(FieldError::new(
            "table_size",
            format!("{given} is not a prime of at most {MAGLEV_LIMIT}"),
        )),
    }
}

fn is_prime(number: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && !divisors.any(|divisor| number.is_multiple_of(divisor))
}

fn hashing(common: &CommonLbConfig) -> Result<()> {
    let Some(config) = &common.consistent_hashing_lb_config else {
        return Ok(());
    };
    none_of(&[
        (config.use_hostname_for_hashing, "use_hostname_for_hashing"),
        (config.hash_balance_factor.is_some(), "hash_balance_factor"),
    ])
}

/// None where the window is 0: Envoy turns it on by the window.
fn slow(message: &SlowStartConfig) -> Result<Option<SlowStart>> {
    let Some(window) = &message.slow_start_window else {
        return Ok(None);
    };
    let window = duration(window).within("slow_start_window")?;
    let aggression = double(message.aggression.as_ref(), 1.0);
    if !(aggression.is_finite() && aggression > 0.0) {
        return Err(FieldError::new("aggression", "must be more than 0"));
    }
    let least = percent(message.min_weight_percent, LEAST_WEIGHT).within("min_weight_percent")?;
    Ok((!window.is_zero()).then_some(SlowStart {
        window,
        aggression,
        least: least / 100.0,
    }))
}

/// Runtime keys are Envoy's own; what stands beside them holds.
fn double(given: Option<&RuntimeDouble>, default: f64) -> f64 {
    given.map_or(default, |given| given.default_value)
}

fn percent(given: Option<Percent>, default: f64) -> Result<f64> {
    let value = given.map_or(default, |given| given.value);
    if (0.0..=100.0).contains(&value) {
        return Ok(value);
    }
    Err(FieldError::new("", format!("{value} is not from 0 to 100")))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to 100"
)]
fn rounded(percent: f64) -> u32 {
    percent.round() as u32
}

#[cfg(test)]
mod tests {
    use super::balancing;
    use crate::model::{Balancing, Breaker, Limits, Policy, Retries, SlowStart};
    use envoy_types::pb::envoy::config::cluster::v3::{
        CircuitBreakers, Cluster,
        circuit_breakers::{Thresholds, thresholds::RetryBudget},
        cluster::{
            CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig,
            RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
            common_lb_config::{
                ConsistentHashingLbConfig, LocalityConfigSpecifier, LocalityWeightedLbConfig,
            },
        },
    };
    use envoy_types::pb::{
        envoy::{config::core::v3::RuntimeDouble, r#type::v3::Percent},
        google::protobuf::{Duration as ProtoDuration, UInt32Value, UInt64Value},
    };
    use std::{num::NonZeroU32, time::Duration};

    fn message(policy: LbPolicy, config: Option<LbConfig>) -> Cluster {
        Cluster {
            lb_policy: policy.into(),
            lb_config: config,
            ..Cluster::default()
        }
    }

    fn read(policy: LbPolicy, config: Option<LbConfig>) -> Balancing {
        balancing(&message(policy, config)).unwrap()
    }

    fn refused(policy: LbPolicy, config: LbConfig) -> String {
        balancing(&message(policy, Some(config)))
            .unwrap_err()
            .to_string()
    }

    const fn size(value: u64) -> UInt64Value {
        UInt64Value { value }
    }

    fn slow(seconds: i64, aggression: f64, percent: f64) -> SlowStartConfig {
        SlowStartConfig {
            slow_start_window: Some(ProtoDuration { seconds, nanos: 0 }),
            aggression: Some(RuntimeDouble {
                default_value: aggression,
                runtime_key: String::new(),
            }),
            min_weight_percent: Some(Percent { value: percent }),
        }
    }

    #[test]
    fn envoys_defaults_hold_where_nothing_is_said() {
        let expected = |policy| Balancing {
            policy,
            panic_threshold: 50,
            slow_start: None,
            by_locality: false,
            breaker: Some(Breaker {
                number: NonZeroU32::MIN,
                limits: Limits {
                    max_requests: 1_024,
                    max_retries: Retries::Fixed(3),
                },
            }),
        };
        let least = Policy::LeastRequest { choices: 2 };
        let ring = Policy::RingHash {
            min_size: 1_024,
            max_size: 8_388_608,
        };
        for (given, policy) in [
            (LbPolicy::RoundRobin, Policy::RoundRobin),
            (LbPolicy::LeastRequest, least),
            (LbPolicy::Random, least),
            (LbPolicy::ClusterProvided, least),
            (LbPolicy::RingHash, ring),
            (LbPolicy::Maglev, Policy::Maglev { size: 65_537 }),
        ] {
            assert_eq!(read(given, None), expected(policy), "{given:?}");
        }
    }

    #[test]
    fn what_is_said_is_read() {
        let ring = LbConfig::RingHashLbConfig(RingHashLbConfig {
            minimum_ring_size: Some(size(7)),
            maximum_ring_size: Some(size(9)),
            hash_function: 0,
        });
        let (min_size, max_size) = (7, 9);
        assert_eq!(
            read(LbPolicy::RingHash, Some(ring)).policy,
            Policy::RingHash { min_size, max_size }
        );
        let table = LbConfig::MaglevLbConfig(MaglevLbConfig {
            table_size: Some(size(251)),
        });
        let maglev = read(LbPolicy::Maglev, Some(table)).policy;
        assert_eq!(maglev, Policy::Maglev { size: 251 });
        let least = LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
            choice_count: Some(UInt32Value { value: 3 }),
            slow_start_config: Some(slow(30, 2.0, 20.0)),
            active_request_bias: None,
        });
        let least = read(LbPolicy::LeastRequest, Some(least));
        assert_eq!(least.policy, Policy::LeastRequest { choices: 3 });
        let expected = SlowStart {
            window: Duration::from_secs(30),
            aggression: 2.0,
            least: 0.2,
        };
        assert_eq!(least.slow_start, Some(expected));
        let off = LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
            slow_start_config: Some(slow(0, 2.0, 20.0)),
        });
        assert_eq!(read(LbPolicy::RoundRobin, Some(off)).slow_start, None);
        let mut message = message(LbPolicy::RoundRobin, None);
        message.common_lb_config = Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            locality_config_specifier: Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
                LocalityWeightedLbConfig {},
            )),
            ..CommonLbConfig::default()
        });
        let read = balancing(&message).unwrap();
        assert!(read.by_locality && read.panic_threshold == 0);
    }

    #[test]
    fn what_can_not_be_honoured_is_named() {
        let ring = |min, max, hash_function| {
            LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: Some(size(min)),
                maximum_ring_size: Some(size(max)),
                hash_function,
            })
        };
        let least = |bias, window, aggression| {
            LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                active_request_bias: Some(RuntimeDouble {
                    default_value: bias,
                    runtime_key: String::new(),
                }),
                slow_start_config: Some(slow(window, aggression, 10.0)),
                ..LeastRequestLbConfig::default()
            })
        };
        let table = |length| {
            let table_size = Some(size(length));
            LbConfig::MaglevLbConfig(MaglevLbConfig { table_size })
        };
        for (policy, config, why) in [
            (
                LbPolicy::RingHash,
                ring(9, 8, 0),
                "lb_config.minimum_ring_size",
            ),
            (
                LbPolicy::RingHash,
                ring(9, 9_000_000, 0),
                "lb_config.maximum_ring_size",
            ),
            (LbPolicy::RingHash, ring(1, 8, 1), "lb_config.hash_function"),
            (LbPolicy::Maglev, table(65_536), "lb_config.table_size"),
            (LbPolicy::Maglev, table(1), "lb_config.table_size"),
            (LbPolicy::Maglev, table(u64::MAX), "lb_config.table_size"),
            (
                LbPolicy::LeastRequest,
                least(2.0, 1, 1.0),
                "lb_config.active_request_bias",
            ),
            (
                LbPolicy::LeastRequest,
                least(1.0, -1, 1.0),
                "lb_config.slow_start_config.slow",
            ),
            (
                LbPolicy::LeastRequest,
                least(1.0, 1, 0.0),
                "lb_config.slow_start_config.agg",
            ),
            (LbPolicy::RoundRobin, table(251), "lb_config"),
        ] {
            let refusal = refused(policy, config);
            assert!(refusal.starts_with(why), "{refusal}, not {why}");
        }
    }

    #[test]
    fn limits_are_those_of_the_default_priority() {
        let with = |thresholds: Vec<Thresholds>| {
            let mut message = message(LbPolicy::RoundRobin, None);
            message.circuit_breakers = Some(CircuitBreakers {
                thresholds,
                ..CircuitBreakers::default()
            });
            balancing(&message).map(|balancing| balancing.breaker.map(|breaker| breaker.limits))
        };
        let number = |value| Some(UInt32Value { value });
        let high = Thresholds {
            priority: 1,
            max_requests: number(1),
            ..Thresholds::default()
        };
        let none = Thresholds {
            max_requests: number(u32::MAX),
            max_retries: number(u32::MAX),
            ..Thresholds::default()
        };
        assert_eq!(with(vec![high, none]), Ok(None));
        let budget = |percent| Thresholds {
            retry_budget: Some(RetryBudget {
                budget_percent: Some(Percent { value: percent }),
                ..RetryBudget::default()
            }),
            ..none
        };
        let expected = Limits {
            max_retries: Retries::Budget {
                percent: 50.0,
                least: 3,
            },
            ..Limits::NONE
        };
        assert_eq!(with(vec![budget(50.0)]), Ok(Some(expected)));
        let refusal = with(vec![budget(101.0)]).unwrap_err().to_string();
        assert!(
            refusal.starts_with("circuit_breakers.thresholds.retry_budget"),
            "{refusal}"
        );
    }

    #[test]
    fn hashing_with_bounded_load_is_refused() {
        let mut bounded = message(LbPolicy::Maglev, None);
        bounded.common_lb_config = Some(CommonLbConfig {
            consistent_hashing_lb_config: Some(ConsistentHashingLbConfig {
                hash_balance_factor: Some(UInt32Value { value: 150 }),
                ..ConsistentHashingLbConfig::default()
            }),
            ..CommonLbConfig::default()
        });
        let refusal = balancing(&bounded).unwrap_err().to_string();
        assert!(refusal.contains("hash_balance_factor"), "{refusal}");
    }
}
