//! From a setting to a ruleset: which connections are taken, in the order the kernel asks. Pure; knows no wire format.
//!
//! The invariant: every rule that lets a connection go its way stands before the one that takes the rest, and in both
//! directions what stays on the loopback interface is let go, so that nothing the sidecar sends can come back to it.

use super::config::{ALWAYS_EXCLUDED_INBOUND, Cidr, Config, ConfigError};
use std::collections::BTreeSet;

/// All rules, by chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub(super) chains: Vec<Chain>,
}

/// A chain of the NAT kind at one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) hook: Hook,
    pub(super) rules: Vec<Rule>,
}

/// Where in a packet's way a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// Packets that come in.
    Prerouting,
    /// Packets that a process of this namespace sends.
    Output,
}

/// What holds for a connection that has all the matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Verdict,
}

/// A property of a connection's first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// It is TCP.
    Tcp,
    /// The socket carries this mark.
    Mark(u32),
    /// The socket belongs to this user.
    User(u32),
    /// It leaves through the loopback interface.
    LeavesByLoopback,
    /// It arrived through the loopback interface.
    ArrivesByLoopback,
    /// It goes to this network.
    Destination(Cidr),
    /// It goes to this TCP port.
    DestinationPort(u16),
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes its way.
    Return,
    /// It goes to this port of this namespace.
    RedirectTo(u16),
}

/// The rules for this setting.
pub(super) fn ruleset(config: &Config) -> Result<Ruleset, ConfigError> {
    config.check()?;
    Ok(Ruleset {
        chains: vec![prerouting(config), output(config)],
    })
}

fn output(config: &Config) -> Chain {
    let mut rules = Vec::new();
    rules.extend(config.mark.map(|mark| leave(vec![Match::Mark(mark)])));
    rules.extend(config.uid.map(|uid| leave(vec![Match::User(uid)])));
    rules.push(leave(vec![Match::LeavesByLoopback]));
    for cidr in config
        .exclude_cidrs
        .iter()
        .copied()
        .collect::<BTreeSet<_>>()
    {
        rules.push(leave(vec![Match::Destination(cidr)]));
    }
    for port in config
        .exclude_outbound_ports
        .iter()
        .copied()
        .collect::<BTreeSet<_>>()
    {
        rules.push(leave(vec![Match::Tcp, Match::DestinationPort(port)]));
    }
    rules.push(take(config.outbound_port));
    Chain {
        name: "output",
        hook: Hook::Output,
        rules,
    }
}

fn prerouting(config: &Config) -> Chain {
    let mut rules = vec![leave(vec![Match::ArrivesByLoopback])];
    let excluded = config
        .exclude_inbound_ports
        .iter()
        .chain(&ALWAYS_EXCLUDED_INBOUND);
    for port in excluded.copied().collect::<BTreeSet<_>>() {
        rules.push(leave(vec![Match::Tcp, Match::DestinationPort(port)]));
    }
    rules.push(take(config.inbound_port));
    Chain {
        name: "prerouting",
        hook: Hook::Prerouting,
        rules,
    }
}

fn leave(matches: Vec<Match>) -> Rule {
    Rule {
        matches,
        verdict: Verdict::Return,
    }
}

fn take(port: u16) -> Rule {
    Rule {
        matches: vec![Match::Tcp],
        verdict: Verdict::RedirectTo(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(config: &Config, hook: Hook) -> Vec<Rule> {
        let ruleset = ruleset(config).unwrap();
        ruleset
            .chains
            .into_iter()
            .find(|chain| chain.hook == hook)
            .unwrap()
            .rules
    }

    fn config() -> Config {
        Config {
            mark: Some(7),
            uid: Some(1337),
            ..Config::default()
        }
    }

    #[test]
    fn the_sidecars_own_connections_are_let_go_before_anything_else() {
        let rules = chain(&config(), Hook::Output);
        assert_eq!(rules[0], leave(vec![Match::Mark(7)]));
        assert_eq!(rules[1], leave(vec![Match::User(1337)]));
        assert_eq!(rules[2], leave(vec![Match::LeavesByLoopback]));
        assert_eq!(rules[3], take(15_001));
        assert_eq!(rules.len(), 4);
    }

    #[test]
    fn probes_and_administration_stay_reachable_directly() {
        let config = Config {
            exclude_inbound_ports: vec![22, 15_021],
            ..config()
        };
        let rules = chain(&config, Hook::Prerouting);
        let port = |port| leave(vec![Match::Tcp, Match::DestinationPort(port)]);
        let expected = vec![
            leave(vec![Match::ArrivesByLoopback]),
            port(22),
            port(15_000),
            port(15_021),
            take(15_006),
        ];
        assert_eq!(rules, expected);
    }

    #[test]
    fn excluded_destinations_are_let_go_before_the_rest_is_taken() {
        let network: Cidr = "169.254.169.254/32".parse().unwrap();
        let config = Config {
            exclude_cidrs: vec![network, network],
            exclude_outbound_ports: vec![5432],
            ..config()
        };
        let rules = chain(&config, Hook::Output);
        assert_eq!(rules[3], leave(vec![Match::Destination(network)]));
        assert_eq!(
            rules[4],
            leave(vec![Match::Tcp, Match::DestinationPort(5432)])
        );
        assert_eq!(rules[5], take(15_001));
        assert_eq!(rules.len(), 6);
    }

    #[test]
    fn the_last_rule_of_every_chain_is_the_only_one_that_takes() {
        for chain in ruleset(&config()).unwrap().chains {
            let (last, before) = chain.rules.split_last().unwrap();
            assert!(matches!(last.verdict, Verdict::RedirectTo(_)));
            assert!(before.iter().all(|rule| rule.verdict == Verdict::Return));
        }
    }
}
