//! Names of the lab: a hosts file of its own over the system's, so that unmodified clients resolve service names.

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use std::{collections::BTreeMap, fmt::Write as _, fs, net::IpAddr, path::Path};

const SYSTEM: &str = "/etc/hosts";

/// The names under which a service is known in the whole lab.
pub fn service_names(service: &str, namespace: &str) -> [String; 4] {
    [
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ]
}

/// The hosts file with these names.
fn render(hosts: &[(String, IpAddr)]) -> String {
    let mut by_address: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    for (name, address) in hosts {
        by_address.entry(*address).or_default().push(name);
    }
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n".to_owned();
    for (address, names) in by_address {
        // Writing to a String cannot fail.
        writeln!(text, "{address} {}", names.join(" ")).unwrap_or_default();
    }
    text
}

/// Puts these names over the system's hosts file, for this mount namespace alone.
pub(super) fn install(hosts: &[(String, IpAddr)], dir: &Path) -> Result<()> {
    let file = dir.join("hosts");
    fs::write(&file, render(hosts)).with_context(|| format!("cannot write {}", file.display()))?;
    let nothing = None::<&str>;
    // Without this the mount would show outside.
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        nothing,
    )
    .context("cannot make the mounts private")?;
    mount(Some(&file), SYSTEM, nothing, MsFlags::MS_BIND, nothing)
        .with_context(|| format!("cannot mount over {SYSTEM}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_address_share_a_line() {
        let address: IpAddr = "10.96.0.10".parse().unwrap();
        let hosts: Vec<_> = service_names("checkout", "shop")
            .into_iter()
            .map(|name| (name, address))
            .collect();
        let text = render(&hosts);
        let line = "10.96.0.10 checkout checkout.shop checkout.shop.svc \
                    checkout.shop.svc.cluster.local\n";
        assert!(text.ends_with(line), "{text}");
        assert!(text.starts_with("127.0.0.1 localhost\n"));
    }
}
