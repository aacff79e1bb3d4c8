//! The fuse, without any word from the control plane: how many requests reach a version that fails.

use super::{
    Body, Client, Sidecar,
    app::App,
    failure::fuse,
    full,
    mesh::{Mesh, Version},
    text,
};
use crate::model::Snapshot;
use http::{Response, StatusCode, header};
use std::{sync::Arc, time::Instant};
use tokio::sync::Semaphore;

fn failing() -> Response<Body> {
    let mut response = Response::new(full("bad"));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// Everything goes to v2, for which v1 steps in.
fn mesh(new: &[std::net::SocketAddr], old: &App) -> Mesh {
    let version = Version::new("v2", 10_000, new).fallback("v1", old.address);
    let mut mesh = Mesh::new(vec![version, Version::new("v1", 0, &[old.address])]);
    mesh.fuse = Some(fuse(3, 3));
    mesh
}

/// One sidecar of four workers: they share what is known of endpoints.
fn four_workers(snapshot: &Snapshot) -> Vec<Sidecar> {
    let started = Instant::now();
    let start = || Sidecar::start_with(snapshot.clone(), |settings| settings.started = started);
    (0..4).map(|_| start()).collect()
}

#[tokio::test]
async fn of_all_workers_together_three_requests_reach_an_endpoint_that_fails() {
    let (bad, other) = (
        App::http1(|_| async { failing() }).await,
        App::http1(|_| async { failing() }).await,
    );
    let old = App::named("v1").await;
    let workers = four_workers(&mesh(&[bad.address, other.address], &old).snapshot());
    let mut failed = 0;
    // Every request comes by a connection of its own, to one worker after the other.
    for round in 0..100 {
        let answer = workers[round % 4].get("/").await;
        failed += usize::from(answer.status() == StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!((bad.requests(), other.requests()), (3, 3));
    assert_eq!((failed, old.requests()), (6, 94));
}

#[tokio::test]
async fn an_endpoint_that_was_good_gets_three_more_once_it_fails() {
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_healthy = Arc::clone(&healthy);
    let new = App::http1(move |_| {
        let good = is_healthy.load(std::sync::atomic::Ordering::SeqCst);
        async move {
            if good {
                Response::new(full("v2"))
            } else {
                failing()
            }
        }
    })
    .await;
    let old = App::named("v1").await;
    let workers = four_workers(&mesh(&[new.address], &old).snapshot());
    for round in 0..20 {
        assert_eq!(text(&workers[round % 4].get("/").await), "v2");
    }
    healthy.store(false, std::sync::atomic::Ordering::SeqCst);
    for round in 0..20 {
        workers[round % 4].get("/").await;
    }
    assert_eq!((new.requests(), old.requests()), (23, 17));
}

#[tokio::test]
async fn an_endpoint_that_never_answered_well_gets_three_though_many_come_at_once() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let bad = App::http1(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            failing()
        }
    })
    .await;
    let old = App::named("v1").await;
    let workers = four_workers(&mesh(&[bad.address], &old).snapshot());
    let mut waiting = Vec::new();
    for round in 0..40 {
        let address = workers[round % 4].address;
        waiting.push(tokio::spawn(async move {
            Client::connect(address).await.get("/", &[]).await.status()
        }));
    }
    while bad.requests() + old.requests() < 40 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(40);
    let mut failed = 0;
    for answer in waiting {
        failed += usize::from(answer.await.unwrap() == StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!((failed, bad.requests(), old.requests()), (3, 3, 37));
    assert_eq!(workers[0].load().await.ejected.len(), 1);
}

#[tokio::test]
async fn a_request_whose_client_goes_away_is_no_proof_of_anything() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let new = App::http1(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(full("v2"))
        }
    })
    .await;
    let old = App::named("v1").await;
    let sidecar = Sidecar::start(mesh(&[new.address], &old).snapshot());
    for already in 0..10 {
        let mut client = sidecar.connect().await;
        let asked = tokio::spawn(async move { client.get("/", &[]).await });
        while new.requests() == already {
            tokio::task::yield_now().await;
        }
        asked.abort();
        while !sidecar.connections().await.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    gate.add_permits(1);
    assert_eq!(text(&sidecar.get("/").await), "v2");
    assert_eq!(old.requests(), 0);
}

#[tokio::test]
async fn a_pinned_session_stays_though_its_endpoint_has_not_answered_yet() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let new = App::http1(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(full("v2"))
        }
    })
    .await;
    let old = App::named("v1").await;
    let mut mesh = mesh(&[new.address], &old);
    mesh.affinity = true;
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut client = sidecar.connect().await;
        waiting.push(tokio::spawn(async move {
            client.get("/", &[("cookie", "s=v2.1")]).await
        }));
    }
    while new.requests() < 8 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(8);
    for answer in waiting {
        assert_eq!(text(&answer.await.unwrap()), "v2");
    }
    assert_eq!(old.requests(), 0);
}

#[tokio::test]
async fn sessions_of_a_version_whose_fuse_has_blown_go_over_to_the_old_one_for_good() {
    let (bad, other) = (
        App::http1(|_| async { failing() }).await,
        App::http1(|_| async { failing() }).await,
    );
    let old = App::named("v1").await;
    let mut mesh = mesh(&[bad.address, other.address], &old);
    mesh.affinity = true;
    let workers = four_workers(&mesh.snapshot());
    let mut failed = 0;
    for round in 0..40 {
        // A client of one session, which keeps what it is given.
        let mut client = workers[round % 4].connect().await;
        let answer = client.get("/", &[("cookie", "s=v2.1")]).await;
        if answer.status() == StatusCode::INTERNAL_SERVER_ERROR {
            failed += 1;
            continue;
        }
        assert_eq!(text(&answer), "v1");
        assert_eq!(answer.headers()[header::SET_COOKIE], "s=v1.1; Path=/");
        let next = client.get("/", &[("cookie", "s=v1.1")]).await;
        assert_eq!(text(&next), "v1");
        assert_eq!(next.headers().get(header::SET_COOKIE), None);
    }
    assert_eq!((failed, bad.requests(), other.requests()), (6, 3, 3));
}
