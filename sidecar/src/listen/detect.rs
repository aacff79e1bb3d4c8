//! What a connection speaks, by its first bytes.
//!
//! A client that says nothing for a while may be slow, or may wait for the server to speak first.
//! The two are told apart by trying: the upstream connection is opened, and whoever speaks first
//! decides ([`slow`]). So a slow HTTP client is never mistaken for an opaque one.

use bytes::BytesMut;
use std::io;
use tokio::{io::AsyncReadExt, net::TcpStream, select};

/// How HTTP/2 with prior knowledge begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Methods with the space that ends them (RFC 9110, 5789, 4918 and those in common use).
const METHODS: [&[u8]; 22] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"QUERY ",
    b"PURGE ",
    b"PROPFIND ",
    b"PROPPATCH ",
    b"MKCOL ",
    b"COPY ",
    b"MOVE ",
    b"LOCK ",
    b"UNLOCK ",
    b"REPORT ",
    b"SEARCH ",
    b"LINK ",
    b"UNLINK ",
];
/// More than any beginning that must be known.
const FIRST_READ: usize = 4096;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detected {
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Anything else.
    Opaque,
}

/// Reads the first bytes. None: more are needed.
pub(super) fn classify(bytes: &[u8]) -> Option<Detected> {
    if bytes.starts_with(PREFACE) {
        return Some(Detected::Http2);
    }
    if METHODS.iter().any(|method| bytes.starts_with(method)) {
        return Some(Detected::Http1);
    }
    let begins = |whole: &[u8]| whole.starts_with(bytes);
    if begins(PREFACE) || METHODS.iter().any(|method| begins(method)) {
        return None;
    }
    Some(Detected::Opaque)
}

/// Reads until it is known what the client speaks. What was read stands in `read`, also where this
/// is dropped midway. None: the client closed without a byte.
pub(super) async fn detect(
    client: &mut TcpStream,
    read: &mut BytesMut,
) -> io::Result<Option<Detected>> {
    loop {
        if let Some(detected) = classify(read) {
            return Ok(Some(detected));
        }
        read.reserve(FIRST_READ);
        if client.read_buf(read).await? == 0 {
            return Ok((!read.is_empty()).then_some(Detected::Opaque));
        }
    }
}

/// Who speaks first: the client, or the server at the other end of `upstream` (which is then given
/// back)? A server that can't be reached never does.
pub(super) async fn slow<U: AsRef<TcpStream>>(
    client: &mut TcpStream,
    read: &mut BytesMut,
    upstream: impl Future<Output = Option<U>>,
) -> io::Result<Option<(Detected, Option<U>)>> {
    let server_speaks = async {
        match upstream.await {
            Some(upstream) => {
                // An error is the server's end: it shows when bytes are forwarded.
                upstream.as_ref().readable().await.ok();
                upstream
            }
            None => std::future::pending().await,
        }
    };
    select! {
        biased;
        detected = detect(client, read) => Ok(detected?.map(|detected| (detected, None))),
        upstream = server_speaks => Ok(Some((Detected::Opaque, Some(upstream)))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Detected, PREFACE, classify};
    use proptest::prelude::{any, prop, proptest};

    #[test]
    fn http_is_known_by_its_method() {
        assert_eq!(classify(b"GET / HTTP/1.1\r\n"), Some(Detected::Http1));
        assert_eq!(classify(b"DELETE "), Some(Detected::Http1));
        assert_eq!(classify(b"DELET"), None);
        assert_eq!(classify(b""), None);
    }

    #[test]
    fn http2_is_known_by_its_whole_preface() {
        assert_eq!(classify(PREFACE), Some(Detected::Http2));
        assert_eq!(classify(&PREFACE[..23]), None);
        assert_eq!(classify(b"PRI * HTTP/3"), Some(Detected::Opaque));
    }

    #[test]
    fn everything_else_is_opaque() {
        for bytes in [
            &b"\x16\x03\x01"[..],
            b"get / HTTP/1.1",
            b"*1\r\n$4",
            b"GETX",
        ] {
            assert_eq!(classify(bytes), Some(Detected::Opaque), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_known_stays_so_with_more_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            more in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Some(detected) = classify(&bytes) {
                let all = [bytes, more].concat();
                assert_eq!(classify(&all), Some(detected));
            }
        }
    }
}
