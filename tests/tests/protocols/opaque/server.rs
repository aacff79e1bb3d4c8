//! Applications that are not HTTP's: one ends TLS, one speaks first.

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};
use tokio::{
    io::{AsyncWriteExt as _, copy},
    net::TcpStream,
    task::spawn_blocking,
};

/// What is said first.
pub(super) const GREETING: &[u8] = b"220 checkout.shop ESMTP\r\n";

/// Says what name the client asked for, and gives back as much as it announces.
pub(crate) async fn terminate(stream: TcpStream) {
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    // A client that fails says so itself.
    spawn_blocking(|| conversation(stream).ok()).await.ok();
}

fn conversation(stream: std::net::TcpStream) -> std::io::Result<()> {
    let certificate = CertificateDer::from(super::CERTIFICATE);
    let key = PrivatePkcs8KeyDer::from(&include_bytes!("key.der")[..]);
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::from(key))
        .unwrap();
    let connection = ServerConnection::new(Arc::new(config)).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let name = stream.conn.server_name().unwrap_or_default().to_owned();
    stream.write_all(name.as_bytes())?;
    let mut left = usize::try_from(u32::from_be_bytes(length)).unwrap();
    let mut part = vec![0; 16 << 10];
    while left > 0 {
        let read = stream.read(&mut part)?;
        stream.write_all(&part[..read])?;
        left -= read;
    }
    stream.conn.send_close_notify();
    stream.flush()
}

/// Speaks first, then gives everything back.
pub(crate) async fn greet(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    if write.write_all(GREETING).await.is_ok() && copy(&mut read, &mut write).await.is_ok() {
        write.shutdown().await.ok();
    }
}
