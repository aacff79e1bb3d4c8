//! The proxies that are compared, one running process each.

use super::{
    arena::{Arena, STREAM_MODULE},
    backends::Version,
    peers,
    process::Process,
    sidecar,
};

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Envoy,
    Haproxy,
    Nginx,
    Sidecar,
}

/// In the table's order.
pub(crate) const KINDS: [Kind; 4] = [Kind::Envoy, Kind::Haproxy, Kind::Nginx, Kind::Sidecar];

/// Where a proxy listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http1: u16,
    pub(crate) http2: Option<u16>,
    pub(crate) tcp: u16,
    /// Of the service's address, redirected to `tcp`.
    pub(crate) service: u16,
}

/// What a configuration says: which of their ports the versions are at, and the new version's percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) moved: bool,
    pub(crate) weight: u32,
}

impl State {
    pub(crate) const FIRST: Self = Self {
        moved: false,
        weight: 5,
    };

    pub(crate) fn port(self, version: Version) -> u16 {
        if self.moved {
            version.moved
        } else {
            version.http1
        }
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Sidecar => "sidecar",
        }
    }

    pub(crate) fn is_here(self, arena: &Arena) -> bool {
        match self {
            Self::Envoy => arena.envoy().is_some(),
            Self::Haproxy => arena.has("haproxy"),
            Self::Nginx | Self::Sidecar => true,
        }
    }

    pub(crate) fn ports(self) -> Ports {
        match self {
            Self::Envoy => peers::ENVOY,
            Self::Haproxy => peers::HAPROXY,
            Self::Nginx => peers::NGINX,
            Self::Sidecar => sidecar::SIDECAR,
        }
    }

    /// Whether it takes opaque TCP here.
    pub(crate) fn has_tcp(self, arena: &Arena) -> bool {
        arena.redirects() && (self != Self::Nginx || arena.has(STREAM_MODULE))
    }

    pub(crate) fn start(self, arena: &Arena) -> Process {
        match self {
            Self::Envoy => peers::envoy(arena),
            Self::Haproxy => peers::haproxy(arena),
            Self::Nginx => peers::nginx(arena),
            Self::Sidecar => sidecar::sidecar(arena),
        }
    }

    /// Gives it another configuration while it runs.
    pub(crate) fn change(self, arena: &Arena, process: &Process, state: State) {
        match self {
            Self::Envoy => peers::envoy_resources(arena, state),
            Self::Haproxy => peers::haproxy_change(arena, process, state),
            Self::Nginx => peers::nginx_change(arena, process, state),
            Self::Sidecar => sidecar::change(arena, state),
        }
    }
}
