//! Which filter chain takes a connection.
//!
//! Envoy's order, without going back: the destination port, then the longest prefix, then the
//! application protocol; where a stage finds nothing, the default chain.

use super::{FilterChain, Listener};
use std::net::{IpAddr, SocketAddr};

impl Listener {
    /// The chain that a connection to `destination` takes. `http`: HTTP was detected on it.
    pub fn chain(&self, destination: SocketAddr, http: bool) -> Option<&FilterChain> {
        let port = Some(destination.port());
        let names_port = |chain: &&FilterChain| chain.matches.destination_port == port;
        let wanted = if self.chains.iter().any(|chain| names_port(&chain)) {
            port
        } else {
            None
        };
        let of_port = || {
            self.chains
                .iter()
                .filter(move |chain| chain.matches.destination_port == wanted)
        };
        let best = of_port()
            .filter_map(|chain| specificity(chain, destination.ip()))
            .max();
        let of_address = || {
            of_port().filter(|chain| best.is_some() && specificity(chain, destination.ip()) == best)
        };
        let found = if http {
            of_address()
                .find(|chain| chain.matches.http_only)
                .or_else(|| of_address().find(|chain| !chain.matches.http_only))
        } else {
            of_address().find(|chain| !chain.matches.http_only)
        };
        found.or(self.default_chain.as_ref())
    }
}

/// How closely a chain names the address: its prefix length plus one, 0 for any address. None: it
/// names others.
fn specificity(chain: &FilterChain, address: IpAddr) -> Option<u16> {
    if chain.matches.prefix_ranges.is_empty() {
        return Some(0);
    }
    chain
        .matches
        .prefix_ranges
        .iter()
        .filter(|(network, length)| contains(*network, *length, address))
        .map(|(_, length)| u16::from(*length) + 1)
        .max()
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    let same = |network: u128, address: u128, bits: u8| {
        let host_bits = u32::from(bits.saturating_sub(length));
        let shifted = |value: u128| value.checked_shr(host_bits).unwrap_or(0);
        shifted(network) == shifted(address)
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => same(
            u128::from(u32::from(network)),
            u128::from(u32::from(address)),
            32,
        ),
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            same(u128::from(network), u128::from(address), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{
        ChainMatch, Cluster, Discovery, FilterChain, Listener, NetworkFilter, UpstreamProtocol,
    };
    use std::{sync::Arc, time::Duration};

    fn chain(name: &str, port: Option<u16>, prefix: Option<(&str, u8)>, http: bool) -> FilterChain {
        FilterChain {
            matches: ChainMatch {
                destination_port: port,
                prefix_ranges: prefix
                    .into_iter()
                    .map(|(network, length)| (network.parse().unwrap(), length))
                    .collect(),
                http_only: http,
            },
            filter: NetworkFilter::Tcp(Arc::new(Cluster {
                name: name.into(),
                version: None,
                discovery: Discovery::OriginalDst,
                endpoints: Vec::new(),
                overprovisioning_factor: 140,
                balancing: crate::model::Balancing::default(),
                tables: Arc::default(),
                protocol: UpstreamProtocol::Http1,
                connect_timeout: Duration::from_secs(1),
                outlier_detection: None,
            })),
        }
    }

    fn found(listener: &Listener, destination: &str, http: bool) -> String {
        let destination = destination.parse().unwrap();
        match &listener.chain(destination, http).unwrap().filter {
            NetworkFilter::Tcp(cluster) => cluster.name.to_string(),
            NetworkFilter::Http(_) => unreachable!(),
        }
    }

    fn listener() -> Listener {
        Listener {
            name: "virtualOutbound".into(),
            chains: vec![
                chain("80 http", Some(80), None, true),
                chain("3306 net", Some(3306), Some(("10.0.0.0", 8)), false),
                chain("3306 host", Some(3306), Some(("10.1.2.3", 32)), false),
                chain("8080 http", Some(8080), None, true),
                chain("8080 tcp", Some(8080), None, false),
            ],
            default_chain: Some(chain("default", None, None, false)),
        }
    }

    #[test]
    fn the_application_protocol_decides_last() {
        let listener = listener();
        assert_eq!(found(&listener, "10.0.0.1:80", true), "80 http");
        assert_eq!(found(&listener, "10.0.0.1:80", false), "default");
        assert_eq!(found(&listener, "10.0.0.1:8080", true), "8080 http");
        assert_eq!(found(&listener, "10.0.0.1:8080", false), "8080 tcp");
    }

    #[test]
    fn the_longest_prefix_wins() {
        let listener = listener();
        assert_eq!(found(&listener, "10.1.2.3:3306", false), "3306 host");
        assert_eq!(found(&listener, "10.1.2.4:3306", false), "3306 net");
        assert_eq!(found(&listener, "11.1.2.3:3306", false), "default");
    }

    #[test]
    fn an_unknown_port_takes_the_default_chain() {
        assert_eq!(found(&listener(), "10.0.0.1:9", true), "default");
    }

    #[test]
    fn a_prefix_of_length_zero_names_every_address() {
        let mut listener = listener();
        listener.chains = vec![chain("all", None, Some(("0.0.0.0", 0)), false)];
        assert_eq!(found(&listener, "10.0.0.1:9", true), "all");
    }
}
