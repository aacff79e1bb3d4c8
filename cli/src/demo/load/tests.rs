//! The generator against a small server of its own.

use super::{
    Channel, Event, Report, Settings, pace,
    report::Kind,
    stream,
    tally::{Shared, Tally},
    target::Target,
    tcp,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::LocalSet,
};
use tokio_stream::wrappers::ReceiverStream;

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn text(status: u16, version: &str) -> Answer {
    Response::builder()
        .status(status)
        .header("x-lab-version", version)
        .header("set-cookie", format!("seen={version}; Path=/"))
        .body(http_body_util::Full::new(Bytes::from_static(b"hello")).boxed())
        .unwrap()
}

/// Sends the request's body back, then trailers.
fn echo(request: Request<Incoming>, version: &str) -> Answer {
    let (frames, body) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            frames.send(Ok(frame)).await.ok();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        frames.send(Ok(Frame::trailers(trailers))).await.ok();
    });
    Response::builder()
        .header("x-lab-version", version)
        .body(BodyExt::boxed(StreamBody::new(ReceiverStream::new(body))))
        .unwrap()
}

async fn serve_http(stream: TcpStream, status: u16, version: &'static str) {
    let mut first = [0; 3];
    stream.peek(&mut first).await.unwrap();
    let service = service_fn(move |request: Request<Incoming>| async move {
        Ok::<_, Infallible>(if request.uri().path() == "/stream" {
            echo(request, version)
        } else {
            text(status, version)
        })
    });
    let io = TokioIo::new(stream);
    if first == *b"PRI" {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await
            .ok();
    } else {
        hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await
            .ok();
    }
}

/// A server whose version the test can change; the port and the tasks live as long as the set.
async fn http_server(status: u16, version: Rc<Cell<&'static str>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(serve_http(stream, status, version.get()));
        }
    });
    address
}

async fn tcp_server(cut: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                stream.write_all(b"v1 checkout-v1-0\n").await.unwrap();
                let mut buffer = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if cut {
                        return;
                    }
                    stream.write_all(&buffer[..read]).await.unwrap();
                }
            });
        }
    });
    address
}

fn target(http: SocketAddr, tcp: SocketAddr) -> Rc<Target> {
    Rc::new(Target {
        host: "checkout.shop".into(),
        http,
        tcp,
        proxy: None,
        client: "web".into(),
        timeout: Duration::from_secs(2),
    })
}

const SETTINGS: Settings = Settings {
    rate: 500,
    sessions: 20,
    new_sessions: 50,
    timeout: 2,
    seed: 7,
};

/// Runs `work` until the tally satisfies `enough`, then stops it and waits for its end.
async fn until<F: Future<Output = ()> + 'static>(
    tally: &Shared,
    work: impl FnOnce(watch::Receiver<bool>) -> F,
    enough: impl Fn(&Report) -> bool,
) -> Report {
    let (stop, stopped) = watch::channel(false);
    let work = tokio::task::spawn_local(work(stopped));
    let mut all = Report::default();
    while !enough(&all) {
        tokio::task::yield_now().await;
        let newer = tally.borrow_mut().take(false);
        let mut events = std::mem::take(&mut all.events);
        events.extend(newer.events.iter().cloned());
        all = Report { events, ..newer };
    }
    stop.send_replace(true);
    work.await.unwrap();
    all
}

fn shared() -> Shared {
    Rc::new(RefCell::new(Tally::default()))
}

fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn sessions_notice_that_another_version_answers() {
    local(async {
        let version = Rc::new(Cell::new("v1"));
        let http = http_server(200, Rc::clone(&version)).await;
        let (target, tally) = (target(http, http), shared());
        let pacer = pace::Pacer::new(SETTINGS, target, Rc::clone(&tally));
        let report = until(
            &tally,
            |stop| pacer.run(stop),
            |report| {
                if report.sent > 200 {
                    version.set("v2");
                }
                !report.events.is_empty()
            },
        )
        .await;
        assert!(matches!(
            &report.events[0],
            Event::Moved { from, to, .. } if from == "v1" && to == "v2"
        ));
        assert_eq!(report.failed, 0);
        assert!(report.sessions_begun >= 20);
    });
}

#[test]
fn a_bad_answer_is_a_failure_of_the_version_that_gave_it() {
    local(async {
        let http = http_server(503, Rc::new(Cell::new("v2"))).await;
        let (target, tally) = (target(http, http), shared());
        let pacer = pace::Pacer::new(SETTINGS, target, Rc::clone(&tally));
        let report = until(&tally, |stop| pacer.run(stop), |report| report.failed > 0).await;
        assert!(matches!(
            &report.events[0],
            Event::Failed { version: Some(version), kind: Kind::ServerError, request, detail, .. }
                if version == "v2" && request.starts_with("web-") && detail.ends_with(": hello")
        ));
        assert!(report.answered.is_empty());
    });
}

#[test]
fn a_refused_connection_is_a_failure_of_nobody_known() {
    local(async {
        let gone = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let (target, tally) = (target(gone, gone), shared());
        let pacer = pace::Pacer::new(SETTINGS, target, Rc::clone(&tally));
        let report = until(&tally, |stop| pacer.run(stop), |report| report.failed > 0).await;
        assert!(matches!(
            &report.events[0],
            Event::Failed {
                version: None,
                kind: Kind::Refused,
                ..
            }
        ));
    });
}

#[test]
fn streams_end_in_order_when_stopped() {
    local(async {
        let http = http_server(200, Rc::new(Cell::new("v1"))).await;
        let (target, tally) = (target(http, http), shared());
        let work = Rc::clone(&tally);
        until(
            &tally,
            |stop| {
                stream::run(
                    target,
                    Rc::default(),
                    work,
                    fastrand::Rng::with_seed(1),
                    stop,
                )
            },
            |report| report.streams.alive.get("v1") == Some(&1),
        )
        .await;
        let report = tally.borrow_mut().take(true);
        assert_eq!((report.streams.opened, report.streams.ended), (1, 1));
        assert_eq!(report.streams.cut, 0, "{:?}", report.events);
    });
}

#[test]
fn tcp_connections_end_in_order_when_stopped() {
    local(async {
        let tcp = tcp_server(false).await;
        let (target, tally) = (target(tcp, tcp), shared());
        let work = Rc::clone(&tally);
        until(
            &tally,
            |stop| tcp::run(target, work, fastrand::Rng::with_seed(1), stop),
            |report| report.tcp.alive.get("v1") == Some(&1),
        )
        .await;
        let report = tally.borrow_mut().take(true);
        assert_eq!((report.tcp.opened, report.tcp.ended), (1, 1));
    });
}

#[test]
fn a_tcp_connection_that_the_server_closes_is_cut() {
    local(async {
        let tcp = tcp_server(true).await;
        let (target, tally) = (target(tcp, tcp), shared());
        let work = Rc::clone(&tally);
        let report = until(
            &tally,
            |stop| tcp::run(target, work, fastrand::Rng::with_seed(1), stop),
            |report| report.tcp.cut > 0,
        )
        .await;
        assert!(matches!(
            &report.events[0],
            Event::Cut { channel: Channel::Tcp, version: Some(version), .. } if version == "v1"
        ));
    });
}
