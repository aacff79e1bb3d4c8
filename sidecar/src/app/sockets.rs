//! The addresses a sidecar listens on.

use super::Failure;
use crate::{config::Run, listen};
use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Every socket, bound.
#[derive(Debug)]
pub(super) struct Sockets {
    /// One pair per worker: each has its own accept queue.
    pub(super) workers: Vec<(TcpListener, TcpListener)>,
    pub(super) outbound: SocketAddr,
    pub(super) inbound: SocketAddr,
    pub(super) admin: TcpListener,
    pub(super) probe: TcpListener,
}

impl Sockets {
    /// Binds all of them; port 0 picks a free port.
    pub(super) fn bind(flags: &Run) -> Result<Self, Failure> {
        if let Some(mark) = flags.mark {
            try_mark(mark)?;
        }
        let outbound = claim("--outbound", flags.outbound)?;
        let inbound = claim("--inbound", flags.inbound)?;
        let workers = (0..flags.worker_count())
            .map(|_| {
                Ok((
                    bind("--outbound", outbound, true)?,
                    bind("--inbound", inbound, true)?,
                ))
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self {
            workers,
            outbound,
            inbound,
            admin: bind("--admin", flags.admin, false)?,
            probe: bind("--probe", flags.probe, false)?,
        })
    }
}

/// Finds out whether another sidecar listens there: shared sockets would bind beside its own and
/// take half of its connections.
fn claim(flag: &str, address: SocketAddr) -> Result<SocketAddr, Failure> {
    let socket = bind(flag, address, false)?;
    local(&socket)
}

/// Better said now than by each connection that fails.
fn try_mark(mark: u32) -> Result<(), Failure> {
    Socket::new(Domain::IPV4, Type::STREAM, None)
        .and_then(|socket| socket.set_mark(mark))
        .map_err(|error| {
            Failure::usage(format_args!(
                "--mark: sockets can't be marked: {error}; it takes the capability NET_ADMIN"
            ))
        })
}

fn bind(flag: &str, address: SocketAddr, shared: bool) -> Result<TcpListener, Failure> {
    listen::bind(address, shared).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::usage(format_args!(
            "{flag}: {address} is in use; stop what listens there or choose another address"
        )),
        _ => Failure::usage(format_args!("{flag}: can't listen on {address}: {error}")),
    })
}

/// The address that a socket has got.
pub(super) fn local(socket: &TcpListener) -> Result<SocketAddr, Failure> {
    socket
        .local_addr()
        .map_err(|error| Failure::system(format_args!("a socket without an address: {error}")))
}
