//! Looks at a client's bytes on their way: what it reads must be framed in one way only and must
//! not come too slowly or without sense, and what is written to it must be taken and must leave
//! before the process does.
//!
//! Hyper forgives heads with two lengths (it drops one) and lines that end by LF alone, so that a
//! request can't be refused by what hyper tells of it. The heads are counted as they are read, those
//! sent ahead too, and the service counts those it serves.
//!
//! Time runs only for what a client has begun and not ended: a head, a body of which the rest was
//! announced, a frame, an answer that it does not read. A stream that is merely quiet owes nothing.
//! What comes whole, as nearly all does, starts no timer; and there is one per connection and kind,
//! not one per request.

use super::{
    frames::Frames,
    heads::{Fault, Heads},
};
use crate::{local::Flow, upstream::Patience};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// The largest head of a request, in bytes. HTTP/2's is h2's to bound.
const MAX_HEAD: usize = 64 * 1024;
/// A body that was announced must come at least so fast, in bytes a second: slower than any line
/// that is of use, faster than one that is held open on purpose.
pub(super) const MIN_RATE: u64 = 64;
/// So many frames that bring nothing may come in [`FLOOD_TIME`], or more with much that is sent:
/// clients answer that with WINDOW_UPDATE, and some with a PING.
const MAX_IDLE_FRAMES: u32 = 10_000;
const FLOOD_TIME: Duration = Duration::from_secs(10);
/// More than the answer to any such frame (a PING's has 17 bytes).
const BYTES_PER_FRAME: u64 = 32;

const TOO_LONG: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";
const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";

/// What the reading and the serving half of one connection tell each other. Both run on one
/// thread; it is atomic only because hyper hands connections on as `Send`.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// The number of the head that has a fault; 0: none has.
    conflict: AtomicU64,
    /// Its fault is a bare LF.
    bare: AtomicBool,
    /// How many heads were served.
    served: AtomicU64,
    /// What follows is another protocol's.
    over: AtomicBool,
    /// The body that is being read does not come.
    overdue: AtomicBool,
}

impl Framing {
    /// The next head is served. Some: it has a fault.
    pub(super) fn next_fault(&self) -> Option<Fault> {
        let number = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        let faulty = self.conflict.load(Ordering::Relaxed) == number;
        faulty.then(|| {
            if self.bare.load(Ordering::Relaxed) {
                Fault::BareLineFeed
            } else {
                Fault::TwoLengths
            }
        })
    }

    /// The connection changes to another protocol: nothing that follows is a head.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// True where the client does not send the body that it announced.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    fn found(&self, (number, fault): (u64, Fault)) {
        self.conflict.store(number, Ordering::Relaxed);
        let bare = fault == Fault::BareLineFeed;
        self.bare.store(bare, Ordering::Relaxed);
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// For a head, from its first byte to its last.
    pub head: Duration,
    /// Without reading what it is sent; and for [`MIN_RATE`] of a body.
    pub idle: Duration,
}

/// What the client speaks, as far as its bytes are followed.
enum Followed {
    Http1(Heads, Arc<Framing>),
    Http2(Frames, Spent),
    /// Another protocol.
    Nothing,
}

/// Against what HTTP/2's idle frames are held.
#[derive(Clone, Copy)]
struct Spent {
    since: Instant,
    written: u64,
}

/// What the client has begun and not ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    Head,
    /// The body behind that head.
    Body(u64),
}

impl Followed {
    fn owed(&self) -> Owed {
        match self {
            Self::Http1(heads, _) if heads.is_within_head() => Owed::Head,
            Self::Http1(heads, _) if heads.is_within_body() => Owed::Body(heads.ended()),
            Self::Http2(frames, _) if frames.is_within_head() => Owed::Head,
            Self::Http2(frames, _) if frames.is_within_data() => Owed::Body(0),
            _ => Owed::Nothing,
        }
    }
}

/// A connection whose bytes are looked at.
pub(super) struct Checked<S> {
    stream: S,
    flow: Arc<Flow>,
    times: Times,
    followed: Followed,
    /// When the head that has begun must have ended; where it did not come whole.
    head_deadline: Option<Pin<Box<Sleep>>>,
    body: Patience,
    /// The body that [`Self::body`] is about.
    body_of: u64,
    unread: Patience,
    written: u64,
}

impl<S> Checked<S> {
    /// Follows HTTP/1, and tells `framing` what it finds.
    pub(super) fn http1(stream: S, flow: Arc<Flow>, framing: Arc<Framing>, times: Times) -> Self {
        let followed = Followed::Http1(Heads::default(), framing);
        Self::new(stream, flow, followed, times)
    }

    /// Follows HTTP/2.
    pub(super) fn http2(stream: S, flow: Arc<Flow>, times: Times) -> Self {
        let spent = Spent {
            since: Instant::now(),
            written: 0,
        };
        let followed = Followed::Http2(Frames::default(), spent);
        Self::new(stream, flow, followed, times)
    }

