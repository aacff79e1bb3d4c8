//! Requests of clients without a sidecar, at the sidecar of an instance of v1.

use super::{LONG, connect, listener, rest, routes, run, worker};
use crate::{
    local::passthrough_cluster,
    model::{
        Action, Cluster, Discovery, Endpoint, EndpointId, Header, HeaderMatch, HeaderMatcher,
        Health, Snapshot, VirtualHost, WeightedCluster,
    },
};
use http::{HeaderName, HeaderValue, header};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::spawn_local,
};

const MARK: HeaderName = HeaderName::from_static("x-segue-placed");

/// An application that answers with its name and the request's head.
async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap() == 0 {
                    break;
                }
            }
            let head = String::from_utf8(head).unwrap();
            let text = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{name}\n{head}",
                name.len() + 1 + head.len()
            );
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    address
}

/// Nothing listens there.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

fn cookie(version: &str) -> Vec<Header> {
    vec![Header {
        name: header::SET_COOKIE,
        value: HeaderValue::from_str(&format!("s={version}")).unwrap(),
    }]
}

/// v2's cluster, with one endpoint or none.
fn version_2(address: Option<SocketAddr>) -> Arc<Cluster> {
    let endpoint = |address| Endpoint {
        id: EndpointId(0),
        address,
        weight: 1,
        priority: 0,
        locality: crate::model::Locality::default(),
        health: Health::Healthy,
        version: Some("v2".into()),
        state: Arc::default(),
    };
    Arc::new(Cluster {
        name: "outbound|80|v2|checkout.shop.svc.cluster.local".into(),
        version: Some("v2".into()),
        discovery: Discovery::Endpoints,
        endpoints: address.into_iter().map(endpoint).collect(),
        ..(*passthrough_cluster()).clone()
    })
}

/// v2 at `other` gets all new sessions; v1 is the application at `own`.
fn snapshot(own: SocketAddr, other: Option<SocketAddr>) -> Snapshot {
    let mut inbound = (*listener("virtualInbound", own.port())).clone();
    let table = routes(&mut inbound);
    let mut host: VirtualHost = (**table.any.as_ref().unwrap()).clone();
    let mut to_application = host.routes.remove(0);
    let Action::Cluster(application) = &to_application.action else {
        panic!("no cluster")
    };
    let application = Arc::new(Cluster {
        version: Some("v1".into()),
        ..(**application).clone()
    });
    to_application.action = Action::Cluster(Arc::clone(&application));
    let new = version_2(other);
    let mut placed = to_application.clone();
    placed.headers = vec![HeaderMatcher {
        name: MARK,
        condition: HeaderMatch::Present,
        invert: false,
    }];
    placed.removed_request_headers = vec![MARK];
    let mark = Header {
        name: MARK,
        value: HeaderValue::from_static("1"),
    };
    let choice = |cluster: &Arc<Cluster>, weight, request_headers, version| WeightedCluster {
        cluster: Arc::clone(cluster),
        weight,
        request_headers,
        response_headers: cookie(version),
    };
    let mut drawn = to_application;
    drawn.action = Action::Weighted {
        by_hash: false,
        clusters: vec![
            choice(&new, 10_000, vec![mark], "v2"),
            choice(&application, 0, Vec::new(), "v1"),
        ],
        total: 10_000,
    };
    host.routes = vec![placed, drawn];
    host.session_cookie = Some("s".into());
    table.any = Some(Arc::new(host));
    let clusters = [new, application].map(|cluster| (Arc::clone(&cluster.name), cluster));
    Snapshot {
        inbound: Some(Arc::new(inbound)),
        clusters: clusters.into(),
        endpoint_ids: 1,
        ..Snapshot::default()
    }
}

/// What one request is answered, and the numbers: requests to v2, and to the application.
async fn asked(own: SocketAddr, other: Option<SocketAddr>, line: &str) -> (String, u64, u64) {
    let (local, _asked) = worker(snapshot(own, other));
    let mut client = connect(&local, own, true).await;
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{line}connection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(LONG, rest(client)).await.unwrap();
    let load = local.load.borrow_mut().collect(&local.snapshot(), 0);
    let succeeded = |prefix: &str| {
        let clusters = load.clusters.iter();
        let named = clusters.filter(|(name, _)| name.starts_with(prefix));
        named
            .flat_map(|(_, endpoints)| endpoints.values())
            .map(|load| load.succeeded)
            .sum()
    };
    let (forwarded, served) = (succeeded("outbound|80|v2|"), succeeded("inbound|"));
    (answer, forwarded, served)
}

#[test]
fn what_belongs_to_the_other_version_is_forwarded_marked_and_counted_there() {
    run(async {
        let (own, other) = (echo("v1").await, echo("v2").await);
        let (answer, forwarded, served) = asked(own, Some(other), "").await;
        assert!(answer.contains("\r\n\r\nv2\n"), "{answer}");
        assert!(answer.contains("x-segue-placed: 1\r\n"), "{answer}");
        assert!(answer.contains("set-cookie: s=v2\r\n"), "{answer}");
        assert_eq!((forwarded, served), (1, 0));
    });
}

#[test]
fn what_was_placed_is_served_here_and_the_application_does_not_see_the_mark() {
    run(async {
        let (own, other) = (echo("v1").await, echo("v2").await);
        for line in [
            "x-segue-placed: 1\r\n",
            "X-Segue-Placed: no\r\nx-segue-placed:\r\n",
        ] {
            let (answer, forwarded, served) = asked(own, Some(other), line).await;
            assert!(answer.contains("\r\n\r\nv1\n"), "{answer}");
            assert!(!answer.to_lowercase().contains("placed"), "{answer}");
            assert!(!answer.contains("set-cookie"), "{answer}");
            assert_eq!((forwarded, served), (0, 1));
        }
    });
}

#[test]
fn where_the_other_version_is_not_reached_the_own_application_serves_and_its_token_says_so() {
    run(async {
        let own = echo("v1").await;
        for other in [None, Some(nobody().await)] {
            let (answer, forwarded, served) = asked(own, other, "").await;
            assert!(answer.contains("\r\n\r\nv1\n"), "{answer}");
            assert!(!answer.contains("placed"), "{answer}");
            assert!(answer.contains("set-cookie: s=v1\r\n"), "{answer}");
            assert_eq!((forwarded, served), (0, 1));
        }
    });
}
