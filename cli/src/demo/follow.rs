//! Follows the upgrades over the control API, across restarts of the control plane.

use super::manifests::NAMESPACE;
use segue_proto::control::{
    ListProxiesRequest, Proxy, Upgrade, WatchUpgradesRequest,
    proxy_service_client::ProxyServiceClient, upgrade_service_client::UpgradeServiceClient,
};
use std::time::Duration;
use tokio::{sync::mpsc, time::sleep};
use tonic::transport::Endpoint;

const RETRY: Duration = Duration::from_millis(100);

/// Says every change of every upgrade of the demo's namespace, until nobody listens.
pub(super) async fn follow(server: Endpoint, changes: mpsc::Sender<Upgrade>) {
    while !changes.is_closed() {
        // An error is a control plane that is away: whether that may be is not decided here.
        watch(&server, &changes).await.ok();
        sleep(RETRY).await;
    }
}

async fn watch(server: &Endpoint, changes: &mpsc::Sender<Upgrade>) -> anyhow::Result<()> {
    let mut client = UpgradeServiceClient::new(server.connect().await?);
    let request = WatchUpgradesRequest {
        namespace: NAMESPACE.to_owned(),
        name: String::new(),
    };
    let mut stream = client.watch_upgrades(request).await?.into_inner();
    while let Some(change) = stream.message().await? {
        if let Some(upgrade) = change.upgrade {
            changes.send(upgrade).await?;
        }
    }
    Ok(())
}

/// The proxies that the control plane knows.
pub(super) async fn proxies(server: &Endpoint) -> anyhow::Result<Vec<Proxy>> {
    let mut client = ProxyServiceClient::new(server.connect().await?);
    let request = ListProxiesRequest {
        namespace: NAMESPACE.to_owned(),
    };
    Ok(client.list_proxies(request).await?.into_inner().proxies)
}
