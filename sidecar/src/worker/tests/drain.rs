use super::{
    Client, LONG, Sidecar,
    app::App,
    empty, full,
    mesh::{Mesh, answering, outbound},
    text,
};
use crate::{
    local::{Limits, Local},
    model::Action,
    upstream::Protocol,
    worker::settled,
};
use futures_util::{
    FutureExt,
    future::{Either, select},
};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::{LocalSet, spawn_local},
};

/// Answers once a permit is given.
pub(super) async fn gated(
    protocol: Protocol,
    arrived: &Arc<Semaphore>,
    gate: &Arc<Semaphore>,
) -> App {
    let (arrived, gate) = (Arc::clone(arrived), Arc::clone(gate));
    App::start(protocol, move |_| {
        let (arrived, gate) = (Arc::clone(&arrived), Arc::clone(&gate));
        async move {
            arrived.add_permits(1);
            gate.acquire().await.unwrap().forget();
            Response::new(full("done"))
        }
    })
    .await
}

#[tokio::test]
async fn an_idle_sidecar_is_drained_at_once_and_answers_on() {
    let app = App::named("v1").await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut client = sidecar.connect().await;
    assert!(
        !client
            .get("/", &[])
            .await
            .headers()
            .contains_key("connection")
    );
    sidecar.drain(LONG).await.unwrap();
    // The kept connection is still served, and told to go; a new one is too.
    for mut client in [client, sidecar.connect().await] {
        let last = client.get("/", &[]).await;
        assert_eq!(
            (text(&last), &last.headers()["connection"]),
            ("v1", &"close".parse().unwrap())
        );
        assert!(client.0.ready().await.is_err());
    }
}

#[tokio::test]
async fn the_drain_waits_for_a_request_under_way() {
    let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let app = gated(Protocol::Http1, &arrived, &gate).await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut client = sidecar.connect().await;
    let request = tokio::spawn(async move { client.get("/", &[]).await });
    arrived.acquire().await.unwrap().forget();
    let mut drained = sidecar.drain(LONG);
    // A command is answered after all before it.
    assert_eq!(sidecar.connections().await[0].active, 1);
    assert!(drained.try_recv().is_err());
    gate.add_permits(1);
    let answer = request.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["connection"], "close");
    drained.await.unwrap();
}

#[tokio::test]
async fn http_2_clients_get_two_goaways_and_finish_their_streams() {
    let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let app = gated(Protocol::Http2, &arrived, &gate).await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let stream = TcpStream::connect(sidecar.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = || Request::get("http://checkout.shop/").body(()).unwrap();
    let (answer, _) = client.send_request(request(), true).unwrap();
    arrived.acquire().await.unwrap().forget();
    let drained = sidecar.drain(LONG);
    // Once GOAWAY arrived no stream can be opened, yet the open one goes on.
    while let Ok(ready) = client.clone().ready().await {
        client = ready;
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "done");
    drained.await.unwrap();
    connection.await.unwrap().unwrap();
}

/// As gRPC does for as long as it keeps an endpoint, whatever it was told of it.
#[tokio::test]
async fn a_client_that_connects_again_and_asks_nothing_holds_no_drain_up() {
    let app = App::named("v1").await;
    let change =
        |settings: &mut crate::worker::Settings| settings.quiet = Duration::from_millis(300);
    let sidecar = Sidecar::start_with(Mesh::single(app.address).snapshot(), change);
    let address = sidecar.address;
    let connect = move || async move {
        let stream = TcpStream::connect(address).await?;
        let (_client, connection) = h2::client::handshake(stream)
            .await
            .map_err(std::io::Error::other)?;
        connection.await.map_err(std::io::Error::other)
    };
    let (again, mut times) = mpsc::unbounded_channel();
    let client = tokio::spawn(async move {
        while connect().await.is_ok() {
            again.send(()).unwrap();
        }
    });
    // Something was under way: what follows it is looked at for the quiet time.
    sidecar.connect().await.get("/", &[]).await;
    let drained = sidecar.drain(LONG);
    times.recv().await.unwrap();
    times.recv().await.unwrap();
    // Far sooner than at the deadline, at which any drain ends.
    tokio::time::timeout(LONG / 2, drained)
        .await
        .unwrap()
        .unwrap();
    client.abort();
}

#[tokio::test]
async fn what_is_left_at_the_deadline_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let sidecar = Sidecar::start(Mesh::single(target).snapshot());
    let mut stream = TcpStream::connect(sidecar.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: checkout.shop\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let (_upstream, _) = listener.accept().await.unwrap();
    sidecar.drain(Duration::from_millis(10)).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.ok();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn connections_to_a_draining_endpoint_are_dropped_when_idle() {
    let app = App::named("v1").await;
    let mut mesh = Mesh::single(app.address);
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    let post = || {
        Request::post("/")
            .header("host", "checkout.shop")
            .body(full("x"))
    };
    assert_eq!(client.send(post().unwrap()).await.status(), StatusCode::OK);
    mesh.versions[0].endpoints[0].2 = crate::model::Health::Draining;
    sidecar.apply(mesh.snapshot()).await;
    let refused = client.get("/", &[]).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    mesh.versions[0].endpoints[0].2 = crate::model::Health::Healthy;
    sidecar.apply(mesh.snapshot()).await;
    assert_eq!(client.send(post().unwrap()).await.status(), StatusCode::OK);
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn a_connection_between_requests_is_listed_without_any_under_way() {
    let app = App::start(Protocol::Http1, |request| async {
        Response::new(request.into_body().boxed())
    })
    .await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut client = sidecar.connect().await;
    let request = Request::get("/")
        .header("host", "checkout.shop")
        .body(empty());
    assert_eq!(client.send(request.unwrap()).await.status(), StatusCode::OK);
    let listed = sidecar.connections().await;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].protocol, listed[0].active), ("http/1.1", 0));
    assert!(!listed[0].inbound);
}

