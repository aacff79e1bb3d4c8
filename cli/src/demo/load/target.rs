//! Where the load goes, and how a connection gets there.
//!
//! Usually an ordinary connect to the service's address, as any program would do it. Where there
//! is no redirection (the loopback lab), through the sidecar as an explicit proxy.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The service under load.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// What stands in `Host`.
    pub(super) host: String,
    /// Where the service's HTTP port is.
    pub(super) http: SocketAddr,
    /// Where its TCP port is.
    pub(super) tcp: SocketAddr,
    /// Connect here instead.
    pub(super) proxy: Option<SocketAddr>,
    /// Who asks: the first part of every request's id.
    pub(super) client: String,
    /// No answer for so long is a failure.
    pub(super) timeout: Duration,
}

impl Target {
    /// Looks the host up, as programs do; where that gives nothing soon, `address` counts.
    pub(super) async fn resolve(
        host: &str,
        ports: (u16, u16),
        address: Option<IpAddr>,
        proxy: Option<SocketAddr>,
    ) -> io::Result<Self> {
        let found = match timeout(
            Duration::from_secs(1),
            tokio::net::lookup_host((host, ports.0)),
        )
        .await
        {
            Ok(Ok(mut found)) => found.next().map(|at| at.ip()),
            Ok(Err(_)) | Err(_) => None,
        };
        let address = found.or(address).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("{host} has no address; give one with --address"),
            )
        })?;
        Ok(Self {
            host: host.to_owned(),
            http: SocketAddr::new(address, ports.0),
            tcp: SocketAddr::new(address, ports.1),
            proxy,
            client: String::new(),
            timeout: Duration::MAX,
        })
    }

    /// A connection for HTTP.
    pub(super) async fn connect_http(&self) -> io::Result<TcpStream> {
        connect(self.proxy.unwrap_or(self.http)).await
    }

    /// A connection for bytes.
    pub(super) async fn connect_tcp(&self) -> io::Result<TcpStream> {
        match self.proxy {
            None => connect(self.tcp).await,
            Some(proxy) => self.tunnel(connect(proxy).await?).await,
        }
    }

    async fn tunnel(&self, mut stream: TcpStream) -> io::Result<TcpStream> {
        // By address, as a redirected connection has it: that is how opaque TCP is known.
        let authority = self.tcp;
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte: what follows the head belongs to the tunnel.
            head.push(stream.read_u8().await?);
            if head.len() > 8192 {
                return Err(io::Error::other("the answer to CONNECT has no end"));
            }
        }
        let head = String::from_utf8_lossy(&head);
        match head.split(' ').nth(1) {
            Some("200") => Ok(stream),
            status => Err(io::Error::other(format!(
                "CONNECT was answered {}",
                status.unwrap_or("without a status")
            ))),
        }
    }
}

async fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
