//! Redirected connections, without the redirection: the destination is an argument here.

mod placing;

use super::{inbound, outbound};
use crate::{
    local::{Limits, Local, passthrough_cluster},
    model::{
        Action, ChainMatch, Cluster, Discovery, Endpoint, EndpointId, FilterChain, Health,
        HttpConnectionManager, Listener, NetworkFilter, PathMatch, RetryPolicy, Route,
        RouteConfiguration, Snapshot, VirtualHost,
    },
    store::Question,
};
use socket2::{Domain, Socket, Type};
use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::{LocalSet, spawn_local},
};

/// Far more than anything here takes, and less than connecting in vain.
const LONG: Duration = Duration::from_secs(9);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn worker(snapshot: Snapshot) -> (Rc<Local>, mpsc::UnboundedReceiver<Question>) {
    patient_worker(snapshot, LONG)
}

/// A worker that waits so long for answers.
fn patient_worker(
    snapshot: Snapshot,
    on_demand: Duration,
) -> (Rc<Local>, mpsc::UnboundedReceiver<Question>) {
    let (questions, asked) = mpsc::unbounded_channel();
    let limits = Limits {
        mark: None,
        started: Instant::now(),
        detect: Duration::from_millis(1),
        request_head: Duration::from_secs(10),
        stream_idle: Duration::from_secs(300),
        workers: 1,
        max_connections: 100,
        quiet: Duration::ZERO,
        endpoint_drain: Duration::from_secs(55),
        stream_gap: None,
        on_demand,
        own: Vec::new(),
    };
    (
        Local::new(limits, 1, Arc::new(snapshot), questions, None),
        asked,
    )
}

/// HTTP on `port` goes by routes to the original destination; the rest by the default chain.
fn listener(name: &str, port: u16) -> Arc<Listener> {
    let inbound: Arc<Cluster> = Arc::new(Cluster {
        name: format!("inbound|{port}||").into(),
        ..(*passthrough_cluster()).clone()
    });
    let route = Route {
        path: PathMatch::Prefix("/".into()),
        headers: Vec::new(),
        action: Action::Cluster(inbound),
        removed_request_headers: Vec::new(),
        hash: Vec::new(),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        timeout: None,
    };
    let any = VirtualHost {
        name: "any".into(),
        routes: vec![route],
        retry: RetryPolicy::default(),
        session_cookie: None,
    };
    let routes = RouteConfiguration {
        name: "any".into(),
        hosts: [].into(),
        suffixes: Vec::new(),
        any: Some(Arc::new(any)),
        on_demand: false,
    };
    let http = FilterChain {
        matches: ChainMatch {
            destination_port: Some(port),
            prefix_ranges: Vec::new(),
            http_only: true,
        },
        filter: NetworkFilter::Http(HttpConnectionManager {
            routes: Arc::new(routes),
        }),
    };
    let default = FilterChain {
        matches: ChainMatch::default(),
        filter: NetworkFilter::Tcp(passthrough_cluster()),
    };
    Arc::new(Listener {
        name: name.into(),
        chains: vec![http],
        default_chain: Some(default),
    })
}

struct App {
    address: SocketAddr,
    accepted: Rc<Notify>,
}

