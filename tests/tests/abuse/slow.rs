//! Peers that begin something and do not go on.

use super::mesh::{LONG, Mesh, get, post, rest};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

const QUICK: [&str; 4] = [
    "--request-head-timeout",
    "300ms",
    "--stream-idle-timeout",
    "1s",
];

/// Sends one byte after the other, slowly, until the sidecar ends it; its answer.
async fn trickle(stream: &mut TcpStream, byte: u8) -> String {
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        while writer.write_all(&[byte]).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let read = async {
        reader.read_to_end(&mut answer).await.ok();
    };
    let both = async {
        tokio::select! { () = write => {}, () = read => {} }
    };
    timeout(LONG, both).await.expect("it ends");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let mesh = Mesh::start(&QUICK).await;
    for begun in [
        "G",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: checkout.shop\r\nx: ",
    ] {
        let mut stream = mesh.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
    }
    let mut stream = mesh.connect().await;
    stream
        .write_all(get("/", "").trim_end().as_bytes())
        .await
        .unwrap();
    trickle(&mut stream, b'x').await;
    mesh.is_well().await;
}

#[tokio::test]
async fn five_hundred_slow_heads_at_once_keep_nobody_from_being_served() {
    let mesh = Mesh::start(&QUICK).await;
    let mut slow = Vec::new();
    for _ in 0..500 {
        let mut stream = mesh.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        slow.push(stream);
    }
    mesh.is_well().await;
    for stream in &mut slow {
        rest(stream).await;
    }
    mesh.is_well().await;
}

#[tokio::test]
async fn a_body_that_was_announced_and_does_not_come_is_408() {
    let mesh = Mesh::start(&QUICK).await;
    for request in [
        post("content-length: 1000\r\n", ""),
        post("content-length: 1000\r\n", "abc"),
        post("transfer-encoding: chunked\r\n", "100\r\nabc"),
        post("transfer-encoding: chunked\r\n", "3\r\nabc\r\n1"),
    ] {
        let answer = mesh.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{request:?}: {answer}");
    }
    let mut stream = mesh.connect().await;
    let head = post("content-length: 100000\r\n", "");
    stream.write_all(head.as_bytes()).await.unwrap();
    trickle(&mut stream, b'x').await;
    mesh.is_well().await;
}

#[tokio::test]
async fn a_stream_that_is_merely_quiet_goes_on() {
    let mesh = Mesh::start(&QUICK).await;
    let mut stream = mesh.connect().await;
    let begun = post(
        "transfer-encoding: chunked\r\nconnection: close\r\n",
        "3\r\nabc\r\n",
    );
    stream.write_all(begun.as_bytes()).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
    // So does a tunnel, whatever of it looks like the beginning of a head.
    let mut stream = mesh.connect().await;
    let connect = "CONNECT checkout.shop:80 HTTP/1.1\r\nhost: checkout.shop:80\r\n\r\n";
    stream.write_all(connect.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let request = get("/", "connection: close\r\n");
    let (one, other) = request.split_at(20);
    stream.write_all(one.as_bytes()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    stream.write_all(other.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.contains("HTTP/1.1 200"));
}

#[tokio::test]
async fn answers_that_nobody_reads_are_cut_and_do_not_pile_up() {
    let mesh = Mesh::start(&QUICK).await;
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut stream = mesh.connect().await;
        stream.write_all(get("/big", "").as_bytes()).await.unwrap();
        deaf.push(stream);
    }
    mesh.is_well().await;
    let gone = async {
        while mesh.metric("segue_downstream_connections_active").await > 0 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, gone).await.expect("they are cut");
    mesh.is_well().await;
}
