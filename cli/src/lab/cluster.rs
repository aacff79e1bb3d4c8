//! The lab as a whole: its mode, its directory, its addresses. Starts Pods; knows nothing of services or versions.
//!
//! The invariant: an address is given out once.

use super::{
    Mode, Pod, PodSpec, hosts,
    network::{GATEWAY, Network},
    pod,
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
};

/// Pods to a third byte of the address, so that no address ends in 0 or 255.
const ROW: u16 = 250;

/// A running lab.
#[derive(Debug)]
pub struct Lab {
    mode: Mode,
    logs: PathBuf,
    notes: Vec<String>,
    network: Option<Network>,
    given: AtomicU16,
}

impl Lab {
    /// Prepares the network and the names. `dir` holds the logs; `hosts` are names for Pods to resolve.
    pub async fn start(mode: Mode, dir: &Path, hosts: &[(String, IpAddr)]) -> Result<Self> {
        let logs = dir.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let mut notes = Vec::new();
        let network = match &mode {
            Mode::Namespaces => {
                if let Err(error) = hosts::install(hosts, dir) {
                    notes.push(format!("service names do not resolve in Pods: {error:#}"));
                }
                let network = Network::open()?;
                network.loopback().await?;
                network.bridge().await?;
                Some(network)
            }
            Mode::Loopback { reason } => {
                notes.push(format!(
                    "Pods are loopback addresses and sidecars explicit proxies: {reason}"
                ));
                None
            }
        };
        for note in &notes {
            tracing::warn!("{note}");
        }
        Ok(Self {
            mode,
            logs,
            notes,
            network,
            given: AtomicU16::new(0),
        })
    }

    /// How Pods are made.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// What the lab had to do without, for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where logs are, by `NAMESPACE-NAME.app.log`, `….sidecar.log`, `….pod.log` and `control-plane.log`.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Where the control plane listens.
    pub fn gateway(&self) -> IpAddr {
        match self.mode {
            Mode::Namespaces => GATEWAY.into(),
            Mode::Loopback { .. } => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// An address for a Pod to come, for those who must know it before the Pod runs.
    pub fn allocate(&self) -> IpAddr {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let low = u8::try_from(number % ROW + 1).unwrap_or(u8::MAX);
        let high = u8::try_from(number / ROW % ROW + 1).unwrap_or(u8::MAX);
        match self.mode {
            Mode::Namespaces => Ipv4Addr::new(10, 77, high, low).into(),
            Mode::Loopback { .. } => Ipv4Addr::new(127, own_byte(), high, low).into(),
        }
    }

    /// Starts a Pod: first its network, then its sidecar, and once that serves its application.
    pub async fn start_pod(&self, spec: PodSpec) -> Result<Pod> {
        let address = spec.address.unwrap_or_else(|| self.allocate());
        let workload = spec.workload.clone();
        let started = pod::start(self.network.as_ref(), &self.logs, address, spec).await;
        started.with_context(|| format!("the Pod {workload} does not start"))
    }
}

/// Keeps two labs on one machine apart: a byte from the process's number, never 0.
fn own_byte() -> u8 {
    u8::try_from(std::process::id() % 253 + 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_on_loopback_are_given_once_and_never_end_in_0_or_255() {
        let dir = tempfile::tempdir().unwrap();
        let mode = Mode::Loopback {
            reason: "a test".to_owned(),
        };
        let lab = Lab::start(mode, dir.path(), &[]).await.unwrap();
        let addresses: std::collections::BTreeSet<_> = (0..600).map(|_| lab.allocate()).collect();
        assert_eq!(addresses.len(), 600);
        for address in addresses {
            let IpAddr::V4(address) = address else {
                panic!("{address}")
            };
            let [first, _, third, fourth] = address.octets();
            assert_eq!(first, 127);
            assert!(third > 0 && fourth > 0 && fourth < 255);
        }
        assert!(lab.notes()[0].contains("a test"));
    }
}
