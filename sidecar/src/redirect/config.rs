//! What an operator can say about redirection. Checks a setting against itself; knows nothing of the kernel.

use std::{fmt, net::Ipv4Addr, str::FromStr};

/// Ports of the sidecar's own listeners that must stay reachable from outside: probes and administration.
pub(super) const ALWAYS_EXCLUDED_INBOUND: [u16; 2] = [15_000, 15_021];

/// Which connections go to the sidecar, and which never do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where outgoing connections go.
    pub outbound_port: u16,
    /// Where incoming connections go.
    pub inbound_port: u16,
    /// The user the sidecar runs as; its own connections are left alone.
    pub uid: Option<u32>,
    /// The mark on the sidecar's own sockets; they are left alone.
    pub mark: Option<u32>,
    /// Ports of this Pod that stay reachable directly.
    pub exclude_inbound_ports: Vec<u16>,
    /// Destination ports that the Pod reaches directly.
    pub exclude_outbound_ports: Vec<u16>,
    /// Destinations that the Pod reaches directly.
    pub exclude_cidrs: Vec<Cidr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            outbound_port: 15_001,
            inbound_port: 15_006,
            uid: None,
            mark: None,
            exclude_inbound_ports: Vec::new(),
            exclude_outbound_ports: Vec::new(),
            exclude_cidrs: Vec::new(),
        }
    }
}

impl Config {
    /// Refuses settings that would take the Pod off the network.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.uid.is_none() && self.mark.is_none() {
            return Err(ConfigError::SidecarNotExempt);
        }
        if self.mark == Some(0) {
            return Err(ConfigError::MarkZero);
        }
        if self.outbound_port == 0 || self.inbound_port == 0 {
            return Err(ConfigError::PortZero);
        }
        if self.outbound_port == self.inbound_port {
            return Err(ConfigError::SamePort(self.outbound_port));
        }
        Ok(())
    }
}

/// A setting that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither a user nor a mark tells the sidecar's connections from the application's.
    #[error(
        "neither --uid nor --mark is given: the sidecar's own connections would come back to it; \
         say which user it runs as, or which mark its sockets carry"
    )]
    SidecarNotExempt,
    /// The mark of every socket that has none.
    #[error("mark 0 is what unmarked sockets have: nothing would be redirected; give another")]
    MarkZero,
    /// Port 0 cannot be redirected to.
    #[error("port 0 cannot be redirected to; give the ports that the sidecar listens on")]
    PortZero,
    /// Both directions at one port.
    #[error("port {0} is given for both directions; the sidecar listens on two ports")]
    SamePort(u16),
    /// Text that is not a network.
    #[error("'{0}' is not an IPv4 network such as 10.0.0.0/8")]
    Cidr(String),
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

impl Cidr {
    /// The network of this address; `None` where the prefix is longer than an address.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        if prefix > 32 {
            return None;
        }
        let network = u32::from(address) & mask_of(prefix);
        Some(Self {
            address: Ipv4Addr::from(network),
            prefix,
        })
    }

    /// The network's first address.
    pub fn network(self) -> Ipv4Addr {
        self.address
    }

    /// The network's mask.
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask_of(self.prefix))
    }
}

fn mask_of(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ConfigError::Cidr(text.to_owned());
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address = address.trim().parse().map_err(|_| refused())?;
        let prefix = prefix.trim().parse().map_err(|_| refused())?;
        Self::new(address, prefix).ok_or_else(refused)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_network_is_read_and_cut_to_its_prefix() {
        let cidr: Cidr = "10.1.2.3/8".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.0.0.0/8");
        assert_eq!(cidr.mask(), Ipv4Addr::new(255, 0, 0, 0));
        assert_eq!(
            "0.0.0.0/0".parse::<Cidr>().unwrap().mask(),
            Ipv4Addr::UNSPECIFIED
        );
        assert_eq!(
            "10.1.2.3".parse::<Cidr>().unwrap().to_string(),
            "10.1.2.3/32"
        );
    }

    #[test]
    fn text_that_is_no_network_is_refused_with_the_text() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/8", "10.0.0.0/-1"] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert_eq!(error, ConfigError::Cidr(text.to_owned()));
        }
    }

    #[test]
    fn a_sidecar_that_nothing_exempts_is_refused() {
        let config = Config::default();
        assert_eq!(config.check(), Err(ConfigError::SidecarNotExempt));
        assert_eq!(
            Config {
                mark: Some(1),
                ..config.clone()
            }
            .check(),
            Ok(())
        );
        let unmarked = Config {
            mark: Some(0),
            ..config.clone()
        };
        assert_eq!(unmarked.check(), Err(ConfigError::MarkZero));
        let both = Config {
            uid: Some(1),
            inbound_port: 15_001,
            ..config
        };
        assert_eq!(both.check(), Err(ConfigError::SamePort(15_001)));
    }

    proptest! {
        #[test]
        fn a_network_survives_being_written_and_read(address: u32, prefix in 0u8..=32) {
            let cidr = Cidr::new(Ipv4Addr::from(address), prefix).unwrap();
            prop_assert_eq!(cidr.to_string().parse::<Cidr>().unwrap(), cidr);
        }
    }
}
