//! HTTP/1 that can be read in two ways, or in none.

use super::mesh::{Mesh, get, post, rest};
use tokio::io::AsyncWriteExt as _;

/// Each is answered by one of these statuses, and the connection is closed.
async fn refused(mesh: &Mesh, requests: &[String], statuses: &[&str]) {
    for request in requests {
        let answer = mesh.raw(request.as_bytes()).await;
        let status = answer.get(9..12).unwrap_or_default();
        assert!(statuses.contains(&status), "{request:?} gave {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}");
    }
    mesh.is_well().await;
}

#[tokio::test]
async fn a_body_of_which_the_length_is_in_doubt_is_refused() {
    let mesh = Mesh::start(&[]).await;
    let chunked = "transfer-encoding: chunked\r\n";
    let requests = [
        post(&format!("content-length: 5\r\n{chunked}"), "0\r\n\r\n"),
        post(&format!("{chunked}content-length: 5\r\n"), "0\r\n\r\n"),
        post("content-length: 3\r\ncontent-length: 4\r\n", "abcd"),
        post("content-length: 3\r\ncontent-length: 3\r\n", "abc"),
        post("content-length: 3, 3\r\n", "abc"),
        post("content-length: +3\r\n", "abc"),
        post("content-length: 0x3\r\n", "abc"),
        post("content-length: -3\r\n", "abc"),
        post("content-length: 18446744073709551618\r\n", "abc"),
        post("content-length: 3 4\r\n", "abc"),
        post("content-length:\r\n", "abc"),
        post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
        post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
        post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        post(&chunked.replace("chunked", "\u{b}chunked"), "0\r\n\r\n"),
        post(&chunked.replace(':', " :"), "0\r\n\r\n"),
        post(chunked, "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
    ];
    refused(&mesh, &requests, &["400", "501"]).await;
}

#[tokio::test]
async fn a_head_that_is_not_http_is_refused() {
    let mesh = Mesh::start(&[]).await;
    let requests = [
        get("/", "a : b\r\n"),
        get("/", "a: b\r\n c\r\n"),
        get("/", "a: b\0c\r\n"),
        get("/", "a: b\rc\r\n"),
        get("/", "a: b\n"),
        get("/", "").replace("\r\n", "\n"),
        get("/", "a b\r\n"),
        get("/", "a(b): c\r\n"),
        get("/", ": c\r\n"),
        get("/a b", ""),
        get("/", "").replace("HTTP/1.1", "HTTP/9.9"),
        get("/", "").replace("HTTP/1.1", "HTTP/2.0"),
        get("/", "").replace(" HTTP/1.1", ""),
        get("/", "").replace("host:", "x:"),
        get("/", "host: other\r\n"),
        get("/", "").replace("host: ", "host: a@"),
        get("/", "").replace("host: ", "host: a "),
    ];
    refused(&mesh, &requests, &["400", "505"]).await;
}

#[tokio::test]
async fn chunks_that_are_not_are_refused() {
    let mesh = Mesh::start(&[]).await;
    for chunks in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
    ] {
        let request = post("transfer-encoding: chunked\r\n", chunks);
        let answer = mesh.raw(request.as_bytes()).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{chunks:?}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{chunks:?}");
    }
    mesh.is_well().await;
}

#[tokio::test]
async fn what_belongs_to_one_connection_stays_there_and_the_rest_is_passed() {
    let mesh = Mesh::start(&[]).await;
    let lines = "connection: close, x-mine, host\r\nx-mine: 1\r\nkeep-alive: timeout=9\r\n\
        proxy-connection: keep-alive\r\nte: gzip\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-\
        b7ad6b7169203331-01\r\nx-request-id: mine\r\nx-forwarded-for: 1.2.3.4\r\n";
    let answer = mesh.raw(get("/", lines).as_bytes()).await;
    for gone in ["x-mine", "keep-alive\"", "proxy-connection", "\"te\""] {
        assert!(!answer.contains(gone), "{gone}: {answer}");
    }
    for passed in [
        "\"host\": \"checkout.shop\"",
        "\"traceparent\": \"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"",
        "\"x-request-id\": \"mine\"",
        "\"x-forwarded-for\": \"1.2.3.4\"",
    ] {
        assert!(answer.contains(passed), "{passed}: {answer}");
    }
    let answer = mesh.get().await;
    assert!(answer.contains("\"x-request-id\": \""), "{answer}");
    assert!(!answer.contains("traceparent"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_told_to_go_on() {
    let mesh = Mesh::start(&[]).await;
    let mut stream = mesh.connect().await;
    let head = post(
        "expect: 100-continue\r\ncontent-length: 3\r\nconnection: close\r\n",
        "",
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut told = vec![0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut told)
        .await
        .unwrap();
    assert!(told.starts_with(b"HTTP/1.1 100"), "{told:?}");
    stream.write_all(b"abc").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
}
