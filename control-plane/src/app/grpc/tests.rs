//! The port as a client meets it.

use super::*;
use crate::{
    engine::{Engine, Journal, Outputs},
    model::{Catalog, Timestamp},
};
use std::time::Duration;
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus as Told,
    health_client::HealthClient,
};

const ADS: &str = FROM_MEMORY[1];

struct Port {
    _state: TempDir,
    board: watch::Sender<Arc<Board>>,
    end: watch::Sender<bool>,
    door: Door,
    address: String,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn port(limit: usize) -> Port {
    let state = TempDir::new().unwrap();
    let now = Timestamp(1_000);
    let journal = Journal::open(state.path()).unwrap();
    let (catalog, lease) = (Catalog::default(), Duration::from_secs(15));
    let mut engine = Engine::new(journal, catalog, lease, Box::new(|_, _| Ok(())), now);
    let (_, published) = Outputs::begin(&mut engine, now).unwrap();
    let (board, boards) = watch::channel(Arc::new(Board::default()));
    let (handle, _) = Handle::new(boards, engine.decisions().clone());
    let xds = Server::new(
        published.snapshots,
        mpsc::channel(1).0,
        published.report_interval,
        || Timestamp(1_000),
    );
    let outbox = Outbox::open(&state.path().join("outbox")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (end, ended) = watch::channel(false);
    let door = Door::new("xds", limit);
    let serving = tokio::spawn(serve(
        (listener, door.clone()),
        xds,
        (handle, outbox),
        ended,
    ));
    Port {
        _state: state,
        board,
        end,
        door,
        address,
        serving,
    }
}

async fn health(port: &Port) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", port.address)).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn health_says_what_is_served_and_that_it_ends() {
    let port = port(10).await;
    let mut health = health(&port).await;
    for service in services() {
        let answer = health.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), Told::Serving, "{service}");
    }
    let mut verbs = health.watch(of(UPGRADES)).await.unwrap().into_inner();
    let mut ads = health.watch(of(ADS)).await.unwrap().into_inner();
    let told = |answer: Option<HealthCheckResponse>| answer.map(|answer| answer.status());
    assert_eq!(told(verbs.message().await.unwrap()), Some(Told::Serving));
    assert_eq!(told(ads.message().await.unwrap()), Some(Told::Serving));

    port.board.send_replace(Arc::new(Board {
        journal_error: Some("no space left on device".to_owned()),
        ..Board::default()
    }));
    assert_eq!(told(verbs.message().await.unwrap()), Some(Told::NotServing));
    for (service, expected) in [(WHOLE, Told::NotServing), (ADS, Told::Serving)] {
        let answer = health.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), expected, "{service:?}");
    }
    port.board.send_replace(Arc::default());
    assert_eq!(told(verbs.message().await.unwrap()), Some(Told::Serving));

    port.end.send_replace(true);
    for mut watch in [verbs, ads] {
        assert_eq!(told(watch.message().await.unwrap()), Some(Told::NotServing));
        assert_eq!(told(watch.message().await.unwrap()), None);
    }
    port.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_port_has_so_many_places_and_says_how_many_came_in_vain() {
    let port = port(1).await;
    let mut first = health(&port).await;
    let second = TcpStream::connect(&port.address).await.unwrap();
    second.readable().await.unwrap();
    let closed = second.try_read(&mut [0; 1]);
    assert!(!matches!(closed, Ok(1..)), "{closed:?}");
    let answer = first.check(of(WHOLE)).await.unwrap().into_inner();
    assert_eq!(answer.status(), Told::Serving);
    let counts = port.door.counts();
    assert_eq!((counts.open, counts.refused), (1, 1));
}
