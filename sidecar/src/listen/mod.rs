//! Takes connections in: accepts, finds out where they wanted to go and what they speak, and hands
//! them to `http` or `tcp`.
//!
//! It decides by the listener's filter chains alone; hosts and routes are `http`'s.
//!
//! Invariant: no connection is refused for lack of configuration. What the mesh does not know goes
//! to its original destination.

mod accept;
mod detect;
mod inbound;
mod original;
mod outbound;
mod prefixed;

pub(crate) use accept::accept;

use crate::upstream::KEEPALIVE;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on `address`. `shared`: other listeners of this process may take the same address, each
/// with a queue of its own (`SO_REUSEPORT`); without it, an address in use is an error.
pub fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // Connections inherit it.
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod bind_tests {
    use super::bind;
    use std::io::ErrorKind;

    #[test]
    fn an_address_in_use_is_an_error_unless_shared() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = bind(any, false).unwrap();
        let address = first.local_addr().unwrap();
        assert_eq!(
            bind(address, false).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );

        let first = bind(any, true).unwrap();
        let address = first.local_addr().unwrap();
        assert!(bind(address, true).is_ok());
        assert_eq!(
            bind(address, false).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
    }
}
