//! Looks at a client's bytes on their way: what it reads must be framed in one way only and must
//! not come too slowly, and what is written to it must leave before the process does.
//!
//! Hyper forgives a head with both `Content-Length` and `Transfer-Encoding`: it drops the length
//! and goes on, so that a request can't be refused by what hyper tells of it. The heads are counted
//! as they are read, those sent ahead too, and the service counts those it serves.
//!
//! Hyper's own limit for reading a head would also close connections that wait for their next
//! request. Here the time runs only while a head has begun and not ended; one that comes whole, as
//! nearly all do, starts no timer.

use super::heads::Heads;
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
    time::{Sleep, sleep},
};

/// What the reading and the serving half of one connection tell each other. Both run on one
/// thread; it is atomic only because hyper hands connections on as `Send`.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// The number of the head that gave two lengths; 0: none did.
    conflict: AtomicU64,
    /// How many heads were served.
    served: AtomicU64,
    /// What follows is another protocol's.
    over: AtomicBool,
}

impl Framing {
    /// The next head is served. True where it gave two lengths.
    pub(super) fn next_conflicts(&self) -> bool {
        let number = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        self.conflict.load(Ordering::Relaxed) == number
    }

    /// The connection changes to another protocol: nothing that follows is a head.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A connection whose bytes are looked at.
pub(super) struct Checked<S> {
    stream: S,
    /// True while something is written that the kernel has not taken yet.
    writing: Arc<AtomicBool>,
    heads: Option<(Heads, Arc<Framing>)>,
    /// How long a head may take, and when the one that has begun must have ended.
    head_limit: Duration,
    head_deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Checked<S> {
    /// Keeps `writing` up to date.
    pub(super) const fn new(stream: S, writing: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            writing,
            heads: None,
            head_limit: Duration::MAX,
            head_deadline: None,
        }
    }

    /// Also reads the heads of HTTP/1, which may each take `limit`, and tells `framing` what it
    /// finds.
    pub(super) fn http1(
        stream: S,
        writing: Arc<AtomicBool>,
        framing: Arc<Framing>,
        limit: Duration,
    ) -> Self {
        Self {
            heads: Some((Heads::default(), framing)),
            head_limit: limit,
            ..Self::new(stream, writing)
        }
    }

    /// What of another protocol was sent ahead may have looked like the beginning of a head.
    fn forget_heads_if_over(&mut self) {
        let over = |(_, framing): &mut (Heads, Arc<Framing>)| framing.over.load(Ordering::Relaxed);
        if self.heads.take_if(over).is_some() {
            self.head_deadline = None;
        }
    }

    /// Ends the connection where the head that has begun takes too long.
    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.head_deadline {
            Some(deadline) => deadline.as_mut().poll(cx).map(|()| {
                let why = format!("a request's head took longer than {:?}", self.head_limit);
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }),
            None => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Checked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.forget_heads_if_over();
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) else {
            return this.poll_slow(cx);
        };
        read?;
        if let Some((heads, framing)) = &mut this.heads
            && let Some(bytes) = buffer.filled().get(before..)
        {
            if let Some(conflict) = heads.read(bytes) {
                framing.conflict.store(conflict, Ordering::Relaxed);
            }
            if !heads.is_within_head() {
                this.head_deadline = None;
            } else if this.head_deadline.is_none() {
                this.head_deadline = Some(Box::pin(sleep(this.head_limit)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Checked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writing.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writing.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Hyper flushes once everything it has was written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.writing.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
