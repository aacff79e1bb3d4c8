//! Whether bytes move over a connection, so that it is not closed while they do.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What moves over one opaque connection, both ways. One task adds to it; it is atomic only so that
/// this task may be handed to another thread.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Goes up with every part that was moved.
    moved: AtomicU64,
    /// Directions that hold bytes which the receiver has not taken yet.
    blocked: AtomicU32,
}

impl Activity {
    /// A part was moved.
    pub(super) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that bytes are held until `taking` has ended.
    pub(super) async fn blocked<T>(&self, taking: impl Future<Output = T>) -> T {
        self.blocked.fetch_add(1, Ordering::Relaxed);
        let taken = taking.await;
        self.blocked.fetch_sub(1, Ordering::Relaxed);
        taken
    }

    /// How much has moved until now.
    pub(super) fn mark(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// True where nothing has moved since `mark` and nothing waits to be taken.
    pub(super) fn is_quiet_since(&self, mark: u64) -> bool {
        self.mark() == mark && self.blocked.load(Ordering::Relaxed) == 0
    }
}

/// One side of a connection whose bytes are noted.
#[derive(Debug)]
pub(super) struct Noted<'a, S> {
    side: S,
    activity: &'a Activity,
    /// It holds back a write.
    blocked: bool,
}

impl<'a, S> Noted<'a, S> {
    pub(super) const fn new(side: S, activity: &'a Activity) -> Self {
        Self {
            side,
            activity,
            blocked: false,
        }
    }

    fn wrote(&mut self, is_blocked: bool) {
        let blocked = &self.activity.blocked;
        if is_blocked && !self.blocked {
            blocked.fetch_add(1, Ordering::Relaxed);
        } else if !is_blocked {
            if self.blocked {
                blocked.fetch_sub(1, Ordering::Relaxed);
            }
            self.activity.moved();
        }
        self.blocked = is_blocked;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.side).poll_read(cx, buffer);
        if read.is_ready() {
            self.activity.moved();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.side).poll_write(cx, bytes);
        self.wrote(wrote.is_pending());
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_shutdown(cx)
    }
}
