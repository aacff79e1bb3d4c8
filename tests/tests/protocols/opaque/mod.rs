//! What is not HTTP: TLS, which the application ends and nobody on the way, and servers that speak first.

pub(crate) mod server;

use super::{
    cases::{Case, case},
    mesh::HOST,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::CertificateDer,
};
use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    sync::Arc,
};
use tokio::task::spawn_blocking;

const CERTIFICATE: &[u8] = include_bytes!("certificate.der");
const LONG: usize = 4 << 20;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("tls-by-service", |_| on_a_thread(by_service)),
        case("tls-by-service-in-pieces", |_| on_a_thread(in_pieces)),
        case("tls-at-an-http-port", |server| {
            on_a_thread(move || at_an_http_port(server))
        }),
        case("server-first-by-app-protocol", |_| {
            on_a_thread(|| greeted((HOST, 25)))
        }),
        case("server-first-at-an-http-port", |server| {
            on_a_thread(move || greeted((server, 8081)))
        }),
        case("half-close-of-opaque-bytes", |_| on_a_thread(half_close)),
    ]
}

async fn on_a_thread(run: impl FnOnce() + Send + 'static) {
    if let Err(panicked) = spawn_blocking(run).await {
        std::panic::resume_unwind(panicked.into_panic());
    }
}

fn client(server_name: &str, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(CERTIFICATE)).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = server_name.to_owned().try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, stream)
}

/// The application's own certificate is seen, its peer's SNI arrives, and bytes pass both ways.
fn conversation(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    let sent: Vec<u8> = (0..=250).cycle().take(LONG).collect();
    let length = u32::try_from(sent.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).unwrap();
    let mut sni = [0; HOST.len()];
    stream.read_exact(&mut sni).unwrap();
    assert_eq!(sni, HOST.as_bytes());
    for part in sent.chunks(50_000) {
        stream.write_all(part).unwrap();
        let mut got = vec![0; part.len()];
        stream.read_exact(&mut got).unwrap();
        assert!(got == part);
    }
    // The application's close_notify, then the end of the connection.
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

fn by_service() {
    conversation(client(HOST, TcpStream::connect((HOST, 443)).unwrap()));
}

/// The ClientHello comes byte by byte.
fn in_pieces() {
    let mut stream = TcpStream::connect((HOST, 443)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut client = client(HOST, stream.try_clone().unwrap());
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).unwrap();
    for byte in hello {
        stream.write_all(&[byte]).unwrap();
    }
    conversation(client);
}

/// A port that is declared as HTTP's, at which the application speaks TLS.
fn at_an_http_port(server: IpAddr) {
    let mut stream = TcpStream::connect((server, 8081)).unwrap();
    let mut hello = Vec::new();
    let mut client = client(HOST, stream.try_clone().unwrap());
    client.conn.write_tls(&mut hello).unwrap();
    stream.write_all(&hello).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got, [server::GREETING, &hello].concat());
}

/// The client says nothing until the server has.
fn greeted<A: std::net::ToSocketAddrs>(at: A) {
    let at: SocketAddr = at.to_socket_addrs().unwrap().next().unwrap();
    let mut stream = TcpStream::connect(at).unwrap();
    let mut greeting = vec![0; server::GREETING.len()];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(greeting, server::GREETING);
    stream.write_all(b"HELO me\r\n").unwrap();
    let mut echoed = [0; 9];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"HELO me\r\n");
}

/// The client ends its half, and gets all that it sent.
fn half_close() {
    let mut stream = TcpStream::connect((HOST, 25)).unwrap();
    let sent = vec![b'y'; LONG];
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    assert_eq!(got.len(), server::GREETING.len() + LONG);
}
