//! The control API over loopback, with a real engine behind it.

mod answering;

use super::{proxy_service, reflection, upgrade_service};
use crate::{
    engine::{
        Engine, Handle, Inputs, Journal, Outputs,
        tests::support::{catalog, checkout, proxy, quick, sample},
    },
    event::Outbox,
    model::{Catalog, Generation, HealthSample, Observed, Timestamp},
    xds::Snapshot,
};
use segue_proto::control::{
    ExplainUpgradeRequest, GetProxyConfigRequest, GetUpgradeRequest, ListProxiesRequest,
    ListUpgradesRequest, RollbackUpgradeRequest, StartUpgradeRequest, Upgrade,
    UpgradeCommandRequest, WatchUpgradesRequest, WatchUpgradesResponse,
    proxy_service_client::ProxyServiceClient, upgrade_service_client::UpgradeServiceClient,
    watch_upgrades_response::Kind,
};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tonic::{
    Code, Streaming,
    transport::{Channel, server::TcpIncoming},
};

const BOTH: [(&str, &str); 2] = [("a-0", "v1"), ("b-0", "v2")];

fn clock() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::default().after(since)
}

/// A control plane in process; one proxy ACKs whatever is published.
struct Running {
    _state: TempDir,
    catalogs: mpsc::Sender<Catalog>,
    stop: watch::Sender<bool>,
    address: String,
    upgrades: UpgradeServiceClient<Channel>,
    proxies: ProxyServiceClient<Channel>,
}

fn covered(instances: &[(&str, &str)]) -> Catalog {
    let mut catalog = catalog(instances);
    catalog.policies.insert(checkout(), Arc::new(quick()));
    catalog
}

async fn ack(mut snapshots: watch::Receiver<Arc<Snapshot>>, observed: mpsc::Sender<Observed>) {
    loop {
        let Generation(generation) = snapshots.borrow_and_update().generation();
        for name in ["a-0", "b-0"] {
            let passed = HealthSample {
                at: clock(),
                ..sample(name, true)
            };
            drop(observed.send(Observed::Health(passed)).await);
        }
        let state = proxy("shop/web", generation);
        if observed.send(Observed::Proxy(state)).await.is_err()
            || snapshots.changed().await.is_err()
        {
            return;
        }
    }
}

async fn running() -> Running {
    let state = TempDir::new().unwrap();
    let journal = Journal::open(state.path()).unwrap();
    let lease = Duration::from_secs(15);
    let mut engine = Engine::new(
        journal,
        covered(&BOTH[..1]),
        lease,
        Box::new(|_, _| Ok(())),
        clock(),
    );
    let (outputs, published) = Outputs::begin(&mut engine, clock()).unwrap();
    let (handle, requests) = Handle::new(published.board.clone(), engine.decisions().clone());
    let (catalogs, catalogs_in) = mpsc::channel(1);
    let (observed, observed_in) = mpsc::channel(64);
    let (stop, stopped) = watch::channel(false);
    let inputs = Inputs {
        catalogs: catalogs_in,
        observed: observed_in,
        requests,
        stop: stopped,
    };
    tokio::spawn(crate::engine::run(engine, inputs, outputs, clock));
    tokio::spawn(ack(published.snapshots, observed));
    let outbox = Outbox::open(&state.path().join("outbox")).unwrap();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("http://{}", incoming.local_addr().unwrap());
    tokio::spawn(
        tonic::transport::Server::builder()
            .layer(super::Deadlines)
            .add_service(upgrade_service(handle.clone(), outbox))
            .add_service(proxy_service(handle))
            .add_service(reflection().unwrap())
            .serve_with_incoming(incoming),
    );
    Running {
        _state: state,
        catalogs,
        stop,
        address: address.clone(),
        upgrades: UpgradeServiceClient::connect(address.clone())
            .await
            .unwrap(),
        proxies: ProxyServiceClient::connect(address).await.unwrap(),
    }
}

impl Running {
    async fn watch(&mut self) -> Streaming<WatchUpgradesResponse> {
        let all = WatchUpgradesRequest::default();
        self.upgrades
            .watch_upgrades(all)
            .await
            .unwrap()
            .into_inner()
    }
}

async fn next(stream: &mut Streaming<WatchUpgradesResponse>) -> Option<WatchUpgradesResponse> {
    stream.message().await.unwrap()
}

/// Reads a watch until an upgrade is in a phase.
async fn until(stream: &mut Streaming<WatchUpgradesResponse>, phase: &str) -> Upgrade {
    loop {
        let upgrade = next(stream).await.unwrap().upgrade;
        if let Some(upgrade) = upgrade
            && upgrade.status.as_ref().unwrap().phase == phase
        {
            return upgrade;
        }
    }
}

