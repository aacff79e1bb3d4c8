//! gRPC: the four kinds, status, metadata, deadlines, cancellation, large messages, and a client that speaks HTTP/1.
//!
//! Source of the cases: gRPC's interop test descriptions (grpc/doc/interop-test-descriptions.md).

mod client;
mod raw;
pub(crate) mod server;

use super::cases::{Case, case};
use client::Client;
use std::time::Duration;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, metadata::MetadataValue};

/// A message that is past every window on the way.
const LARGE: usize = 8 << 20;
const POLL: Duration = Duration::from_millis(20);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("grpc-unary", |_| unary()),
        case("grpc-empty", |_| empty()),
        case("grpc-large-unary", |_| large()),
        case("grpc-client-streaming", |_| client_streaming()),
        case("grpc-server-streaming", |_| server_streaming()),
        case("grpc-ping-pong", |_| ping_pong()),
        case("grpc-metadata", |_| metadata()),
        case("grpc-status", |_| status()),
        case("grpc-status-after-messages", |_| late_status()),
        case("grpc-unimplemented", |_| unimplemented()),
        case("grpc-many-at-once", |_| many()),
        case("grpc-deadline-is-passed-on", |_| deadline()),
        case("grpc-timeout-ends-the-call", |_| timed_out()),
        case("grpc-cancel-after-begin", |_| cancel_after_begin()),
        case("grpc-cancel-after-first-response", |_| cancel_later()),
        case("grpc-slow-reader-slows-the-writer", |_| slow_reader()),
        case("grpc-trailers-only", |_| raw::trailers_only()),
        case("grpc-compression-is-passed-on", |_| raw::compressed()),
        case("grpc-nobody-serves-it", |_| raw::nobody()),
        case("grpc-over-http1", |_| raw::over_http1()),
        case("http1-to-http2", |_| raw::http1_to_http2()),
    ]
}

