//! A WebSocket, carried between two connections that have changed to it.
//!
//! Both directions are followed frame by frame, so that a drain ends it in order: the client is sent
//! Close 1012 between two frames, "service restart" (RFC 6455, 7.4; the IANA registry), its answer
//! goes to the application, and nothing that it sent before is lost.

use super::{
    Active,
    boundary::{CLOSE, Frames},
};
use crate::{
    drain::{Ending, Kind, Underway},
    model::EndpointId,
};
use std::{
    cell::RefCell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    select,
    sync::watch,
    time::sleep,
    try_join,
};

/// Bytes that are moved at once.
const BUFFER: usize = 8 * 1024;
/// How long each side has to close in answer to a Close.
const CLOSE_WAIT: Duration = Duration::from_millis(500);
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Close with 1012, as servers send it.
const RESTART: &[u8] = &[FIN | CLOSE, 2, 0x03, 0xf4];
/// Close with 1001, "going away", as clients send it. The mask protects what a script could choose;
/// of this nobody chose a byte.
const GOING_AWAY: &[u8] = &[FIN | CLOSE, MASKED | 2, 0, 0, 0, 0, 0x03, 0xe9];

/// Carries a WebSocket until both sides have ended, one fails, or a drain ends it.
/// The upstream runs at `endpoint`.
pub(super) async fn carry<C, U>(
    active: Active,
    endpoint: Option<EndpointId>,
    client: C,
    upstream: U,
) where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    active.underway.becomes(Kind::WebSocket, endpoint);
    let peer = active.entry.peer;
    select! {
        ended = both_ways(&active.underway, client, upstream) => match ended {
            Ok(()) => tracing::debug!(%peer, "WebSocket ended"),
            Err(error) => tracing::debug!(%peer, %error, "WebSocket failed"),
        },
        () = active.underway.reaches(Ending::Cut) => {
            tracing::info!(%peer, "WebSocket cut: the drain's deadline has passed");
        }
    }
}

async fn both_ways<C, U>(underway: &Underway, client: C, upstream: U) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (client, upstream) = (Shared::new(client), Shared::new(upstream));
    let told = watch::Sender::new(false);
    let is_told = || async {
        told.subscribe().wait_for(|told| *told).await.ok();
    };
    let down = async {
        let asked = underway.reaches(Ending::Asked);
        if let Passed::Boundary { closed } = pass(&upstream, &client, asked).await? {
            told.send_replace(true);
            if !closed {
                send(&client, RESTART).await?;
            }
            // After a Close the client hears nothing more.
            let mut rest = [0; 512];
            while (&upstream).read(&mut rest).await? > 0 {}
            (&client).shutdown().await?;
        }
        Ok(())
    };
    let up = async {
        let unanswered = async {
            is_told().await;
            sleep(CLOSE_WAIT).await;
        };
        if let Passed::Boundary { closed } = pass(&client, &upstream, unanswered).await? {
            if !closed {
                send(&upstream, GOING_AWAY).await?;
            }
            (&upstream).shutdown().await?;
        }
        Ok(())
    };
    let left = async {
        is_told().await;
        sleep(CLOSE_WAIT * 2).await;
    };
    select! {
        both = async { try_join!(down, up) } => both.map(|_| ()),
        () = left => Ok(()),
    }
}

/// How one direction came to its end.
enum Passed {
    /// The sender has ended, and so has the receiver's side.
    Whole,
    /// It was asked to end, and stands between two frames.
    Boundary {
        /// The last of them was a Close.
        closed: bool,
    },
}

/// Passes one direction on until it ends, or until the first boundary after `end`.
async fn pass<F, T>(
    mut from: &Shared<F>,
    to: &Shared<T>,
    end: impl Future<Output = ()>,
) -> io::Result<Passed>
where
    F: AsyncRead + Unpin,
    T: AsyncWrite + Unpin,
{
    let mut end = pin!(end);
    let mut ending = false;
    let mut frames = Frames::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = select! {
            read = from.read(&mut buffer) => read?,
            () = end.as_mut(), if !ending => {
                ending = true;
                if frames.is_between() {
                    return Ok(Passed::Boundary { closed: frames.is_closed() });
                }
                continue;
            }
        };
        let part = buffer.get(..read).unwrap_or_default();
        if part.is_empty() {
            { to }.shutdown().await?;
            return Ok(Passed::Whole);
        }
        if !ending {
            frames.read(part);
            send(to, part).await?;
        } else if let Some(boundary) = frames.read_frame(part) {
            send(to, part.get(..boundary).unwrap_or_default()).await?;
            let closed = frames.is_closed();
            return Ok(Passed::Boundary { closed });
        } else {
            send(to, part).await?;
        }
    }
}

async fn send<T: AsyncWrite + Unpin>(mut to: &Shared<T>, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// A connection that one direction reads and the other writes, in one task.
struct Shared<S>(RefCell<S>);

impl<S: Unpin> Shared<S> {
    const fn new(stream: S) -> Self {
        Self(RefCell::new(stream))
    }

    fn with<T>(&self, poll: impl FnOnce(Pin<&mut S>) -> T) -> T {
        poll(Pin::new(&mut *self.0.borrow_mut()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for &Shared<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buffer))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for &Shared<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}
