//! Opens TCP connections, marked so that redirection lets them pass.

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::{io, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// A peer that answers nothing for a minute and a half is gone.
pub(crate) const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// Why no connection came about. Nothing was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The kernel or the peer refused.
    #[error("{0}: {1}")]
    Io(SocketAddr, Rc<io::Error>),
    /// No answer in time.
    #[error("{0}: no answer within {1:?}")]
    Timeout(SocketAddr, Duration),
    /// The HTTP/2 preface was not answered.
    #[error("{0}: {1}")]
    Handshake(SocketAddr, Rc<hyper::Error>),
}

/// Connects, without delay on small writes.
pub(crate) async fn connect(
    address: SocketAddr,
    mark: Option<u32>,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    let failed = |error| ConnectError::Io(address, Rc::new(error));
    let socket = socket(address, mark).map_err(failed)?;
    match timeout(limit, socket.connect(address)).await {
        Ok(Ok(stream)) => {
            stream.set_nodelay(true).map_err(failed)?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(failed(error)),
        Err(_elapsed) => Err(ConnectError::Timeout(address, limit)),
    }
}

fn socket(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    // A peer that is gone without a word would hold its streams for ever.
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::{ConnectError, connect};
    use std::time::Duration;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_refused_connect_is_an_error_that_names_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limit = Duration::from_secs(5);
        assert!(connect(address, None, limit).await.is_ok());
        drop(listener);
        let error = connect(address, None, limit).await.unwrap_err();
        assert!(matches!(error, ConnectError::Io(..)));
        assert!(error.to_string().starts_with(&address.to_string()));
    }
}
