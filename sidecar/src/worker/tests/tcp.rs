use super::{Sidecar, mesh::Mesh};
use crate::{
    local::passthrough_cluster,
    model::{Cluster, Discovery, Endpoint, EndpointId, Health},
    store::Question,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Reads all until the client ends its half, then answers twice over.
async fn answers_after_the_end() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
                stream.write_all(&all).await.unwrap();
            });
        }
    });
    address
}

async fn tunnel(sidecar: &Sidecar, to: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(sidecar.address).await.unwrap();
    let request = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    (stream, head.lines().next().unwrap().to_owned())
}

async fn twice(mut stream: TcpStream) {
    stream.write_all(b"half-close").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "half-closehalf-close");
}

fn database(address: SocketAddr) -> Arc<Cluster> {
    Arc::new(Cluster {
        name: "outbound|3306||db.shop.svc.cluster.local".into(),
        discovery: Discovery::Endpoints,
        endpoints: vec![Endpoint {
            id: EndpointId(0),
            address,
            weight: 1,
            priority: 0,
            locality: crate::model::Locality::default(),
            health: Health::Healthy,
            version: None,
            state: Arc::default(),
        }],
        ..(*passthrough_cluster()).clone()
    })
}

#[tokio::test]
async fn an_opaque_service_is_asked_for_and_each_half_ends_by_itself() {
    let target = answers_after_the_end().await;
    let mut snapshot = Mesh::single(target).snapshot();
    let mut sidecar = Sidecar::start(snapshot.clone());
    let destination: SocketAddr = "10.96.0.7:3306".parse().unwrap();
    let address = sidecar.address;
    let opened = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"CONNECT 10.96.0.7:3306 HTTP/1.1\r\nhost: 10.96.0.7:3306\r\n\r\n";
        stream.write_all(request).await.unwrap();
        stream
    };
    let mut stream = opened.await;
    assert_eq!(
        sidecar.questions.recv().await,
        Some(Question::Destination(destination))
    );
    let cluster = database(target);
    snapshot
        .destinations
        .insert(destination, Some(Arc::clone(&cluster)));
    snapshot.clusters.insert(Arc::clone(&cluster.name), cluster);
    sidecar.apply(snapshot).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"));
    twice(stream).await;
    let load = sidecar.load().await;
    let numbers = &load.clusters["outbound|3306||db.shop.svc.cluster.local"][&target];
    assert_eq!(numbers.connections_opened, 1);
}

#[tokio::test]
async fn an_unknown_destination_is_reached_without_the_mesh() {
    let target = answers_after_the_end().await;
    let mut snapshot = Mesh::single(target).snapshot();
    snapshot.destinations.insert(target, None);
    let sidecar = Sidecar::start(snapshot);
    let (stream, head) = tunnel(&sidecar, &target.to_string()).await;
    assert_eq!(head, "HTTP/1.1 200 OK");
    twice(stream).await;
}

#[tokio::test]
async fn connect_reaches_a_service_by_name() {
    let target = answers_after_the_end().await;
    let sidecar = Sidecar::start(Mesh::single(target).snapshot());
    let (stream, head) = tunnel(&sidecar, "checkout.shop:80").await;
    assert_eq!(head, "HTTP/1.1 200 OK");
    twice(stream).await;
    let (_, head) = tunnel(&sidecar, "checkout.shop:81").await;
    assert_eq!(head, "HTTP/1.1 502 Bad Gateway");
}

#[tokio::test]
async fn a_tunnel_to_the_sidecar_itself_is_refused() {
    let mut snapshot = Mesh::single("127.0.0.1:9".parse().unwrap()).snapshot();
    let sidecar = Sidecar::start(snapshot.clone());
    snapshot.destinations.insert(sidecar.address, None);
    sidecar.apply(snapshot).await;
    let (_, head) = tunnel(&sidecar, &sidecar.address.to_string()).await;
    assert_eq!(head, "HTTP/1.1 502 Bad Gateway");
}