    fn new(stream: S, flow: Arc<Flow>, followed: Followed, times: Times) -> Self {
        Self {
            stream,
            flow,
            times,
            followed,
            head_deadline: None,
            body: Patience::rate(times.idle, MIN_RATE),
            body_of: 0,
            unread: Patience::new(times.idle, 1),
            written: 0,
        }
    }

    /// What of another protocol was sent ahead may have looked like the beginning of a head.
    fn forget_if_over(&mut self) {
        if let Followed::Http1(_, framing) = &self.followed
            && framing.over.load(Ordering::Relaxed)
        {
            self.followed = Followed::Nothing;
            self.head_deadline = None;
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.unread.moved(bytes);
        self.written = self
            .written
            .saturating_add(u64::try_from(bytes).unwrap_or(0));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Checked<S> {
    /// Follows what was read.
    fn follow(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        match &mut self.followed {
            Followed::Http1(heads, framing) => {
                if let Some(fault) = heads.read(bytes) {
                    framing.found(fault);
                }
                if heads.largest() > MAX_HEAD {
                    return Err(self.end(cx, TOO_LONG, "a request's head is too long"));
                }
            }
            Followed::Http2(frames, spent) => {
                frames.read(bytes);
                if frames.idle() > MAX_IDLE_FRAMES {
                    spent.settle(frames, self.written)?;
                }
            }
            Followed::Nothing => return Ok(()),
        }
        self.body.moved(bytes.len());
        if self.head_deadline.is_some() && self.followed.owed() != Owed::Head {
            self.head_deadline = None;
        }
        Ok(())
    }

    /// Nothing comes. Ready: what the client owes takes too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match self.followed.owed() {
            Owed::Nothing => Poll::Pending,
            Owed::Head => {
                let limit = self.times.head;
                let new = || Box::pin(sleep(limit));
                let deadline = self.head_deadline.get_or_insert_with(new);
                ready!(deadline.as_mut().poll(cx));
                Poll::Ready(self.end(cx, TOO_LATE, "a request's head takes too long"))
            }
            Owed::Body(number) => {
                if std::mem::replace(&mut self.body_of, number) != number {
                    self.body.restart();
                }
                ready!(self.body.poll_over(cx));
                if let Followed::Http1(_, framing) = &self.followed {
                    framing.overdue.store(true, Ordering::Relaxed);
                }
                Poll::Ready(late("a request's body takes too long"))
            }
        }
    }

    /// Ends an HTTP/1 connection with an answer, if none is on its way that it would run into.
    fn end(&mut self, cx: &mut Context<'_>, answer: &[u8], why: &'static str) -> io::Error {
        let busy = self.flow.active.load(Ordering::Relaxed) > 0
            || self.flow.writing.load(Ordering::Relaxed);
        if !busy && matches!(self.followed, Followed::Http1(..)) {
            // It is a courtesy: where the socket does not take it at once, none is said.
            let answered = Pin::new(&mut self.stream).poll_write(cx, answer);
            tracing::debug!(why, told = answered.is_ready(), "connection ended");
        }
        late(why)
    }

    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.unread.poll_over(cx));
        Poll::Ready(Err(late("the client does not read what it is sent")))
    }
}

impl Spent {
    /// Forgives what came in time, or with enough that was sent; else it is a flood.
    fn settle(&mut self, frames: &mut Frames, written: u64) -> io::Result<()> {
        let now = Instant::now();
        let sent = written.saturating_sub(self.written);
        if now.duration_since(self.since) < FLOOD_TIME
            && sent < u64::from(frames.idle()) * BYTES_PER_FRAME
        {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "a flood of HTTP/2 frames that bring nothing",
            ));
        }
        *self = Self {
            since: now,
            written,
        };
        frames.forgive();
        Ok(())
    }
}

fn late(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Checked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.forget_if_over();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                read?;
                let bytes = buffer.filled().get(before..).unwrap_or_default();
                Poll::Ready(this.follow(cx, bytes))
            }
            Poll::Pending => this.poll_late(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Checked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.flow.writing.store(true, Ordering::Relaxed);
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Ready(wrote) => {
                this.wrote(*wrote.as_ref().unwrap_or(&0));
                Poll::Ready(wrote)
            }
            Poll::Pending => this.poll_unread(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.flow.writing.store(true, Ordering::Relaxed);
        match Pin::new(&mut this.stream).poll_write_vectored(cx, slices) {
            Poll::Ready(wrote) => {
                this.wrote(*wrote.as_ref().unwrap_or(&0));
                Poll::Ready(wrote)
            }
            Poll::Pending => this.poll_unread(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Hyper flushes once everything it has was written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.flow.writing.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