#[tokio::test]
async fn a_watch_shows_the_present_then_synced_then_every_change_until_the_end() {
    let mut running = running().await;
    let mut watch = running.watch().await;
    assert_eq!(next(&mut watch).await.unwrap().kind(), Kind::Synced);
    running.catalogs.send(covered(&BOTH)).await.unwrap();
    let seen = until(&mut watch, "WarmUp").await;
    assert_eq!(seen.status.unwrap().weight, 2_500);

    let mut second = running.watch().await;
    assert_eq!(next(&mut second).await.unwrap().kind(), Kind::Put);
    assert_eq!(next(&mut second).await.unwrap().kind(), Kind::Synced);

    running.stop.send_replace(true);
    while let Some(response) = next(&mut watch).await {
        assert_eq!(response.kind(), Kind::Put);
    }
}

#[tokio::test]
async fn verbs_are_obeyed_and_refused_with_the_fitting_codes() {
    let mut running = running().await;
    let mut watch = running.watch().await;
    running.catalogs.send(covered(&BOTH)).await.unwrap();
    let upgrade = until(&mut watch, "WarmUp").await;
    let command = UpgradeCommandRequest {
        namespace: upgrade.namespace.clone(),
        name: upgrade.name.clone(),
        request_id: "1".to_owned(),
        reason: "INC-7 is open".to_owned(),
        ..UpgradeCommandRequest::default()
    };
    let paused = running
        .upgrades
        .pause_upgrade(command.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(paused.status.unwrap().paused);

    let mut stale = command.clone();
    stale.request_id.clear();
    stale.resource_version = upgrade.resource_version;
    let refused = running.upgrades.resume_upgrade(stale).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused}");

    let mut retry = command.clone();
    retry.request_id.clear();
    let refused = running.upgrades.retry_upgrade(retry).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    let rollback = RollbackUpgradeRequest {
        namespace: "shop".to_owned(),
        name: upgrade.name.clone(),
        reason: "by hand".to_owned(),
        ..RollbackUpgradeRequest::default()
    };
    let back = running
        .upgrades
        .rollback_upgrade(rollback)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(back.status.unwrap().weight, 0);

    let explain = ExplainUpgradeRequest {
        namespace: "shop".to_owned(),
        name: upgrade.name,
    };
    let mut log = running
        .upgrades
        .explain_upgrade(explain)
        .await
        .unwrap()
        .into_inner();
    let mut verdicts = Vec::new();
    while let Some(decision) = log.message().await.unwrap() {
        verdicts.push(decision.verdict);
    }
    for why in ["paused by hand: INC-7 is open", "RollingBack: by hand"] {
        let said = verdicts.iter().any(|verdict| verdict.contains(why));
        assert!(said, "{why}: {verdicts:?}");
    }
}

#[tokio::test]
async fn what_does_not_exist_or_is_no_name_is_refused() {
    let mut running = running().await;
    let mut watch = running.watch().await;
    running.catalogs.send(covered(&BOTH)).await.unwrap();
    until(&mut watch, "WarmUp").await;
    let get = GetUpgradeRequest {
        namespace: "shop".to_owned(),
        name: "nothing".to_owned(),
    };
    let refused = running.upgrades.get_upgrade(get).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(
        refused.message().contains("shop/checkout-v2-1"),
        "{refused}"
    );

    let start = StartUpgradeRequest {
        namespace: "shop".to_owned(),
        service: "checkout".to_owned(),
        to: "../v3".to_owned(),
        ..StartUpgradeRequest::default()
    };
    let refused = running.upgrades.start_upgrade(start).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn lists_show_upgrades_and_proxies_by_namespace() {
    let mut running = running().await;
    let mut watch = running.watch().await;
    running.catalogs.send(covered(&BOTH)).await.unwrap();
    until(&mut watch, "WarmUp").await;
    for (namespace, count) in [("", 1), ("shop", 1), ("other", 0)] {
        let request = ListUpgradesRequest {
            namespace: namespace.to_owned(),
            ..ListUpgradesRequest::default()
        };
        let list = running
            .upgrades
            .list_upgrades(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(list.upgrades.len(), count);
        let request = ListProxiesRequest {
            namespace: namespace.to_owned(),
        };
        let list = running
            .proxies
            .list_proxies(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(list.proxies.len(), count);
    }
    let request = GetProxyConfigRequest {
        id: "shop/nobody".to_owned(),
    };
    let refused = running.proxies.get_proxy_config(request).await.unwrap_err();
    assert!(refused.message().contains("shop/web"), "{refused}");
}
