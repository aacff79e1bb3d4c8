//! Where a redirected connection wanted to go.

use socket2::SockRef;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// The destination before redirection. None: it was not redirected, it came to us on purpose.
pub(super) fn destination(stream: &TcpStream) -> Option<SocketAddr> {
    let original = SockRef::from(stream).original_dst_v4().ok()?.as_socket()?;
    let local = stream.local_addr().ok()?;
    (original != local).then_some(original)
}
