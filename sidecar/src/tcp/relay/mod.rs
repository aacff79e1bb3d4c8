//! Bytes between two sockets, each direction by itself.
//!
//! They go through a pipe inside the kernel (splice(2)) and are never copied into this process. A
//! direction holds a pipe only while it has bytes to move: idle connections hold none. Where the
//! kernel gives no pipe or refuses to splice, they are copied.
//!
//! Invariant: a pipe that is lent out is empty.

use super::activity::{Activity, Noted};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    unistd::pipe2,
};
use socket2::SockRef;
use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, BufReader, Interest, copy_buf},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    task::consume_budget,
    try_join,
};

/// Bytes that are moved or copied at once.
const AT_ONCE: usize = 256 * 1024;
/// Bytes of a buffer where they must be copied.
const BUFFER: usize = 64 * 1024;
/// Empty pipes that a worker keeps: as many as directions are busy at once on a lively Pod.
const SPARE: usize = 64;

thread_local! {
    /// A worker's empty pipes: a worker is one thread.
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// Forwards until both sides have ended or one fails; `first` was read from the client before.
/// Returns the bytes that the client and the upstream sent.
///
/// A reset goes on as a reset, so that a broken transfer is not taken for a complete one.
pub(super) async fn relay(
    client: &mut TcpStream,
    first: &[u8],
    upstream: &mut TcpStream,
    activity: &Activity,
) -> io::Result<(u64, u64)> {
    let both = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_upstream, mut to_upstream) = upstream.split();
        let sent = async {
            activity.blocked(to_upstream.write_all(first)).await?;
            let read = u64::try_from(first.len()).unwrap_or(u64::MAX);
            Ok(read + direction(&mut from_client, &mut to_upstream, activity).await?)
        };
        let received = direction(&mut from_upstream, &mut to_client, activity);
        try_join!(sent, received)
    };
    if both.as_ref().is_err_and(is_reset) {
        reset(client);
        reset(upstream);
    }
    both
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// Closes with a reset once it is dropped.
fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "closed without a reset");
    }
}

/// Forwards one direction to its end, and ends it at the other side too.
async fn direction(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    activity: &Activity,
) -> io::Result<u64> {
    let mut moved = 0;
    loop {
        from.readable().await?;
        match burst(from, to, &mut moved, activity).await {
            Ok(Burst::Empty) => {}
            Ok(Burst::End) => break,
            Ok(Burst::Refused) => {
                moved += copy(from, to, activity).await?;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    to.shutdown().await?;
    Ok(moved)
}

/// Copies all that is left of one direction.
async fn copy(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    activity: &Activity,
) -> io::Result<u64> {
    let from = Noted::new(from, activity);
    let mut to = Noted::new(to, activity);
    copy_buf(&mut BufReader::with_capacity(BUFFER, from), &mut to).await
}

/// How moving what is there came to its end.
enum Burst {
    /// No more for now.
    Empty,
    /// The sender has ended.
    End,
    /// The kernel does not splice here; nothing is lost.
    Refused,
}

/// Moves what can be read now.
async fn burst(
    from: &ReadHalf<'_>,
    to: &WriteHalf<'_>,
    moved: &mut u64,
    activity: &Activity,
) -> io::Result<Burst> {
    let Ok(mut pipe) = Lent::take() else {
        return Ok(Burst::Refused);
    };
    let (from, to) = (from.as_ref(), to.as_ref());
    loop {
        let Some(ends) = &pipe.ends else {
            return Ok(Burst::Refused);
        };
        let read = from.try_io(Interest::READABLE, || step(from, &ends.write, AT_ONCE));
        match read {
            Ok(0) => return Ok(Burst::End),
            Ok(length) => pipe.held = length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Burst::Empty),
            Err(error) if is_refusal(&error) => return Ok(Burst::Refused),
            Err(error) => return Err(error),
        }
        while pipe.held > 0 {
            let written = to.try_io(Interest::WRITABLE, || step(&ends.read, to, pipe.held));
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => {
                    pipe.held = pipe.held.saturating_sub(length);
                    *moved += u64::try_from(length).unwrap_or(u64::MAX);
                    activity.moved();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    activity.blocked(to.writable()).await?;
                }
                Err(error) => return Err(error),
            }
        }
        // Between two fast sockets this loop would never wait.
        consume_budget().await;
    }
}

fn step(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    loop {
        match splice(&from, None, &to, None, length, flags) {
            Err(Errno::EINTR) => {}
            done => return done.map_err(io::Error::from),
        }
    }
}

/// Whether the kernel does not splice here at all: not between such files, or it is forbidden.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM | Errno::ENOMEM)
    )
}

/// Both ends of a pipe.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn open() -> nix::Result<Self> {
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        if let Ok(size) = i32::try_from(AT_ONCE)
            && let Err(error) = fcntl(&write, FcntlArg::F_SETPIPE_SZ(size))
        {
            // A user's pipes may have only so many pages together; a small one moves bytes too.
            tracing::debug!(%error, "a pipe stays small");
        }
        Ok(Self { read, write })
    }
}

/// A pipe in use. It is kept for the next use only if nothing is left in it.
struct Lent {
    ends: Option<Pipe>,
    /// Bytes in it.
    held: usize,
}

impl Lent {
    fn take() -> nix::Result<Self> {
        let spare = PIPES.with_borrow_mut(Vec::pop);
        let ends = match spare {
            Some(pipe) => pipe,
            None => Pipe::open()?,
        };
        Ok(Self {
            ends: Some(ends),
            held: 0,
        })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(pipe) = self.ends.take().filter(|_| self.held == 0) else {
            return;
        };
        PIPES.with_borrow_mut(|spare| {
            if spare.len() < SPARE {
                spare.push(pipe);
            }
        });
    }
}

#[cfg(test)]
mod tests;
