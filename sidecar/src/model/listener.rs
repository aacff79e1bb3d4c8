//! What to do with a connection.

use super::{Cluster, RouteConfiguration};
use std::{net::IpAddr, sync::Arc};

/// A listener's filter chains. The sockets themselves are set by flags: where they listen is not
/// the control plane's to say.
#[derive(Clone, Debug)]
pub struct Listener {
    /// `virtualOutbound` or `virtualInbound`.
    pub name: Arc<str>,
    /// In the order of the resource; the most specific match wins, see [`ChainMatch`].
    pub chains: Vec<FilterChain>,
    /// Where no chain matches.
    pub default_chain: Option<FilterChain>,
}

/// A condition and what to do with connections that meet it.
#[derive(Clone, Debug)]
pub struct FilterChain {
    /// The condition.
    pub matches: ChainMatch,
    /// What to do.
    pub filter: NetworkFilter,
}

/// Which connections a chain takes. Envoy's order of specificity: destination port, then
/// destination address (longest prefix), then application protocol.
///
/// Source: `envoy.config.listener.v3.FilterChainMatch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// The original destination's port.
    pub destination_port: Option<u16>,
    /// The original destination's address, each with its prefix length; empty: any.
    pub prefix_ranges: Vec<(IpAddr, u8)>,
    /// True: only connections on which HTTP was detected (`application_protocols` of `http/1.1`
    /// and `h2c`).
    pub http_only: bool,
}

/// The network filter that ends a chain.
#[derive(Clone, Debug)]
pub enum NetworkFilter {
    /// HTTP.
    Http(HttpConnectionManager),
    /// Opaque bytes to a cluster.
    Tcp(Arc<Cluster>),
}

/// How HTTP connections are served.
#[derive(Clone, Debug)]
pub struct HttpConnectionManager {
    /// The routes, by RDS or inline.
    pub routes: Arc<RouteConfiguration>,
}
