//! Finds what an HTTP/1 parser forgives but a proxy must not: a head with both `Content-Length` and
//! `Transfer-Encoding`.
//!
//! Hyper drops the length and goes on, so the request service can't see it; here the bytes are
//! looked at as they are read. Only heads are: the service says when the next one begins. Where a
//! client sends requests ahead, the later heads are not seen; hyper then closes the connection
//! after such a request, as RFC 9112 (6.1) asks.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the reading and the serving half of one connection tell each other. Both run on one
/// thread; it is atomic only because hyper hands connections on as `Send`.
#[derive(Debug)]
pub(super) struct Framing {
    /// The next byte belongs to a head.
    in_head: AtomicBool,
    /// Bytes beyond the last head were read with it.
    ahead: AtomicBool,
    /// The last head gave two lengths.
    conflict: AtomicBool,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            in_head: AtomicBool::new(true),
            ahead: AtomicBool::new(false),
            conflict: AtomicBool::new(false),
        }
    }
}

impl Framing {
    /// True once, where the head that was read last gave two lengths.
    pub(super) fn take_conflict(&self) -> bool {
        self.conflict.swap(false, Ordering::Relaxed)
    }

    /// A body was read to its end.
    pub(super) fn body_ended(&self) {
        self.in_head.store(true, Ordering::Relaxed);
    }

    /// The request has no body: what follows its head is another one.
    pub(super) fn no_body(&self) {
        let unseen = self.ahead.load(Ordering::Relaxed);
        self.in_head.store(!unseen, Ordering::Relaxed);
    }
}

/// A connection whose heads are looked at as they are read.
pub(super) struct Checked<S> {
    stream: S,
    framing: Arc<Framing>,
    head: Head,
}

impl<S> Checked<S> {
    /// Tells `framing` what it finds.
    pub(super) fn new(stream: S, framing: Arc<Framing>) -> Self {
        Self {
            stream,
            framing,
            head: Head::default(),
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        if !self.framing.in_head.load(Ordering::Relaxed) {
            return;
        }
        if let Some(rest) = self.head.read(bytes) {
            let head = std::mem::take(&mut self.head);
            self.framing.in_head.store(false, Ordering::Relaxed);
            self.framing.ahead.store(rest > 0, Ordering::Relaxed);
            self.framing
                .conflict
                .store(head.length && head.coding, Ordering::Relaxed);
        }
    }
}

/// As long as the longest name that matters, and its colon.
const NAME: usize = 18;

/// A head, as far as it was read.
#[derive(Default)]
struct Head {
    line: [u8; NAME],
    line_length: usize,
    begun: bool,
    length: bool,
    coding: bool,
}

impl Head {
    /// Reads on. Some: the head ended, with that many bytes left.
    fn read(&mut self, mut bytes: &[u8]) -> Option<usize> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.extend(line);
            bytes = rest.get(1..).unwrap_or_default();
            if self.end_line() {
                return Some(bytes.len());
            }
        }
        self.extend(bytes);
        None
    }

    fn extend(&mut self, bytes: &[u8]) {
        if let Some(free) = self.line.get_mut(self.line_length..) {
            for (place, byte) in free.iter_mut().zip(bytes) {
                *place = *byte;
            }
        }
        self.line_length = self.line_length.saturating_add(bytes.len());
    }

    /// True where that line ended the head. Empty lines before the request line do not.
    fn end_line(&mut self) -> bool {
        let length = std::mem::take(&mut self.line_length);
        let line = self.line.get(..length.min(NAME)).unwrap_or_default();
        let empty = length == 0 || line == b"\r";
        if !empty {
            self.begun = true;
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            self.length |= name.eq_ignore_ascii_case(b"content-length");
            self.coding |= name.eq_ignore_ascii_case(b"transfer-encoding");
        }
        empty && self.begun
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Checked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if let Some(bytes) = buffer.filled().get(before..) {
            this.look(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Checked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Head;
    use proptest::prelude::{any, prop, proptest};

    const BOTH: &[u8] = b"\r\nPOST / HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\n\
        transfer-ENCODING: chunked\r\n\r\nrest";

    fn read(parts: &[&[u8]]) -> Option<(usize, bool, bool)> {
        let mut head = Head::default();
        let mut rest = None;
        for part in parts {
            rest = rest.or_else(|| head.read(part));
        }
        rest.map(|rest| (rest, head.length, head.coding))
    }

    #[test]
    fn two_lengths_in_one_head_are_seen() {
        assert_eq!(read(&[BOTH]), Some((4, true, true)));
        assert_eq!(
            read(&[b"GET / HTTP/1.1\r\nTransfer-Encodings: a\r\nX: content-length:\r\n\r\n"]),
            Some((0, false, false))
        );
        assert_eq!(read(&[b"GET / HTTP/1.1\r\nHost: a\r\n"]), None);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_head_is_cut(cut in 0..BOTH.len() - 4) {
            let (one, other) = BOTH.split_at(cut);
            assert_eq!(read(&[one, other]), Some((4, true, true)));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&[&bytes]);
        }
    }
}
