use super::{Sidecar, app::App, full, mesh::Mesh};
use http::Response;
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

async fn refused(requests: &[&str]) {
    let app = App::named("reached").await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    for request in requests {
        let answer = sidecar.raw(request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{request:?} gave {answer:?}"
        );
    }
    assert_eq!(app.requests(), 0);
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn two_lengths_are_refused() {
    refused(&[
        "POST / HTTP/1.1\r\nhost: checkout.shop\r\ncontent-length: 3\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: checkout.shop\r\ntransfer-encoding: chunked\r\n\
         Content-Length: 3\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: checkout.shop\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: checkout.shop\r\ncontent-length: -1\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn a_missing_or_repeated_host_is_refused() {
    refused(&[
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: checkout.shop\r\nhost: checkout.shop\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: checkout.shop/x\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    refused(&[
        "GET / HTTP/1.1\r\nhost checkout.shop\r\n\r\n",
        "GET / HTTP/9.9\r\nhost: checkout.shop\r\n\r\n",
        "HELLO\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: checkout.shop\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn a_conflict_in_a_later_request_is_seen_too() {
    let app = App::named("reached").await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut stream = tokio::net::TcpStream::connect(sidecar.address)
        .await
        .unwrap();
    let good = "POST / HTTP/1.1\r\nhost: checkout.shop\r\ncontent-length: 3\r\n\r\nabc";
    stream.write_all(good.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let mut length = 0;
    while !answer[..length].ends_with(b"reached") {
        length += stream.read(&mut answer[length..]).await.unwrap();
    }
    let bad = "POST / HTTP/1.1\r\nhost: checkout.shop\r\ncontent-length: 3\r\n\
               transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    stream.write_all(bad.as_bytes()).await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 400"), "{rest}");
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn a_coding_that_would_be_lost_is_not_implemented() {
    let app = App::named("reached").await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let request = "POST / HTTP/1.1\r\nhost: checkout.shop\r\n\
                   transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    let answer = sidecar.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn what_calls_itself_grpc_is_refused_all_the_same() {
    refused(&[
        "POST / HTTP/1.1\r\nhost: checkout.shop\r\ncontent-type: application/grpc\r\n\
         content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-type: application/grpc\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn a_conflict_in_a_request_sent_ahead_is_seen_too() {
    let bad = "POST / HTTP/1.1\r\nhost: checkout.shop\r\ncontent-length: 3\r\n\
               transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    for good in [
        "GET / HTTP/1.1\r\nhost: checkout.shop\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: checkout.shop\r\ncontent-length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: checkout.shop\r\ntransfer-encoding: chunked\r\n\r\n\
         3;x=y\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n",
    ] {
        let app = App::http1(|request| async {
            request.into_body().collect().await.unwrap();
            Response::new(full("reached"))
        })
        .await;
        let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
        let answer = sidecar.raw(format!("{good}{good}{bad}").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 400").count(), 1, "{answer}");
        assert_eq!(app.requests(), 2);
    }
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault_and_not_the_endpoints() {
    let arrived = Arc::new(Semaphore::new(0));
    let seen = Arc::clone(&arrived);
    let app = App::http1(move |request| {
        seen.add_permits(1);
        async {
            request.into_body().collect().await.ok();
            Response::new(full("done"))
        }
    })
    .await;
    let mut mesh = Mesh::single(app.address);
    mesh.fuse = Some(super::failure::fuse(1, 1));
    let sidecar = Sidecar::start(mesh.snapshot());
    let head = "POST / HTTP/1.1\r\nhost: checkout.shop\r\ntransfer-encoding: chunked\r\n\r\n";
    for bad in ["3\r\nabc\r\nZZ\r\n", "3\r\nabcd\r\n0\r\n\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(sidecar.address)
            .await
            .unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        arrived.acquire().await.unwrap().forget();
        stream.write_all(bad.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400"),
            "{bad:?} gave {answer:?}"
        );
    }
    // So is a client that goes away in the midst of its body.
    let mut stream = tokio::net::TcpStream::connect(sidecar.address)
        .await
        .unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    arrived.acquire().await.unwrap().forget();
    drop(stream);
    while !sidecar.connections().await.is_empty() {
        tokio::task::yield_now().await;
    }
    let load = sidecar.load().await;
    assert!(load.ejected.is_empty());
    let numbers = load.clusters.values().next().unwrap().values().next();
    assert_eq!(numbers.unwrap().errors.total(), 0);
}

/// What a client is told where the application answers its request with these bytes.
async fn told(answer: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            // The connection is left open: only the framing says where the answer ends.
            tokio::spawn(async move { stream.read_buf(&mut head).await });
        }
    });
    let sidecar = Sidecar::start(Mesh::single(address).snapshot());
    let request = "GET / HTTP/1.1\r\nhost: checkout.shop\r\nconnection: close\r\n\r\n";
    let told = sidecar.raw(request.as_bytes());
    tokio::time::timeout(super::LONG, told).await.unwrap()
}

#[tokio::test]
async fn an_application_that_answers_what_is_not_http_is_a_bad_gateway() {
    for bad in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\na: b\0c\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nabc",
        "hello\r\n\r\n",
    ] {
        let told = told(bad).await;
        assert!(told.starts_with("HTTP/1.1 502"), "{bad:?} gave {told:?}");
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_not_taken_for_a_part_of_it_or_for_the_next() {
    for odd in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\nsmuggled",
        "HTTP/1.1 204 No Content\r\n\r\nsmuggled",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 8\r\n\r\nsmuggled",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nsmuggled",
    ] {
        let told = told(odd).await;
        assert!(!told.contains("smuggled"), "{odd:?} gave {told:?}");
        assert!(!told.contains(" 502 "), "{odd:?} gave {told:?}");
    }
}
