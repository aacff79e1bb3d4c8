//! Connections as they come in: so many at a time and no more, so that no peer can take all memory
//! or all files; and none that is opened and says nothing.

mod files;

pub use files::affordable;

use futures_util::Stream;
use parking_lot::Mutex;
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep, sleep},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A peer that has connected says so much within [`FIRST_WORDS`], or is cut off: HTTP/2's preface,
/// or the first line of an HTTP/1 request.
const FIRST_BYTES: usize = 16;
/// See [`FIRST_BYTES`].
const FIRST_WORDS: Duration = Duration::from_secs(10);
/// What goes on and on is said so often.
const SAID_EVERY: Duration = Duration::from_secs(10);
/// The system has no files or memory left: it is asked again after this.
const OUT_OF_FILES: Duration = Duration::from_millis(200);

/// A listener's limit and counts. Its clones are the same one.
#[derive(Clone, Debug)]
pub struct Door {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    flag: &'static str,
    limit: usize,
    open: AtomicUsize,
    refused: AtomicU64,
    said: Mutex<Option<Instant>>,
}

/// How a listener does, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorCounts {
    /// The flag that says where it listens, without its dashes.
    pub listener: &'static str,
    /// Connections that may be open.
    pub limit: usize,
    /// Connections that are.
    pub open: usize,
    /// Connections that were closed at once since the process began.
    pub refused: u64,
}

impl Door {
    /// One through which so many may be at a time.
    pub fn new(listener: &'static str, limit: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                flag: listener,
                limit,
                open: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
                said: Mutex::new(None),
            }),
        }
    }

    /// How it does.
    pub fn counts(&self) -> DoorCounts {
        let inner = &self.inner;
        DoorCounts {
            listener: inner.flag,
            limit: inner.limit,
            open: inner.open.load(Relaxed),
            refused: inner.refused.load(Relaxed),
        }
    }

    /// Waits for the next connection that may come in.
    pub async fn accept(&self, listener: &TcpListener) -> (Connection, SocketAddr) {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.failed(&error).await;
                    continue;
                }
            };
            let Some(place) = self.place() else {
                self.refuse(peer);
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, "gone at once: {error}");
                continue;
            }
            let connection = Connection {
                stream,
                first: Some((FIRST_BYTES, Box::pin(sleep(FIRST_WORDS)))),
                _place: place,
            };
            return (connection, peer);
        }
    }

    /// Every connection that may come in, for ever.
    pub fn incoming(
        self,
        listener: TcpListener,
    ) -> impl Stream<Item = io::Result<Connection>> + Send {
        futures_util::stream::unfold((self, listener), |(door, listener)| async {
            let (connection, _) = door.accept(&listener).await;
            Some((Ok(connection), (door, listener)))
        })
    }

    fn place(&self) -> Option<Place> {
        let open = &self.inner.open;
        let next = |open| (open < self.inner.limit).then_some(open + 1);
        open.fetch_update(Relaxed, Relaxed, next).ok()?;
        Some(Place(self.clone()))
    }

    fn refuse(&self, peer: SocketAddr) {
        let Inner { flag, limit, .. } = *self.inner;
        let refused = self.inner.refused.fetch_add(1, Relaxed) + 1;
        if self.may_speak() {
            tracing::warn!(
                %peer, refused,
                "{limit} connections are open at --{flag}, as many as may be: further ones are closed at once; raise --max-connections if they are rightful"
            );
        }
    }

    async fn failed(&self, error: &io::Error) {
        let passing = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        );
        if passing {
            return;
        }
        if self.may_speak() {
            let flag = self.inner.flag;
            tracing::error!(
                "no connection can be taken at --{flag}: {error}; raise the limit of open files (ulimit -n)"
            );
        }
        sleep(OUT_OF_FILES).await;
    }

    fn may_speak(&self) -> bool {
        let mut said = self.inner.said.lock();
        let quiet = said.is_none_or(|at| at.elapsed() >= SAID_EVERY);
        if quiet {
            *said = Some(Instant::now());
        }
        quiet
    }
}

/// One of the places there are.
#[derive(Debug)]
struct Place(Door);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.inner.open.fetch_sub(1, Relaxed);
    }
}

/// A connection that has come in; it holds its place until it is dropped.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What it must still say to be heard, and until when.
    first: Option<(usize, Pin<Box<Sleep>>)>,
    _place: Place,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some((missing, until)) = &mut self.first else {
            return read;
        };
        if read.is_ready() {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                self.first = None;
            }
            return read;
        }
        if until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
