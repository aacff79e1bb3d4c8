//! Links, addresses and routes of the lab, by netlink. Decides no address; knows no process beyond its number.

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::{fs, net::Ipv4Addr};
use tokio::task::JoinHandle;

/// The bridge that all Pods hang on.
pub(super) const BRIDGE: &str = "segue0";
/// The lab's own address on it: the Pods' gateway, and where the control plane listens.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const PREFIX: u8 = 16;
/// Given, because a bridge without one takes the lowest of its ports', and so would change under its neighbours' feet.
const BRIDGE_ADDRESS: [u8; 6] = [0x02, 0x5e, 0x90, 0xe0, 0x00, 0x01];
/// A Pod's interface.
const POD_LINK: &str = "eth0";

/// A conversation with the kernel about the network namespace it was opened in.
#[derive(Debug)]
pub(super) struct Network {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Network {
    /// Opens it in this process's network namespace.
    pub(super) fn open() -> Result<Self> {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("no netlink socket for links")?;
        Ok(Self {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// Brings the loopback interface up.
    pub(super) async fn loopback(&self) -> Result<()> {
        let message = LinkUnspec::new_with_name("lo").up().build();
        self.handle
            .link()
            .set(message)
            .execute()
            .await
            .context("cannot bring up lo")
    }

    /// Makes the bridge and gives it the gateway's address.
    pub(super) async fn bridge(&self) -> Result<()> {
        let bridge = LinkBridge::new(BRIDGE)
            .address(BRIDGE_ADDRESS.to_vec())
            .build();
        let made = self.handle.link().add(bridge).execute().await;
        made.with_context(|| format!("cannot make the bridge {BRIDGE}"))?;
        let index = self.index(BRIDGE).await?;
        let addressed = self
            .handle
            .address()
            .add(index, GATEWAY.into(), PREFIX)
            .execute()
            .await;
        addressed.with_context(|| format!("cannot give {GATEWAY} to {BRIDGE}"))
    }

    /// A cable from the bridge into the network namespace of that process; `outer` and `inner` name its ends.
    pub(super) async fn cable(&self, outer: &str, inner: &str, pid: u32) -> Result<()> {
        let link = self.handle.link();
        let made = link
            .add(LinkVeth::new(outer, inner).build())
            .execute()
            .await;
        made.with_context(|| format!("cannot make the link {outer}"))?;
        let bridge = self.index(BRIDGE).await?;
        let plugged = LinkUnspec::new_with_name(outer)
            .controller(bridge)
            .up()
            .build();
        let moved = LinkUnspec::new_with_name(inner).setns_by_pid(pid).build();
        link.set(plugged)
            .execute()
            .await
            .with_context(|| format!("cannot plug in {outer}"))?;
        let moved = link.set(moved).execute().await;
        moved.with_context(|| format!("cannot move {inner} into the Pod"))
    }

    /// The Pod's side: names the cable's end, and gives it an address and a way out.
    pub(super) async fn join(&self, inner: &str, address: Ipv4Addr) -> Result<()> {
        self.loopback().await?;
        let link = self.handle.link();
        let index = self.index(inner).await?;
        let renamed = LinkUnspec::new_with_index(index).name(POD_LINK).build();
        link.set(renamed)
            .execute()
            .await
            .with_context(|| format!("cannot rename {inner}"))?;
        let added = self
            .handle
            .address()
            .add(index, address.into(), PREFIX)
            .execute()
            .await;
        added.with_context(|| format!("cannot give {address} to {POD_LINK}"))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        link.set(up)
            .execute()
            .await
            .with_context(|| format!("cannot bring up {POD_LINK}"))?;
        // Service addresses go out here too: nobody answers there, but redirection sees them leave.
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(GATEWAY)
            .build();
        let routed = self.handle.route().add(route).execute().await;
        routed.with_context(|| format!("cannot route by way of {GATEWAY}"))
    }

    async fn index(&self, name: &str) -> Result<u32> {
        let mut found = self.handle.link().get().match_name(name).execute();
        let link = found
            .try_next()
            .await
            .with_context(|| format!("cannot look up {name}"))?;
        Ok(link
            .with_context(|| format!("there is no link {name}"))?
            .header
            .index)
    }
}

/// Room for thousands of short connections a minute from one Pod; a kernel that refuses has its own limits.
pub(super) fn widen_port_range() {
    let settings = [
        ("ipv4/ip_local_port_range", "20000 65535"),
        ("ipv4/tcp_tw_reuse", "1"),
        ("netfilter/nf_conntrack_tcp_timeout_time_wait", "10"),
    ];
    for (name, value) in settings {
        if let Err(error) = fs::write(format!("/proc/sys/net/{name}"), value) {
            tracing::debug!(name, %error, "left as it is");
        }
    }
}
