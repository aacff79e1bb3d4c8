use super::{
    Sidecar,
    app::App,
    drain::gated,
    mesh::{Mesh, Version},
    text,
};
use crate::{
    model::{Breaker, Limits, Retries},
    upstream::Protocol,
};
use http::StatusCode;
use std::{num::NonZeroU32, sync::Arc};
use tokio::sync::Semaphore;

const fn breaker(max_requests: u32, max_retries: u32) -> Breaker {
    Breaker {
        number: NonZeroU32::MIN,
        limits: Limits {
            max_requests,
            max_retries: Retries::Fixed(max_retries),
        },
    }
}

#[tokio::test]
async fn a_cluster_that_has_as_many_requests_as_it_takes_gets_no_more_until_one_ends() {
    let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let app = gated(Protocol::Http1, &arrived, &gate).await;
    let mut mesh = Mesh::single(app.address);
    mesh.balancing.breaker = Some(breaker(1, 0));
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    let request = tokio::spawn(async move { client.get("/", &[]).await });
    arrived.acquire().await.unwrap().forget();

    let refused = sidecar.get("/").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["x-envoy-overloaded"], "true");
    assert!(text(&refused).contains("as many requests as it takes"));
    let grpc = [("content-type", "application/grpc")];
    let call = sidecar.connect().await.get("/", &grpc).await;
    assert_eq!(call.headers()["grpc-status"], "14");
    assert_eq!(call.headers()["x-envoy-overloaded"], "true");
    assert_eq!(app.requests(), 1);
    let load = sidecar.load().await;
    assert_eq!(load.refused.values().copied().collect::<Vec<_>>(), [2]);

    gate.add_permits(2);
    assert_eq!(request.await.unwrap().status(), StatusCode::OK);
    assert_eq!(sidecar.get("/").await.status(), StatusCode::OK);
    assert!(sidecar.load().await.refused.is_empty());
}

#[tokio::test]
async fn without_a_retry_left_a_failed_connect_is_the_answer() {
    let good = App::named("good").await;
    let gone = App::named("gone").await;
    let dead = gone.address;
    gone.stop().await;
    let version = Version::new("v1", 10_000, &[dead, good.address]);
    for (retries, expected) in [(0, 50), (1, 0)] {
        let mut mesh = Mesh::new(vec![version.clone()]);
        mesh.balancing.breaker = Some(breaker(100, retries));
        mesh.balancing.policy = crate::model::Policy::RoundRobin;
        let sidecar = Sidecar::start(mesh.snapshot());
        let mut client = sidecar.connect().await;
        let mut failed = 0;
        for _ in 0..100 {
            failed += u32::from(client.get("/", &[]).await.status() != StatusCode::OK);
        }
        assert_eq!(failed, expected, "{retries} retries");
        let refused = sidecar.load().await.refused;
        assert_eq!(refused.values().sum::<u64>(), u64::from(expected));
    }
}
