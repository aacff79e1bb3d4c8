//! HTTP/2 frames that cost the sidecar and bring nothing, and frames that do not end.

use super::mesh::{LONG, Mesh};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Bytes, Frame};
use std::{convert::Infallible, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET http://checkout.shop/`: indexed fields, and `:authority` as a literal without indexing.
const GET: &[u8] = b"\x82\x86\x84\x01\x0dcheckout.shop";
const CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)
}

/// Preface and settings said, then this; what the sidecar said until it closed.
async fn offend(mesh: &Mesh, bytes: &[u8]) -> Vec<u8> {
    let stream = mesh.connect().await;
    let all = [PREFACE, &frame(SETTINGS, 0, 0, &[]), bytes].concat();
    write(stream, &all).await
}

/// Reads while it writes, as an offender that means it does; then until the sidecar closes.
async fn write(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = stream.split();
    let mut said = Vec::new();
    let both = async {
        tokio::join!(async { writer.write_all(bytes).await.ok() }, async {
            reader.read_to_end(&mut said).await.ok()
        },)
    };
    timeout(LONG, both)
        .await
        .expect("the sidecar ends the connection");
    said
}

/// The error of the GOAWAY, where there is one.
fn goaway(mut said: &[u8]) -> Option<u32> {
    while let Some((head, rest)) = said.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if head[3] == 7 {
            return Some(u32::from_be_bytes(rest[4..8].try_into().unwrap()));
        }
        said = rest.get(length..)?;
    }
    None
}

#[tokio::test]
async fn frames_that_bring_nothing_end_the_connection() {
    let mesh = Mesh::start(&[]).await;
    let open = frame(HEADERS, END_HEADERS, 1, &[&[0x83], &GET[1..]].concat());
    let floods: [(&str, Vec<u8>, Vec<u8>); 7] = [
        ("PING", Vec::new(), frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", Vec::new(), frame(SETTINGS, 0, 0, &[])),
        ("SETTINGS ACK", Vec::new(), frame(PING, 1, 0, &[0; 8])),
        (
            "PRIORITY",
            Vec::new(),
            frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 1]),
        ),
        (
            "WINDOW_UPDATE",
            Vec::new(),
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
        ("empty DATA", open, frame(DATA, 0, 1, &[])),
        ("unknown", Vec::new(), frame(0x42, 0, 0, &[])),
    ];
    for (name, before, one) in floods {
        let said = offend(&mesh, &[before, one.repeat(40_000)].concat()).await;
        assert!(!said.is_empty(), "{name}");
        mesh.is_well().await;
    }
}

#[tokio::test]
async fn streams_that_are_reset_as_they_begin_end_the_connection() {
    let mesh = Mesh::start(&[]).await;
    let cancelled: Vec<u8> = (0..20_000)
        .flat_map(|number| {
            let stream = number * 2 + 1;
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [get(stream), reset].concat()
        })
        .collect();
    assert_eq!(goaway(&offend(&mesh, &cancelled).await), Some(CALM));
    mesh.is_well().await;
    // The sidecar is made to reset them: an update by nothing is the stream's error.
    let made: Vec<u8> = (0..20_000)
        .flat_map(|number| {
            let stream = number * 2 + 1;
            let nothing = frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
            [get(stream), nothing].concat()
        })
        .collect();
    assert!(goaway(&offend(&mesh, &made).await).is_some());
    mesh.is_well().await;
}

#[tokio::test]
async fn header_blocks_without_end_and_bombs_end_the_connection() {
    let mesh = Mesh::start(&[]).await;
    let open = frame(HEADERS, 0, 1, GET);
    let empty = frame(CONTINUATION, 0, 1, &[]).repeat(100_000);
    let said = offend(&mesh, &[open.clone(), empty].concat()).await;
    assert_eq!(goaway(&said), Some(CALM));
    // Each field, 4 KiB, is one byte: the newest entry of the table.
    let value = [&b"\x40\x01x\x7f\xa1\x1e"[..], &[b'a'; 4_000]].concat();
    let first = frame(CONTINUATION, 0, 1, &value);
    let bomb = frame(CONTINUATION, 0, 1, &[0xbe; 16_000]).repeat(100);
    let said = offend(&mesh, &[open.clone(), first, bomb].concat()).await;
    assert!(goaway(&said).is_some());
    let too_long = frame(HEADERS, END_HEADERS, 1, &vec![0; 100_000]);
    assert_eq!(goaway(&offend(&mesh, &too_long).await), Some(6));
    mesh.is_well().await;
}

#[tokio::test]
async fn what_does_not_end_is_cut_in_time() {
    let mesh = Mesh::start(&[
        "--request-head-timeout",
        "300ms",
        "--stream-idle-timeout",
        "1s",
    ])
    .await;
    let ping = frame(PING, 0, 0, &[0; 8]);
    for bytes in [
        frame(HEADERS, 0, 1, GET),
        get(1)[..12].to_vec(),
        ping[..5].to_vec(),
    ] {
        offend(&mesh, &bytes).await;
    }
    write(mesh.connect().await, PREFACE).await;
    write(mesh.connect().await, &PREFACE[..10]).await;
    // A DATA frame of which the rest does not come.
    let post = frame(HEADERS, END_HEADERS, 1, &[&[0x83], &GET[1..]].concat());
    let part = frame(DATA, 0, 1, &[b'x'; 100])[..50].to_vec();
    offend(&mesh, &[post, part].concat()).await;
    mesh.is_well().await;
}

#[tokio::test]
async fn a_body_that_was_announced_and_does_not_come_is_408_and_the_connection_goes_on() {
    let mesh = Mesh::start(&["--stream-idle-timeout", "1s"]).await;
    let stream = mesh.connect().await;
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let handshake = hyper::client::conn::http2::handshake(executor, io);
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let never = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request = hyper::Request::post("http://checkout.shop/").header("content-length", 1000);
    let sent = sender.send_request(request.body(never.boxed()).unwrap());
    let answer = timeout(LONG, sent).await.expect("it is answered");
    assert_eq!(answer.unwrap().status(), 408);
    let request = hyper::Request::get("http://checkout.shop/");
    let sent = sender.send_request(request.body(Empty::new().boxed()).unwrap());
    let answer = timeout(LONG, sent).await.expect("it is answered");
    assert_eq!(answer.unwrap().status(), 200);
    mesh.is_well().await;
}

#[tokio::test]
async fn windows_that_stay_shut_hold_little_and_are_cut() {
    let mesh = Mesh::start(&["--stream-idle-timeout", "1s"]).await;
    let big = [&b"\x82\x86\x04\x04/big"[..], &GET[3..]].concat();
    let requests: Vec<u8> = (0..200)
        .flat_map(|number| frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &big))
        .collect();
    for window in [0_u32, 1] {
        let settings = [&4_u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
        let all = [PREFACE, &frame(SETTINGS, 0, 0, &settings), &requests].concat();
        let mut stream = mesh.connect().await;
        stream.write_all(&all).await.unwrap();
        sleep(Duration::from_millis(500)).await;
        mesh.is_well().await;
        let mut said = Vec::new();
        timeout(LONG, stream.read_to_end(&mut said))
            .await
            .expect("it is cut")
            .ok();
        mesh.is_well().await;
    }
}
