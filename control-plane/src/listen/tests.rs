//! Real sockets at a small door.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn door(limit: usize) -> (Door, TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Door::new("xds", limit), listener, address)
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_is_sent_away_and_a_free_place_is_given_again() {
    let (door, listener, address) = door(2).await;
    let counts = |open, refused| DoorCounts {
        listener: "xds",
        limit: 2,
        open,
        refused,
    };
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let (first, _) = door.accept(&listener).await;
    let (_second, _) = door.accept(&listener).await;
    assert_eq!(door.counts(), counts(2, 0));
    // The third is taken out of the queue and closed; what is accepted next is the fourth.
    let (third, fourth) = tokio::join!(
        async {
            let read = clients[2].read(&mut [0; 1]).await;
            drop(first);
            let fourth = TcpStream::connect(address).await.unwrap();
            (read, fourth)
        },
        door.accept(&listener),
    );
    assert!(matches!(third.0, Ok(0) | Err(_)), "{third:?}");
    assert_eq!(fourth.1, third.1.local_addr().unwrap());
    assert_eq!(door.counts(), counts(2, 1));
    drop(fourth);
    assert_eq!(door.counts(), counts(1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_cut_off_and_who_has_spoken_may_be_silent() {
    let (door, listener, address) = door(2).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"PRI").await.unwrap();
    let (mut taken, _) = door.accept(&listener).await;
    let mut buffer = [0; 64];
    assert_eq!(taken.read(&mut buffer).await.unwrap(), 3);
    let cut = taken.read(&mut buffer).await.unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::TimedOut);

    let mut talking = TcpStream::connect(address).await.unwrap();
    talking
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let (mut taken, _) = door.accept(&listener).await;
    assert_eq!(taken.read(&mut buffer).await.unwrap(), 24);
    let quiet = tokio::time::timeout(FIRST_WORDS * 10, taken.read(&mut buffer)).await;
    assert!(quiet.is_err(), "{quiet:?}");
}
