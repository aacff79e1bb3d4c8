//! Flags and their environment variables.

use crate::resource::Period;
use clap::{Args, Parser, Subcommand};
use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

/// Segue's control plane: reads what is wanted, runs upgrades, and tells every proxy over xDS.
#[derive(Debug, Parser)]
#[command(name = "segue-control-plane", version, about)]
pub struct Config {
    /// Where the wanted state comes from.
    #[command(subcommand)]
    pub source: Source,
}

/// Where the wanted state comes from.
#[derive(Debug, Subcommand)]
pub enum Source {
    /// From a folder of manifests, on a laptop or on plain VMs.
    Standalone(Standalone),
}

/// `standalone`
#[derive(Debug, Args)]
pub struct Standalone {
    /// The folder of manifests (*.yaml, *.yml, *.json): Service, Workload, UpgradePolicy,
    /// ClusterUpgradePolicy and Upgrade; watched for changes.
    #[arg(long, value_name = "DIR", env = "SEGUE_MANIFESTS")]
    pub manifests: PathBuf,
    /// Where runs are kept, so that a restart goes on where it was; made if there is none.
    #[arg(
        long,
        value_name = "DIR",
        env = "SEGUE_STATE",
        default_value = "./segue-state"
    )]
    pub state: PathBuf,
    /// Where proxies and the `segue` command connect: ADS, LRS, HDS and the control API.
    #[arg(
        long,
        value_name = "ADDR",
        env = "SEGUE_XDS",
        default_value = "127.0.0.1:15010"
    )]
    pub xds: SocketAddr,
    /// Where /metrics, /healthz and /readyz are.
    #[arg(
        long,
        value_name = "ADDR",
        env = "SEGUE_HTTP",
        default_value = "127.0.0.1:15014"
    )]
    pub http: SocketAddr,
    /// How many connections may be open at --xds; further ones are closed at once. A proxy has one.
    #[arg(
        long,
        value_name = "N",
        env = "SEGUE_MAX_CONNECTIONS",
        default_value = "10000"
    )]
    pub max_connections: NonZeroUsize,
    /// How long a step waits for a proxy whose connection broke off.
    #[arg(long, value_name = "TIME", env = "SEGUE_PROXY_LEASE", default_value = "15s", value_parser = duration)]
    pub proxy_lease: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    Period::parse(text)
        .map(|Period(duration)| duration)
        .ok_or_else(|| format!("{text:?} is no duration; write 15s, 500ms or 1m30s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_as_documented() {
        let config = Config::parse_from(["x", "standalone", "--manifests", "m"]);
        let Source::Standalone(standalone) = config.source;
        assert_eq!(standalone.xds, "127.0.0.1:15010".parse().unwrap());
        assert_eq!(standalone.proxy_lease, Duration::from_secs(15));
    }

    #[test]
    fn a_bad_lease_is_refused() {
        let words = [
            "x",
            "standalone",
            "--manifests",
            "m",
            "--proxy-lease",
            "soon",
        ];
        assert!(Config::try_parse_from(words).is_err());
    }
}
