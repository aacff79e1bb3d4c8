use super::{Sidecar, app::App, mesh::Mesh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