/// An application that says `greeting`, then answers the first bytes with `answer`, and ends.
async fn app(greeting: &'static [u8], answer: &'static [u8]) -> App {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Rc::new(Notify::new());
    let accept = Rc::clone(&accepted);
    spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            accept.notify_one();
            spawn_local(async move {
                stream.write_all(greeting).await.unwrap();
                let mut first = [0; 4096];
                if stream.read(&mut first).await.unwrap() > 0 {
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    App { address, accepted }
}

/// A client's connection, served by the worker as if it had been on its way to `destination`.
async fn connect(local: &Rc<Local>, destination: SocketAddr, is_inbound: bool) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    let (stream, peer) = accepted.unwrap();
    let local = Rc::clone(local);
    spawn_local(async move {
        let entry = local
            .connections
            .open(is_inbound, peer, Some(destination))
            .unwrap();
        if is_inbound {
            inbound::redirected(&local, &entry, stream, destination).await;
        } else {
            outbound::redirected(&local, &entry, stream, destination).await;
        }
    });
    client.unwrap()
}

async fn rest(mut stream: TcpStream) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    all
}

/// Runs a test on a worker's kind of runtime.
fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_slow_http_client_is_still_served_as_http() {
    run(async {
        let app = app(b"", OK).await;
        let destination = app.address;
        let snapshot = Snapshot {
            inbound: Some(listener("virtualInbound", destination.port())),
            ..Snapshot::default()
        };
        let (local, _asked) = worker(snapshot);
        let mut client = connect(&local, destination, true).await;
        // Only after the time in which bytes were expected is the application tried.
        app.accepted.notified().await;
        client.write_all(REQUEST).await.unwrap();
        let answer = rest(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let load = local.load.borrow_mut().collect(&local.snapshot(), 0);
        let name = format!("inbound|{}||", destination.port());
        assert_eq!(load.clusters[&*name][&destination].succeeded, 1);
    });
}

#[test]
fn a_server_that_speaks_first_is_heard_on_an_http_port() {
    run(async {
        let destination = app(b"220 ready\r\n", b"221 bye\r\n").await.address;
        for is_inbound in [true, false] {
            let both = Some(listener("both", destination.port()));
            let (local, _asked) = worker(Snapshot {
                inbound: both.clone(),
                outbound: both,
                destinations: [(destination, None)].into(),
                ..Snapshot::default()
            });
            let mut client = connect(&local, destination, is_inbound).await;
            let mut greeting = [0; 11];
            client.read_exact(&mut greeting).await.unwrap();
            assert_eq!(&greeting, b"220 ready\r\n");
            client.write_all(b"QUIT\r\n").await.unwrap();
            assert_eq!(rest(client).await, "221 bye\r\n");
        }
    });
}

#[test]
fn opaque_bytes_on_an_http_port_pass_unchanged() {
    run(async {
        let destination = app(b"", b"opaque too").await.address;
        let (local, _asked) = worker(Snapshot {
            inbound: Some(listener("virtualInbound", destination.port())),
            ..Snapshot::default()
        });
        let mut client = connect(&local, destination, true).await;
        client.write_all(b"\x16\x03\x01 opaque").await.unwrap();
        assert_eq!(rest(client).await, "opaque too");
    });
}

#[test]
fn before_the_first_configuration_everything_reaches_its_destination() {
    run(async {
        let destination = app(b"", OK).await.address;
        for is_inbound in [true, false] {
            let (local, _asked) = worker(Snapshot::default());
            let mut client = connect(&local, destination, is_inbound).await;
            client.write_all(REQUEST).await.unwrap();
            assert!(rest(client).await.starts_with("HTTP/1.1 200 OK\r\n"));
        }
    });
}

#[test]
fn a_host_that_the_mesh_does_not_know_reaches_its_destination() {
    run(async {
        let destination = app(b"", OK).await.address;
        let mut outbound = (*listener("virtualOutbound", destination.port())).clone();
        routes(&mut outbound).any = None;
        routes(&mut outbound).hosts.insert("a".into(), None);
        let (local, _asked) = worker(Snapshot {
            outbound: Some(Arc::new(outbound)),
            ..Snapshot::default()
        });
        let mut client = connect(&local, destination, false).await;
        client.write_all(REQUEST).await.unwrap();
        assert!(rest(client).await.starts_with("HTTP/1.1 200 OK\r\n"));
    });
}

#[test]
fn a_destination_that_was_asked_for_is_served_by_its_cluster() {
    run(async {
        let target = app(b"hello", b"").await.address;
        let destination: SocketAddr = "192.0.2.1:3306".parse().unwrap();
        let snapshot = Snapshot {
            outbound: Some(listener("virtualOutbound", 80)),
            ..Snapshot::default()
        };
        let (local, mut asked) = worker(snapshot.clone());
        let client = connect(&local, destination, false).await;
        assert_eq!(asked.recv().await, Some(Question::Destination(destination)));
        let cluster = database(target);
        local.apply(Arc::new(Snapshot {
            destinations: [(destination, Some(Arc::new(cluster)))].into(),
            ..snapshot
        }));
        let mut client = client;
        let mut greeting = [0; 5];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"hello");
    });
}

fn database(address: SocketAddr) -> Cluster {
    Cluster {
        name: "outbound|3306||db".into(),
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
    }
}

/// An address that takes no connection and refuses none: its queue is full.
async fn unreachable_address() -> (SocketAddr, Socket, TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let only = TcpStream::connect(address).await.unwrap();
    (address, socket, only)
}

#[test]
fn a_late_answer_is_taken_while_the_original_destination_does_not_answer() {
    run(async {
        let (destination, _socket, _only) = unreachable_address().await;
        let before = Snapshot {
            outbound: Some(on_demand(destination.port())),
            ..Snapshot::default()
        };
        let (local, mut asked) = patient_worker(before.clone(), Duration::ZERO);
        let mut client = connect(&local, destination, false).await;
        client.write_all(REQUEST).await.unwrap();
        assert!(asked.recv().await.is_some());
        let target = app(b"", OK).await.address;
        let mut outbound = (*on_demand(destination.port())).clone();
        let route = Route {
            action: Action::Cluster(Arc::new(database(target))),
            ..local.passthrough.routes[0].clone()
        };
        let host = VirtualHost {
            routes: vec![route],
            ..(*local.passthrough).clone()
        };
        routes(&mut outbound)
            .hosts
            .insert("a".into(), Some(Arc::new(host)));
        local.apply(Arc::new(Snapshot {
            outbound: Some(Arc::new(outbound)),
            ..before
        }));
        let answer = tokio::time::timeout(LONG, rest(client)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    });
}

#[test]
fn a_late_answer_is_taken_for_opaque_connections_too() {
    run(async {
        let (destination, _socket, _only) = unreachable_address().await;
        let before = Snapshot {
            outbound: Some(listener("virtualOutbound", 80)),
            ..Snapshot::default()
        };
        let (local, mut asked) = patient_worker(before.clone(), Duration::ZERO);
        let mut client = connect(&local, destination, false).await;
        assert!(asked.recv().await.is_some());
        let target = app(b"hello", b"").await.address;
        local.apply(Arc::new(Snapshot {
            destinations: [(destination, Some(Arc::new(database(target))))].into(),
            ..before
        }));
        let mut greeting = [0; 5];
        let read = client.read_exact(&mut greeting);
        tokio::time::timeout(LONG, read).await.unwrap().unwrap();
        assert_eq!(&greeting, b"hello");
    });
}

/// `virtualOutbound` with routes that are on demand on `port`.
fn on_demand(port: u16) -> Arc<Listener> {
    let mut outbound = (*listener("virtualOutbound", port)).clone();
    let routes = routes(&mut outbound);
    routes.any = None;
    routes.on_demand = true;
    Arc::new(outbound)
}

fn routes(listener: &mut Listener) -> &mut RouteConfiguration {
    match &mut listener.chains[0].filter {
        NetworkFilter::Http(manager) => Arc::make_mut(&mut manager.routes),
        NetworkFilter::Tcp(_) => unreachable!(),
    }
}
