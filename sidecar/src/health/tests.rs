use super::{
    Message, Rounds, check,
    spec::{Check, CheckKind, Plan, plans},
};
use crate::xds::{Dialer, address};
use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{
                HealthCheck, HealthStatus,
                health_check::{HealthChecker, HttpHealthCheck, TcpHealthCheck},
            },
            endpoint::v3::Endpoint,
        },
        service::health::v3::{
            ClusterHealthCheck, HealthCheckSpecifier, LocalityEndpoints,
            health_check_request_or_endpoint_health_response::RequestType,
        },
    },
    google::protobuf::Duration as ProtoDuration,
};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::net::TcpListener;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn http(path: &str) -> Check {
    Check {
        kind: CheckKind::Http {
            host: String::new(),
            path: path.to_owned(),
            expected: std::iter::once(200..400).collect(),
        },
        timeout: Duration::from_secs(10),
        port: None,
    }
}

/// Answers 200 on /ready, else 500.
async fn application() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(serve(listener));
    address
}

async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let answer = service_fn(async |request: Request<Incoming>| {
            let status = if request.uri().path() == "/ready" {
                200
            } else {
                500
            };
            assert!(request.headers().contains_key("host"));
            Response::builder()
                .status(status)
                .body(Full::new(Bytes::new()))
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer),
        );
    }
}

/// `grpc.health.v1.Health` that answers with this serving status.
async fn grpc_application(status: u8) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(move |request: Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let message = [0, 0, 0, 0, 2, 8, status];
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                let body = Full::new(Bytes::copy_from_slice(&message))
                    .with_trailers(async { Some(Ok(trailers)) });
                Ok::<_, Infallible>(Response::new(body))
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), answer),
            );
        }
    });
    address
}

fn is_healthy(message: &Message) -> bool {
    let Some(RequestType::EndpointHealthResponse(said)) = &message.request_type else {
        panic!("not a result: {message:?}");
    };
    let endpoint = &said.cluster_endpoints_health[0].locality_endpoints_health[0];
    endpoint.endpoints_health[0].health_status() == HealthStatus::Healthy
}

#[tokio::test]
async fn an_application_that_comes_up_is_not_left_waiting_for_the_next_round() {
    let (listener, address) = listener().await;
    let plan = Plan {
        cluster: "inbound|80||".to_owned(),
        endpoints: vec![address],
        checks: vec![Check {
            timeout: Duration::from_millis(10),
            ..http("/ready")
        }],
        interval: Duration::from_secs(3600),
        unhealthy_interval: Duration::from_secs(3600),
    };
    let mut rounds = Rounds::new(plan, Dialer::new(None));
    assert!(!is_healthy(&rounds.next().await), "nobody accepts");
    tokio::spawn(serve(listener));
    rounds.plan.checks[0].timeout = Duration::from_secs(60);
    assert!(is_healthy(&rounds.next().await));
}

#[tokio::test]
async fn an_http_check_goes_by_the_status() {
    let address = application().await;
    let dialer = Dialer::new(None);
    assert_eq!(check::run(&http("/ready"), address, &dialer).await, Ok(()));
    let failure = check::run(&http("/else"), address, &dialer)
        .await
        .unwrap_err();
    assert!(failure.contains("500"), "{failure}");
}

#[tokio::test]
async fn a_check_of_a_closed_port_fails_and_says_where() {
    let (listener, address) = listener().await;
    drop(listener);
    let failure = check::run(&http("/"), address, &Dialer::new(None))
        .await
        .unwrap_err();
    assert!(failure.contains(&address.to_string()), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn an_application_that_does_not_answer_fails_after_the_timeout() {
    let (_listener, address) = listener().await;
    let failure = check::run(&http("/"), address, &Dialer::new(None))
        .await
        .unwrap_err();
    assert!(failure.contains("no answer within"), "{failure}");
}

#[tokio::test]
async fn a_tcp_check_needs_only_a_connection() {
    let (_listener, address) = listener().await;
    let check = Check {
        kind: CheckKind::Tcp,
        timeout: Duration::from_secs(10),
        port: Some(address.port()),
    };
    let elsewhere = SocketAddr::new(address.ip(), 1);
    assert_eq!(
        check::run(&check, elsewhere, &Dialer::new(None)).await,
        Ok(())
    );
}

#[tokio::test]
async fn a_grpc_check_goes_by_the_serving_status() {
    let check = Check {
        kind: CheckKind::Grpc {
            service: String::new(),
        },
        timeout: Duration::from_secs(10),
        port: None,
    };
    let dialer = Dialer::new(None);
    let serving = grpc_application(1).await;
    assert_eq!(check::run(&check, serving, &dialer).await, Ok(()));
    let not_serving = grpc_application(2).await;
    let failure = check::run(&check, not_serving, &dialer).await.unwrap_err();
    assert!(failure.contains('2'), "{failure}");
}

fn health_check(checker: Option<HealthChecker>, seconds: i64) -> HealthCheck {
    HealthCheck {
        interval: Some(ProtoDuration { seconds, nanos: 0 }),
        unhealthy_interval: Some(ProtoDuration {
            seconds: seconds - 1,
            nanos: 0,
        }),
        health_checker: checker,
        ..HealthCheck::default()
    }
}

#[test]
fn a_specifier_becomes_plans_and_what_cannot_be_done_is_named() {
    let endpoint = Endpoint {
        address: Some(address("10.0.0.1:8080".parse().unwrap())),
        ..Endpoint::default()
    };
    let cluster = |name: &str, checks: Vec<HealthCheck>| ClusterHealthCheck {
        cluster_name: name.to_owned(),
        health_checks: checks,
        locality_endpoints: vec![LocalityEndpoints {
            endpoints: vec![endpoint.clone()],
            ..LocalityEndpoints::default()
        }],
        ..ClusterHealthCheck::default()
    };
    let http = HealthChecker::HttpHealthCheck(HttpHealthCheck::default());
    let tcp = HealthChecker::TcpHealthCheck(TcpHealthCheck::default());
    let specifier = HealthCheckSpecifier {
        cluster_health_checks: vec![
            cluster(
                "inbound|8080||",
                vec![health_check(Some(http), 5), health_check(Some(tcp), 3)],
            ),
            cluster("bad", vec![health_check(None, 1)]),
        ],
        interval: None,
    };
    let (plans, refused) = plans(&specifier);
    assert_eq!(refused, ["bad: health_checker is missing"]);
    let [plan] = plans.as_slice() else {
        panic!("one plan");
    };
    assert_eq!(plan.interval, Duration::from_secs(3));
    assert_eq!(plan.unhealthy_interval, Duration::from_secs(2));
    assert_eq!(plan.endpoints, ["10.0.0.1:8080".parse().unwrap()]);
    assert_eq!(plan.checks.len(), 2);
}
