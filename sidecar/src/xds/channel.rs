//! The connection to the control plane.

use hyper_util::rt::TokioIo;
use socket2::SockRef;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::watch,
};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// A dead peer is noticed after the interval and the timeout, also while nothing is said.
const KEEPALIVE: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens the connections of the sidecar's own, which redirection must leave alone.
#[derive(Clone, Debug)]
pub struct Dialer {
    mark: Option<u32>,
    local: watch::Sender<Option<IpAddr>>,
}

impl Dialer {
    /// Marks every socket with `mark` (SO_MARK).
    pub fn new(mark: Option<u32>) -> Self {
        Self {
            mark,
            local: watch::Sender::new(None),
        }
    }

    /// Connects to an address.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(mark) = self.mark {
            SockRef::from(&socket).set_mark(mark)?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Our own address, as the control plane sees it; none before the first connection.
    pub fn local_address(&self) -> Option<IpAddr> {
        *self.local.borrow()
    }

    /// Connects to a server by its name; to port 80 where the URI names none.
    pub async fn dial(&self, uri: &Uri) -> io::Result<TcpStream> {
        let missing = || io::Error::new(io::ErrorKind::InvalidInput, "the URI has no host");
        let host = uri.host().ok_or_else(missing)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(80);
        let mut failure = missing();
        for address in tokio::net::lookup_host((host, port)).await? {
            match self.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn reach(self, uri: Uri) -> io::Result<TokioIo<TcpStream>> {
        let stream = self.dial(&uri).await?;
        self.local.send_replace(Some(stream.local_addr()?.ip()));
        Ok(TokioIo::new(stream))
    }
}

/// A channel to the control plane at `uri` that connects when first used and again when needed.
pub fn channel(uri: Uri, dialer: &Dialer) -> Channel {
    let dialer = dialer.clone();
    Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(service_fn(move |uri| dialer.clone().reach(uri)))
}
