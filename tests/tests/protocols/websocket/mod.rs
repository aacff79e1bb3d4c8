//! WebSocket, passed through byte for byte: what goes in as frames of any kind, whole or in pieces, comes out the same.
//!
//! The cases follow the Autobahn suite's chapters (framing, pings, reserved bits, opcodes, fragmentation, UTF-8, close,
//! limits): an application that gives everything back shows at once that both directions change nothing.

mod frames;
pub(crate) mod server;

use super::{
    cases::{Case, case},
    mesh::HOST,
};
use frames::{BINARY, CLOSE, CONTINUATION, PING, PONG, RESERVED_1, TEXT, frame, unfinished};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The handshake's sample of RFC 6455, 1.3.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const EXTENSIONS: &str = "permessage-deflate; client_max_window_bits=12, x-other";
const PROTOCOLS: &str = "chat, superchat";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("websocket-handshake", |_| handshake()),
        case("websocket-refused", |_| refused()),
        case("websocket-sizes", |_| sizes()),
        case("websocket-pings", |_| pings()),
        case("websocket-reserved-bits-and-opcodes", |_| reserved()),
        case("websocket-fragments", |_| fragments()),
        case("websocket-utf8", |_| utf8()),
        case("websocket-close-codes", |_| close_codes()),
        case("websocket-chopped", |_| chopped()),
        case("websocket-large", |_| large()),
        case("websocket-many-frames", |_| many_frames()),
        case("websocket-server-first", |_| server_first()),
        case("websocket-frames-after-the-request", |_| eager()),
        case("websocket-client-ends-first", |_| client_ends_first()),
        case("websocket-server-ends-first", |_| server_ends_first()),
        case("websocket-cut-in-a-frame", |_| cut()),
    ]
}

/// A request that asks for the upgrade; what came after the answer's head is given as well.
async fn ask(path: &str, more: &[u8]) -> (TcpStream, String, Vec<u8>) {
    let mut stream = TcpStream::connect((HOST, 80)).await.unwrap();
    let head = format!(
        "GET /ws/{path} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {PROTOCOLS}\r\n\
         Sec-WebSocket-Extensions: {EXTENSIONS}\r\n\r\n"
    );
    let sent = [head.as_bytes(), more].concat();
    stream.write_all(&sent).await.unwrap();
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|part| part == b"\r\n\r\n") {
            let after = read.split_off(end + 4);
            return (stream, String::from_utf8(read).unwrap(), after);
        }
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{read:?}");
    }
}

/// Sends `bytes`, so many at once, then the half-close; all must come back, and then what the server says last.
async fn exact(bytes: &[u8], at_once: usize) {
    let (stream, head, mut got) = ask("echo", b"").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (mut read, mut write) = stream.into_split();
    let sent = bytes.to_vec();
    let writing = tokio::spawn(async move {
        for part in sent.chunks(at_once) {
            write.write_all(part).await.unwrap();
        }
        write.shutdown().await.unwrap();
        write
    });
    read.read_to_end(&mut got).await.unwrap();
    // Its half closes the connection: it must live until all is read.
    let _write = writing.await.unwrap();
    let last = got.split_off(got.len().saturating_sub(server::LAST.len()));
    assert_eq!(last, server::LAST);
    assert!(got == bytes, "{} bytes came of {}", got.len(), bytes.len());
}

