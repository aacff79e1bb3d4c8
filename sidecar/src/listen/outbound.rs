//! Connections that the Pod's own application opens.

use super::{
    detect::{Detected, detect, slow},
    prefixed::Prefixed,
};
use crate::{
    drain::Kind,
    http,
    local::{Entry, Local},
    model::{NetworkFilter, Snapshot},
    tcp::{self, Opened},
    upstream::Protocol,
};
use bytes::BytesMut;
use std::{io, net::SocketAddr, rc::Rc};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

/// A client and what was read of it.
struct Client<'a> {
    local: &'a Rc<Local>,
    entry: &'a Rc<Entry>,
    stream: TcpStream,
    read: BytesMut,
}

/// Serves a connection that was on its way to `destination`.
pub(super) async fn redirected(
    local: &Rc<Local>,
    entry: &Rc<Entry>,
    stream: TcpStream,
    destination: SocketAddr,
) {
    let client = Client {
        local,
        entry,
        stream,
        read: BytesMut::new(),
    };
    if let Err(error) = client.serve(destination).await {
        tracing::debug!(peer = %entry.peer, %destination, %error, "closed before it was served");
    }
}

impl Client<'_> {
    async fn serve(mut self, destination: SocketAddr) -> io::Result<()> {
        let http = |snapshot: &Snapshot| {
            let chain = snapshot.outbound.as_ref();
            let chain = chain.and_then(|listener| listener.chain(destination, true));
            chain.is_some_and(|chain| matches!(chain.filter, NetworkFilter::Http(_)))
        };
        if !http(&self.local.snapshot()) {
            self.forward(destination, None).await;
            return Ok(());
        }
        let limit = self.local.limits.detect;
        let detected = match timeout(limit, detect(&mut self.stream, &mut self.read)).await {
            Ok(detected) => detected?.map(|detected| (detected, None)),
            Err(_elapsed) if self.read.is_empty() => {
                let upstream = open(self.local, destination);
                slow(&mut self.stream, &mut self.read, upstream).await?
            }
            Err(_elapsed) => Some((Detected::Opaque, None)),
        };
        match detected {
            Some((Detected::Http1, _)) => self.http(Protocol::Http1).await,
            Some((Detected::Http2, _)) => self.http(Protocol::Http2).await,
            Some((Detected::Opaque, opened)) => self.forward(destination, opened).await,
            None => {}
        }
        Ok(())
    }

    async fn http(self, protocol: Protocol) {
        let stream = Prefixed::new(self.read.freeze(), self.stream);
        http::serve(self.local, self.entry, stream, protocol).await;
    }

    async fn forward(self, destination: SocketAddr, opened: Option<Opened>) {
        self.entry.protocol.set("tcp");
        let opened = match opened {
            Some(opened) => Some(opened),
            None => open(self.local, destination).await,
        };
        if let Some(opened) = opened {
            let active = self
                .entry
                .begin(&self.local.drain, Kind::Tcp, Instant::now());
            let client = (self.read.freeze(), self.stream);
            tcp::forward(self.local, active, client, opened).await;
        }
    }
}

/// Opens an opaque connection to where one to `destination` goes.
async fn open(local: &Rc<Local>, destination: SocketAddr) -> Option<Opened> {
    match tcp::reach(local, destination).await {
        Ok(opened) => Some(opened),
        Err(error) => {
            tracing::debug!(%destination, %error, "not connected");
            None
        }
    }
}

/// Serves a connection that came to the sidecar on purpose: it is a proxy that was asked for.
pub(super) async fn explicit(local: &Rc<Local>, entry: &Rc<Entry>, mut stream: TcpStream) {
    let mut read = BytesMut::new();
    // It may wait for its first request; what it then says must come to an end.
    let detected = async {
        stream.readable().await?;
        let limit = local.limits.request_head;
        match timeout(limit, detect(&mut stream, &mut read)).await {
            Ok(detected) => detected,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    let detected = match timeout(http::IDLE_LIMIT, detected).await {
        Ok(detected) => detected,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    };
    let protocol = match detected {
        Ok(Some(Detected::Http2)) => Protocol::Http2,
        // What is not HTTP is answered by 400.
        Ok(Some(_)) => Protocol::Http1,
        Ok(None) => return,
        Err(error) => {
            tracing::debug!(peer = %entry.peer, %error, "closed before it was served");
            return;
        }
    };
    let stream = Prefixed::new(read.freeze(), stream);
    http::serve(local, entry, stream, protocol).await;
}
