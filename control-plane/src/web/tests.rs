//! Against real sockets.

use super::{AskError, Client, form};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const LONG: Duration = Duration::from_secs(20);

/// A server that answers each connection's first request with these bytes, then holds it open.
async fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(read > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
            held.push(stream);
        }
    });
    format!("http://{address}/secret")
}

fn get(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).body(Full::default()).unwrap()
}

#[tokio::test]
async fn an_answer_is_read_whole() {
    let url = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let answer = Client::new().unwrap().send(get(&url), LONG, 2).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"ok"[..]));
}

#[tokio::test]
async fn a_long_answer_is_refused_and_a_redirect_is_an_answer() {
    let client = Client::new().unwrap();
    let url = answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes").await;
    let answer = client.send(get(&url), LONG, 2).await;
    assert_eq!(answer.unwrap_err(), AskError::TooLong(2));
    let url = answering("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await;
    let answer = client.send(get(&url), LONG, 2).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up() {
    let url = answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nslow").await;
    let within = Duration::from_millis(50);
    let answer = Client::new().unwrap().send(get(&url), within, 9).await;
    assert_eq!(answer.unwrap_err(), AskError::TimedOut(within));
}

#[tokio::test]
async fn nobody_there_is_said_with_its_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let answer = Client::new().unwrap().send(get(&url), LONG, 9).await;
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

#[test]
fn forms_are_encoded() {
    let body = form(&[("query", "rate(x{a=\"b c\"}[1m]) + 1"), ("t", "é&")]);
    assert_eq!(
        body,
        "query=rate%28x%7Ba%3D%22b%20c%22%7D%5B1m%5D%29%20%2B%201&t=%C3%A9%26"
    );
}
