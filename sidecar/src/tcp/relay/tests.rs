//! Real sockets: a client, the relay between, a server.

use super::{Activity, PIPES, copy, is_refusal, relay, step};
use sha2::{Digest, Sha256};
use socket2::SockRef;
use std::{fs::File, io::ErrorKind, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

type Ended = std::io::Result<(u64, u64)>;

/// Two ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap());
    let (connected, accepted) = tokio::join!(connected, listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

/// A client and a server with the relay between them.
async fn relayed(first: &'static [u8]) -> (TcpStream, TcpStream, JoinHandle<Ended>) {
    let (client, mut downstream) = pair().await;
    let (mut upstream, server) = pair().await;
    let relay = tokio::spawn(async move {
        let activity = Activity::default();
        relay(&mut downstream, first, &mut upstream, &activity).await
    });
    (client, server, relay)
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test]
async fn the_client_may_end_first_and_still_hear_the_answer() {
    let (mut client, mut server, relay) = relayed(b"first ").await;
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"first request");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert_eq!(rest(&mut client).await, b"answer");
    assert_eq!(relay.await.unwrap().unwrap(), (13, 6));
}

#[tokio::test]
async fn the_server_may_end_first_and_still_be_sent_to() {
    let (mut client, mut server, relay) = relayed(b"").await;
    server.write_all(b"greeting").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"greeting");
    client.write_all(b"late").await.unwrap();
    drop(client);
    assert_eq!(rest(&mut server).await, b"late");
    assert_eq!(relay.await.unwrap().unwrap(), (4, 8));
}

#[tokio::test]
async fn big_transfers_both_ways_at_once_arrive_whole() {
    const LENGTH: usize = 24 * 1024 * 1024 + 17;
    let (client, server, relay) = relayed(b"").await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut noise = || {
        let mut bytes = vec![0; LENGTH];
        random.fill(&mut bytes);
        bytes
    };
    let (up, down) = (noise(), noise());
    let sums = (Sha256::digest(&up), Sha256::digest(&down));
    let exchange = |stream: TcpStream, bytes: Vec<u8>| async move {
        let (mut read, mut write) = stream.into_split();
        let writing = tokio::spawn(async move {
            // In uneven pieces, so that pipes are filled in part.
            for piece in bytes.chunks(70_001) {
                write.write_all(piece).await.unwrap();
            }
            write.shutdown().await.unwrap();
            write
        });
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.unwrap();
        writing.await.unwrap();
        Sha256::digest(&all)
    };
    let (at_client, at_server) = tokio::join!(exchange(client, up), exchange(server, down));
    assert_eq!((at_server, at_client), sums);
    let length = u64::try_from(LENGTH).unwrap();
    assert_eq!(relay.await.unwrap().unwrap(), (length, length));
}

#[tokio::test]
async fn a_reset_goes_on_as_a_reset() {
    for by_client in [true, false] {
        let (mut client, mut server, relay) = relayed(b"").await;
        client.write_all(b"request").await.unwrap();
        let mut read = [0; 7];
        server.read_exact(&mut read).await.unwrap();
        let (breaks, mut left) = if by_client {
            (client, server)
        } else {
            (server, client)
        };
        SockRef::from(&breaks)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(breaks);
        let seen = left.read(&mut read).await.unwrap_err();
        assert_eq!(seen.kind(), ErrorKind::ConnectionReset);
        assert!(relay.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_reader_that_stops_holds_the_writer_back() {
    let (client, mut server, relay) = relayed(b"").await;
    // What the sockets and the pipe take, and no more.
    let mut taken = 0_usize;
    let piece = vec![7; 64 * 1024];
    loop {
        let writable = client.writable();
        if tokio::time::timeout(Duration::from_millis(300), writable)
            .await
            .is_err()
        {
            break;
        }
        match client.try_write(&piece) {
            Ok(length) => taken += length,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(taken < 64 * 1024 * 1024, "nothing holds the writer back");
    }
    drop(client);
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match server.read(&mut buffer).await.unwrap() {
            0 => break,
            length => received += length,
        }
    }
    assert_eq!(received, taken);
    drop(server);
    relay.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_pipe_with_bytes_in_it_is_not_used_again() {
    PIPES.with_borrow_mut(Vec::clear);
    let (mut client, server, relay) = relayed(b"").await;
    // The server does not read: the relay is dropped with its pipe full.
    let piece = vec![7; 64 * 1024 * 1024];
    let write = client.write_all(&piece);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), write)
            .await
            .is_err()
    );
    relay.abort();
    assert!(relay.await.unwrap_err().is_cancelled());
    drop((client, server));
    assert_eq!(PIPES.with_borrow(Vec::len), 0);

    let (mut client, mut server, _relay) = relayed(b"").await;
    client.write_all(b"fresh").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"fresh");
}

#[tokio::test]
async fn idle_connections_hold_no_pipe() {
    PIPES.with_borrow_mut(Vec::clear);
    let mut open = Vec::new();
    for _ in 0..8 {
        let (mut client, mut server, relay) = relayed(b"").await;
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        open.push((client, server, relay));
    }
    // One pipe has served them one after the other.
    assert_eq!(PIPES.with_borrow(Vec::len), 1);
}

#[tokio::test]
async fn what_the_kernel_does_not_splice_is_told_from_failures_and_copied() {
    let (mut client, mut downstream) = pair().await;
    let (mut upstream, mut server) = pair().await;
    // Neither end is a pipe.
    let error = step(&downstream, &upstream, 1).unwrap_err();
    assert!(is_refusal(&error), "{error}");
    assert!(!is_refusal(&ErrorKind::ConnectionReset.into()));
    let file = File::open("/proc/self/status").unwrap();
    assert!(is_refusal(&step(&file, &upstream, 1).unwrap_err()));

    client.write_all(&vec![7; 200_000]).await.unwrap();
    client.shutdown().await.unwrap();
    let (mut from, _) = downstream.split();
    let (_, mut to) = upstream.split();
    let (copied, received) = tokio::join!(
        async {
            let copied = copy(&mut from, &mut to, &Activity::default())
                .await
                .unwrap();
            to.shutdown().await.unwrap();
            copied
        },
        rest(&mut server)
    );
    assert_eq!((copied, received.len()), (200_000, 200_000));
}