#[tokio::test]
async fn whoever_sends_in_the_quiet_time_is_answered() {
    let app = App::named("v1").await;
    let change = |settings: &mut crate::worker::Settings| settings.quiet = LONG;
    let sidecar = Sidecar::start_with(Mesh::single(app.address).snapshot(), change);
    let mut idle: Client = sidecar.connect().await;
    idle.get("/", &[]).await;
    let mut drained = sidecar.drain(LONG * 2);
    sidecar.connections().await;
    let answer = idle.get("/", &[]).await;
    assert_eq!(answer.headers()["connection"], "close");
    assert!(drained.try_recv().is_err());
}

#[test]
fn the_drain_waits_until_a_client_has_taken_all_of_its_answer() {
    let answer = Action::DirectResponse {
        status: StatusCode::OK,
        body: vec![b'x'; 10_000].into(),
    };
    let mut snapshot = Mesh::single(([127, 0, 0, 1], 9).into()).snapshot();
    snapshot.outbound = Some(Arc::new(outbound(Some(answering(answer)))));
    let limits = Limits {
        mark: None,
        started: std::time::Instant::now(),
        detect: LONG,
        on_demand: LONG,
        request_head: Duration::from_secs(10),
        stream_idle: Duration::from_secs(300),
        workers: 1,
        max_connections: 100,
        quiet: Duration::ZERO,
        endpoint_drain: LONG,
        stream_gap: None,
        own: Vec::new(),
    };
    let (questions, _asked) = mpsc::unbounded_channel();
    let test = async {
        let local = Local::new(limits, 1, Arc::new(snapshot), questions, None);
        let (mut client, stream) = duplex(1_000);
        let serving = Rc::clone(&local);
        spawn_local(async move {
            let peer = ([127, 0, 0, 1], 1).into();
            let entry = serving.connections.open(false, peer, None).unwrap();
            crate::http::serve(&serving, &entry, stream, Protocol::Http1).await;
        });
        let request = b"GET / HTTP/1.1\r\nhost: checkout.shop\r\n\r\n";
        client.write_all(request).await.unwrap();
        client.read_u8().await.unwrap();
        // The request has ended; its answer has not left.
        local.drain.finished().await;
        let mut settled = pin!(settled(&local));
        assert!(settled.as_mut().now_or_never().is_none());
        let mut part = [0; 1_000];
        while let Either::Left(_) = select(pin!(client.read(&mut part)), &mut settled).await {}
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    LocalSet::new().block_on(&runtime.enable_all().build().unwrap(), test);
}
