use super::{
    Sidecar,
    app::App,
    mesh::{Mesh, Version},
    text,
};
use crate::{
    model::{HashSource, Health},
    store::Question,
};
use http::{HeaderName, Response, StatusCode, header};

fn cookies(response: &Response<bytes::Bytes>) -> Vec<&str> {
    let values = response.headers().get_all(header::SET_COOKIE).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn new_requests_are_split_by_weight_within_binomial_bounds() {
    let (v1, v2) = (App::named("v1").await, App::named("v2").await);
    let mut mesh = Mesh::new(vec![
        Version::new("v2", 2_500, &[v2.address]),
        Version::new("v1", 7_500, &[v1.address]),
    ]);
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    for _ in 0..2_000 {
        assert_eq!(client.get("/", &[]).await.status(), StatusCode::OK);
    }
    // 500 are expected; 99.99 % of draws lie within 3.9 standard deviations of 19.4.
    assert!((424..=576).contains(&v2.requests()), "{}", v2.requests());
    assert_eq!(v1.requests() + v2.requests(), 2_000);
    assert_eq!((v1.connections(), v2.connections()), (1, 1));
}

#[tokio::test]
async fn a_session_token_beats_every_weight() {
    let (v1, v2) = (App::named("v1").await, App::named("v2").await);
    let mut mesh = Mesh::new(vec![
        Version::new("v2", 10_000, &[v2.address]),
        Version::new("v1", 0, &[v1.address]),
    ]);
    mesh.affinity = true;
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    let first = client.get("/", &[]).await;
    assert_eq!(
        (text(&first), cookies(&first)),
        ("v2", vec!["s=v2.1; Path=/"])
    );
    let pinned = client
        .get("/", &[("cookie", "a=b"), ("cookie", "c=d; s=v1.1")])
        .await;
    assert_eq!((text(&pinned), cookies(&pinned)), ("v1", vec![]));
    let forged = client.get("/", &[("cookie", "s=v3.1")]).await;
    assert_eq!(text(&forged), "v2");

    let load = sidecar.load().await;
    let of = |version: &str, app: &App| {
        let name = format!("outbound|80|{version}|checkout.shop.svc.cluster.local");
        load.clusters[&*name][&app.address].clone()
    };
    let (one, two) = (of("v1", &v1), of("v2", &v2));
    assert_eq!((one.pinned_requests, one.new_sessions), (1, 0));
    assert_eq!((two.pinned_requests, two.new_sessions), (0, 2));
    assert_eq!((two.issued, two.succeeded, two.errors.total()), (2, 2, 0));
    assert_eq!(two.latency.counts.iter().sum::<u64>(), 2);
    assert_eq!(two.requests_active, 0);
}

#[tokio::test]
async fn a_hash_tells_the_version_and_a_missing_cookie_is_made_up() {
    let (v1, v2) = (App::named("v1").await, App::named("v2").await);
    let mut mesh = Mesh::new(vec![
        Version::new("v2", 5_000, &[v2.address]),
        Version::new("v1", 5_000, &[v1.address]),
    ]);
    mesh.hash = Some(HashSource::Header(HeaderName::from_static("x-user")));
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    // XXH64 modulo 10,000 is 2,249 and 8,064.
    for (user, version) in [("abc", "v2"), ("user-0", "v1")] {
        for _ in 0..20 {
            let answer = client.get("/", &[("x-user", user)]).await;
            assert_eq!(
                (text(&answer), cookies(&answer)),
                (version, vec![]),
                "{user}"
            );
        }
    }
    mesh.hash = Some(HashSource::Cookie {
        name: "user".into(),
        attributes: Some("; Path=/; HttpOnly".into()),
    });
    sidecar.apply(mesh.snapshot()).await;
    for _ in 0..20 {
        let first = client.get("/", &[]).await;
        let [cookie] = cookies(&first)[..] else {
            panic!("one cookie: {first:?}")
        };
        let pair = cookie.strip_suffix("; Path=/; HttpOnly").unwrap();
        let again = client.get("/", &[("cookie", pair)]).await;
        assert_eq!((text(&again), cookies(&again)), (text(&first), vec![]));
    }
    assert!(v1.requests() > 20 && v2.requests() > 20, "both were chosen");
}

#[tokio::test]
async fn a_failover_serves_from_the_other_version_and_says_so_in_its_token() {
    let (v1, v2) = (App::named("v1").await, App::named("v2").await);
    let mut new = Version::new("v2", 10_000, &[v2.address]).fallback("v1", v1.address);
    new.endpoints[0].2 = Health::Unhealthy;
    let mut mesh = Mesh::new(vec![new, Version::new("v1", 0, &[v1.address])]);
    mesh.affinity = true;
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    for headers in [&[][..], &[("cookie", "s=v2.1")]] {
        let answer = client.get("/", headers).await;
        assert_eq!(
            (text(&answer), cookies(&answer)),
            ("v1", vec!["s=v1.1; Path=/"])
        );
    }
}

#[tokio::test]
async fn an_unknown_host_is_asked_for_and_then_served() {
    let v1 = App::named("v1").await;
    let known = Mesh::single(v1.address).snapshot();
    let mut unknown = known.clone();
    unknown.outbound = Some(super::mesh::outbound(None).into());
    let mut sidecar = Sidecar::start(unknown);
    let mut client = sidecar.connect().await;
    let waiting = tokio::spawn(async move { client.get("/", &[("x", "y")]).await });
    let question = Question::VirtualHost {
        route_configuration: "80".into(),
        host: "checkout.shop".into(),
    };
    assert_eq!(sidecar.questions.recv().await, Some(question));
    sidecar.apply(known).await;
    assert_eq!(text(&waiting.await.unwrap()), "v1");
}

#[tokio::test]
async fn a_host_that_is_not_in_the_mesh_is_404_and_one_without_endpoints_503() {
    let mut mesh = Mesh::new(vec![Version::new("v1", 10_000, &[])]);
    let sidecar = Sidecar::start(mesh.snapshot());
    let answer = sidecar.get("/").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["server"], "segue");
    assert!(text(&answer).starts_with("no healthy endpoint in outbound|80|v1|"));
    let mut client = sidecar.connect().await;
    let other = client.get("/", &[]).await;
    assert_eq!(other.status(), StatusCode::SERVICE_UNAVAILABLE);
    let grpc = client
        .get("/", &[("content-type", "application/grpc")])
        .await;
    assert_eq!(grpc.status(), StatusCode::OK);
    assert_eq!(grpc.headers()["grpc-status"], "14");
    let absent = http::Request::get("/")
        .header("host", "a:81")
        .body(super::empty());
    let absent = client.send(absent.unwrap()).await;
    assert_eq!(absent.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn snapshots_may_change_in_the_midst_of_traffic() {
    let (v1, v2) = (App::named("v1").await, App::named("v2").await);
    let mut mesh = Mesh::new(vec![
        Version::new("v2", 0, &[v2.address]),
        Version::new("v1", 10_000, &[v1.address]),
    ]);
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = sidecar.connect().await;
        clients.push(tokio::spawn(async move {
            for _ in 0..100 {
                assert_eq!(client.get("/", &[]).await.status(), StatusCode::OK);
            }
        }));
    }
    for step in 0..50_u32 {
        let share = step * 200;
        mesh.versions[0].weight = share;
        mesh.versions[1].weight = 10_000 - share;
        let draining = step % 2 == 0;
        mesh.versions[1].endpoints[0].2 = if draining {
            Health::Draining
        } else {
            Health::Healthy
        };
        mesh.versions[1].endpoints.truncate(1);
        mesh.versions[1] = mesh.versions[1].clone().fallback("v2", v2.address);
        sidecar.apply(mesh.snapshot()).await;
    }
    mesh.versions = vec![Version::new("v2", 10_000, &[v2.address])];
    sidecar.apply(mesh.snapshot()).await;
    let before = v1.requests();
    assert_eq!(text(&sidecar.get("/").await), "v2");
    for client in clients {
        client.await.unwrap();
    }
    // Those under way when the last snapshot came, and no more.
    assert!(v1.requests() - before <= 8);
}