/// Bytes that are not all alike.
fn message(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

async fn unary() {
    let mut client = Client::connect().await;
    for length in [1, 100, 16 << 10, 70_000] {
        let sent = message(length);
        let got = client.unary("Echo", Request::new(sent.clone())).await;
        assert!(got.unwrap().into_inner() == sent, "{length}");
    }
}

async fn empty() {
    let mut client = Client::connect().await;
    let got = client.unary("Echo", Request::new(Vec::new())).await;
    assert!(got.unwrap().into_inner().is_empty());
}

async fn large() {
    let mut client = Client::connect().await;
    let sent = message(LARGE);
    let got = client.unary("Echo", Request::new(sent.clone())).await;
    assert!(got.unwrap().into_inner() == sent);
}

async fn client_streaming() {
    let mut client = Client::connect().await;
    let lengths = [27_182, 8, 1_828, 45_904, LARGE];
    let messages = tokio_stream::iter(lengths.map(message));
    let got = client.client_streaming("Sum", messages).await.unwrap();
    let sum: usize = lengths.iter().sum();
    assert_eq!(got, sum.to_string().into_bytes());
}

async fn server_streaming() {
    let mut client = Client::connect().await;
    let ask = Request::new(b"200 40000".to_vec());
    let answers = client.server_streaming("Count", ask).await.unwrap();
    let answers: Vec<_> = answers.into_inner().collect().await;
    assert_eq!(answers.len(), 200);
    assert!(answers.into_iter().all(|one| one.unwrap().len() == 40_000));
}

async fn ping_pong() {
    let mut client = Client::connect().await;
    let (send, messages) = client::channel();
    let mut answers = client.streaming("Echo", messages).await.unwrap();
    for length in [27_182, 8, 0, 1_828, 45_904, 1 << 20] {
        let sent = message(length);
        send.send(sent.clone()).unwrap();
        let got = answers.message().await.unwrap().unwrap();
        assert!(got == sent, "{length}");
    }
    // The half-close passes, and so does the end.
    drop(send);
    assert!(answers.message().await.unwrap().is_none());
}

async fn metadata() {
    let mut client = Client::connect().await;
    let mut ask = Request::new(b"a".to_vec());
    let text = "a value, with comma";
    let binary = MetadataValue::from_bytes(&[0, 1, 254, 255]);
    ask.metadata_mut().insert("x-ask", text.parse().unwrap());
    ask.metadata_mut().append("x-ask", "again".parse().unwrap());
    ask.metadata_mut().insert_bin("x-ask-bin", binary.clone());
    let got = client.unary("Echo", ask).await.unwrap();
    let all: Vec<_> = got.metadata().get_all("x-ask").iter().collect();
    assert_eq!(all, [text, "again"]);
    assert_eq!(got.metadata().get_bin("x-ask-bin"), Some(&binary));
    // And in trailers, which here come alone.
    let mut ask = Request::new(b"3".to_vec());
    ask.metadata_mut().insert_bin("x-ask-bin", binary.clone());
    let status = client.unary("Fail", ask).await.unwrap_err();
    assert_eq!(status.metadata().get_bin("x-ask-bin"), Some(&binary));
}

async fn status() {
    let mut client = Client::connect().await;
    for code in 1..=16 {
        let ask = Request::new(code.to_string().into_bytes());
        let status = client.unary("Fail", ask).await.unwrap_err();
        assert_eq!(status.code(), Code::from_i32(code));
        assert_eq!(status.message(), server::MESSAGE);
        assert_eq!(status.details(), server::DETAILS);
    }
}

async fn late_status() {
    let mut client = Client::connect().await;
    let ask = Request::new(b"10".to_vec());
    let answers = client.server_streaming("FailLate", ask).await.unwrap();
    let answers: Vec<_> = answers.into_inner().collect().await;
    let [Ok(first), Err(status)] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    assert_eq!(first, b"10");
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(status.message(), server::MESSAGE);
}

async fn unimplemented() {
    let mut client = Client::connect().await;
    let got = client.unary("NoSuchMethod", Request::new(Vec::new())).await;
    assert_eq!(got.unwrap_err().code(), Code::Unimplemented);
}

async fn many() {
    let client = Client::connect().await;
    let calls = (0..300).map(|number| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let sent = message(1_000 + number);
            let got = client.unary("Echo", Request::new(sent.clone())).await;
            assert!(got.unwrap().into_inner() == sent);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

async fn deadline() {
    let mut client = Client::connect().await;
    let mut ask = Request::new(Vec::new());
    ask.set_timeout(Duration::from_secs(77));
    let got = client.unary("Deadline", ask).await.unwrap();
    let asked = got.into_inner();
    assert_eq!(String::from_utf8(asked).unwrap(), "77000000u");
}

async fn timed_out() {
    let mut client = Client::connect().await;
    let before = client.number("Cancelled").await;
    let mut ask = Request::new(Vec::new());
    ask.set_timeout(Duration::from_millis(200));
    let status = client.unary("HangBefore", ask).await.unwrap_err();
    // tonic says so of its own limit; others of theirs.
    let codes = [Code::Cancelled, Code::DeadlineExceeded];
    assert!(codes.contains(&status.code()), "{status:?}");
    client.until("Cancelled", before + 1).await;
}

async fn cancel_after_begin() {
    let mut client = Client::connect().await;
    let before = client.number("Cancelled").await;
    let (send, messages) = client::channel();
    let mut second = client.clone();
    let call = tokio::spawn(async move { second.streaming("HangBefore", messages).await });
    send.send(message(10)).unwrap();
    client.until("Begun", before + 1).await;
    call.abort();
    client.until("Cancelled", before + 1).await;
}

async fn cancel_later() {
    let mut client = Client::connect().await;
    let before = client.number("Cancelled").await;
    let ask = Request::new(message(10));
    let mut answers = client.server_streaming("Hang", ask).await.unwrap();
    assert!(answers.get_mut().message().await.unwrap().is_some());
    drop(answers);
    client.until("Cancelled", before + 1).await;
}

/// Nobody on the way may take more than windows and buffers hold.
async fn slow_reader() {
    const BOUND: u64 = 32 << 20;
    let mut client = Client::connect().await;
    // A connection of its own: calls on one share a window.
    let mut slow = Client::connect().await;
    let ask = Request::new(Vec::new());
    let mut answers = slow.server_streaming("Flood", ask).await.unwrap();
    assert!(answers.get_mut().message().await.unwrap().is_some());
    // Until it writes no more, or has written too much.
    let mut before = 0;
    loop {
        sleep(Duration::from_millis(500)).await;
        let now = client.number("Flooded").await;
        assert!(now < BOUND, "{now} bytes are written and not read");
        if now == before {
            break;
        }
        before = now;
    }
    // Once it reads again, more comes.
    let mut read = 0;
    while read < 2 * before {
        let one = answers.get_mut().message().await.unwrap().unwrap();
        read += u64::try_from(one.len()).unwrap();
    }
}
