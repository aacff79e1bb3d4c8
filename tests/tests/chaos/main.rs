//! The control plane is killed (`kill -9`) at random moments of running upgrades and started again.
//! Each upgrade must end `Succeeded`, and the data plane must not notice.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod mesh;

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use mesh::Mesh;
use segue_proto::control::{
    ListUpgradesRequest, UpgradeStatus, upgrade_service_client::UpgradeServiceClient,
};
use std::time::Duration;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{Instant, interval, sleep, timeout},
};

/// No upgrade with these holds takes so long, however often the control plane dies.
const TOO_LONG: Duration = Duration::from_secs(120);

/// Requests through the client's sidecar until `stop`; what became of those that failed.
fn load(proxy: String, stop: watch::Receiver<bool>) -> JoinHandle<(u64, Vec<String>)> {
    tokio::spawn(async move {
        let (mut good, mut failures) = (0, Vec::new());
        let mut ticks = interval(Duration::from_millis(20));
        while !*stop.borrow() {
            ticks.tick().await;
            match timeout(Duration::from_secs(5), request(&proxy)).await {
                Ok(Ok(200)) => good += 1,
                Ok(Ok(status)) => failures.push(format!("status {status}")),
                Ok(Err(error)) => failures.push(format!("{error:#}")),
                Err(_) => failures.push("no answer in time".to_owned()),
            }
        }
        (good, failures)
    })
}

async fn request(proxy: &str) -> anyhow::Result<u16> {
    let stream = TcpStream::connect(proxy).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/")
        .header("host", "checkout.shop")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    response.into_body().collect().await?;
    drop(sender);
    connection.await??;
    Ok(status)
}

/// The upgrade to this version, if the control plane answers and has one.
async fn status(server: &str, to: &str) -> Option<UpgradeStatus> {
    let mut client = UpgradeServiceClient::connect(server.to_owned())
        .await
        .ok()?;
    let request = ListUpgradesRequest {
        namespace: "shop".to_owned(),
        ..ListUpgradesRequest::default()
    };
    let upgrades = client.list_upgrades(request).await.ok()?.into_inner();
    let mut upgrades = upgrades.upgrades.into_iter();
    let upgrade = upgrades.find(|upgrade| upgrade.spec.as_ref().is_some_and(|spec| spec.to == to));
    upgrade?.status
}

/// Waits until the service answers through the client's sidecar.
async fn answers(proxy: &str) {
    let served = async {
        while !matches!(request(proxy).await, Ok(200)) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), served).await.unwrap();
}

/// One upgrade during which the control plane dies so many times.
async fn upgrade(mesh: &mut Mesh, to: &str, kills: u32, random: &mut fastrand::Rng) {
    for number in 0..2 {
        mesh.start_instance(&format!("checkout-{to}-{number}"), to)
            .await;
    }
    let begun = Instant::now();
    let moment =
        |random: &mut fastrand::Rng| Instant::now() + Duration::from_millis(random.u64(10..1_000));
    let (mut killed, mut next) = (0, moment(random));
    loop {
        let status = status(&mesh.server(), to).await.unwrap_or_default();
        for instance in &status.drained {
            let name = instance.rsplit('/').next().unwrap();
            mesh.stop_instance(name).await;
        }
        match status.phase.as_str() {
            "Succeeded" if killed >= kills => return,
            "RolledBack" | "RollingBack" => panic!("{to}: {status:#?}\n{}", mesh.log()),
            _ => {}
        }
        assert!(
            begun.elapsed() < TOO_LONG,
            "{to} after {killed} kills: {status:#?}\n{}",
            mesh.log()
        );
        if killed < kills && Instant::now() >= next {
            mesh.restart_control_plane().await;
            killed += 1;
            next = moment(random);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn chaos(upgrades: u32, kills_each: u32) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let mut mesh = Mesh::start(folder.path()).await;
    for number in 0..2 {
        mesh.start_instance(&format!("checkout-v1-{number}"), "v1")
            .await;
    }
    let proxy = mesh.start_client().await;
    answers(&proxy).await;
    let (stop, stopped) = watch::channel(false);
    let load = load(proxy, stopped);
    for number in 0..upgrades {
        let to = format!("v{}", number + 2);
        upgrade(&mut mesh, &to, kills_each, &mut random).await;
    }
    stop.send_replace(true);
    let (good, failures) = load.await.unwrap();
    assert!(good > 0);
    assert!(
        failures.is_empty(),
        "{} of {} requests failed: {:?}",
        failures.len(),
        good,
        &failures[..failures.len().min(10)]
    );
}

/// Kills per upgrade.
const KILLS: u32 = 5;

/// `SEGUE_CHAOS_UPGRADES` upgrades, two where it is not set.
#[tokio::test]
async fn upgrades_succeed_though_the_control_plane_is_killed_at_random_moments() {
    let upgrades =
        std::env::var("SEGUE_CHAOS_UPGRADES").map_or(2, |number| number.parse().unwrap());
    chaos(upgrades, KILLS).await;
}