async fn handshake() {
    let (_stream, head, _) = ask("echo", b"").await;
    let head = head.to_ascii_lowercase();
    for line in [
        "upgrade: websocket",
        "connection: upgrade",
        &format!("sec-websocket-accept: {ACCEPT}"),
        "sec-websocket-protocol: superchat",
        "sec-websocket-extensions: permessage-deflate; client_max_window_bits=12",
        &format!("x-saw-key: {KEY}"),
        "x-saw-version: 13",
        &format!("x-saw-protocols: {PROTOCOLS}"),
        &format!("x-saw-extensions: {EXTENSIONS}"),
    ] {
        let line = line.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
}

/// An upgrade that the application does not want is an answer like others; the connection stays.
async fn refused() {
    let (mut stream, head, mut body) = ask("refused", b"").await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    while body.len() < server::REFUSAL.len() {
        assert!(stream.read_buf(&mut body).await.unwrap() > 0);
    }
    assert_eq!(body, server::REFUSAL.as_bytes());
    let again = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(again.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Chapters 1 and 9: at and around each border of the length's encoding.
async fn sizes() {
    for opcode in [TEXT, BINARY] {
        for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 131_072] {
            exact(&frame(opcode, true, &vec![b'*'; length]), usize::MAX).await;
        }
    }
}

/// Chapter 2.
async fn pings() {
    let ping = |payload: &[u8]| frame(PING, true, payload);
    exact(&ping(b""), usize::MAX).await;
    exact(&ping(&[0, 255, 254, 253, 252, 251, 0, 255]), usize::MAX).await;
    // Longer than the protocol allows: the peer's to refuse, not ours.
    exact(&ping(&[254; 126]), usize::MAX).await;
    let unasked = [frame(PONG, true, b"unasked"), ping(b"asked")].concat();
    exact(&unasked, usize::MAX).await;
    exact(&ping(b"ten of them").repeat(10), 1).await;
}

/// Chapters 3 and 4: extensions use them.
async fn reserved() {
    for bits in 1..=7 {
        let marked = frame(TEXT | bits << 4, true, b"compressed, say");
        exact(&[marked, frame(PING, true, b"")].concat(), usize::MAX).await;
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        exact(&frame(opcode, true, b"unknown"), usize::MAX).await;
    }
    let deflated = frame(
        TEXT | RESERVED_1,
        true,
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
    );
    exact(&deflated, 3).await;
}

/// Chapter 5.
async fn fragments() {
    let text = |last| frame(CONTINUATION, last, b"fragment");
    let begin = frame(TEXT, false, b"fragment");
    let ping = frame(PING, true, b"between");
    let whole = [begin.clone(), text(false), ping.clone(), text(true)].concat();
    for at_once in [1, 2, 7, usize::MAX] {
        exact(&whole, at_once).await;
    }
    // Against the protocol: fragments of a ping, a continuation of nothing, two that begin.
    let wrong = [
        frame(PING, false, b"x"),
        text(true),
        begin.clone(),
        begin,
        frame(CONTINUATION, true, b""),
    ];
    exact(&wrong.concat(), usize::MAX).await;
}

/// Chapter 6: characters that are split over frames and segments, and bytes that are no characters.
async fn utf8() {
    let text = "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!! \u{1f980}";
    let mut each = vec![frame(TEXT, false, b"")];
    each.extend(text.bytes().map(|byte| frame(CONTINUATION, false, &[byte])));
    each.push(frame(CONTINUATION, true, b""));
    exact(&each.concat(), usize::MAX).await;
    exact(&frame(TEXT, true, text.as_bytes()), 1).await;
    for bad in [
        &b"\xce\xba\xe1\xbd"[..],
        b"\xed\xa0\x80",
        b"\xff",
        b"\xf4\x90\x80\x80",
    ] {
        exact(&frame(TEXT, true, bad), 2).await;
    }
}

/// Chapter 7: each code, also those that may not be sent, with a reason and without.
async fn close_codes() {
    let codes = [
        0_u16, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012,
        1013, 1014, 1015, 1016, 2999, 3000, 3999, 4000, 4999, 5000, 65_535,
    ];
    for code in codes {
        let payload = [&code.to_be_bytes()[..], "because \u{2713}".as_bytes()].concat();
        exact(&frame(CLOSE, true, &payload), usize::MAX).await;
    }
    exact(&frame(CLOSE, true, b""), usize::MAX).await;
    exact(&frame(CLOSE, true, b"\x03"), usize::MAX).await;
    let after = [frame(CLOSE, true, b"\x03\xe8"), frame(TEXT, true, b"late")].concat();
    exact(&after, usize::MAX).await;
}

/// Every byte is a segment of its own.
async fn chopped() {
    let whole = [
        frame(TEXT, true, &[b'a'; 300]),
        frame(PING, true, b"ping"),
        frame(BINARY, true, &[7; 200]),
        frame(CLOSE, true, b"\x03\xe8bye"),
    ];
    exact(&whole.concat(), 1).await;
}

/// Chapter 9: one frame of 16 MiB, and 16 MiB in fragments of 64 bytes to 64 KiB.
async fn large() {
    let payload: Vec<u8> = (0..=250).cycle().take(16 << 20).collect();
    exact(&frame(BINARY, true, &payload), 1 << 20).await;
    for length in [1 << 12, 1 << 16] {
        let mut whole = frame(BINARY, false, b"");
        for part in payload.chunks(length) {
            whole.extend(frame(CONTINUATION, false, part));
        }
        whole.extend(frame(CONTINUATION, true, b""));
        exact(&whole, 100_000).await;
    }
}

/// Chapter 10 and the like: a great many small messages.
async fn many_frames() {
    let whole = frame(TEXT, true, b"0123456789abcdef").repeat(50_000);
    exact(&whole, 1_460).await;
}

/// Frames that the application sends at once may come with the answer's head.
async fn server_first() {
    let (mut stream, head, mut got) = ask("first", b"").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [server::FIRST, server::LAST].concat());
}

/// A client that does not wait for the answer.
async fn eager() {
    let sent = frame(TEXT, true, b"eager");
    let (mut stream, head, mut got) = ask("echo", &sent).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [&sent[..], server::LAST].concat());
}

/// After the client's end the application still speaks: [`exact`] waits for it; here there was nothing before.
async fn client_ends_first() {
    exact(b"", usize::MAX).await;
}

/// After the application's end the client still speaks, and the application hears all of it.
async fn server_ends_first() {
    let (mut stream, head, mut got) = ask("end", b"").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, server::LAST);
    let sent = frame(BINARY, true, &vec![1; 100_000]);
    stream.write_all(&sent).await.unwrap();
    stream.shutdown().await.unwrap();
    server::until_heard(sent.len()).await;
}

/// A frame of 1 GiB of which some comes, then the end: what came passes, and nobody waits for the rest.
async fn cut() {
    exact(&unfinished(BINARY, 1 << 30, &[9; 10_000]), usize::MAX).await;
    exact(&frame(TEXT, true, b"cut")[..4], usize::MAX).await;
}
