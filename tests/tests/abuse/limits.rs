//! More than there may be: headers, connections.

use super::mesh::{LONG, Mesh, get, rest};
use std::{fmt::Write as _, time::Duration};
use tokio::{
    io::AsyncWriteExt as _,
    time::{sleep, timeout},
};

#[tokio::test]
async fn too_many_and_too_long_headers_are_431() {
    let mesh = Mesh::start(&[]).await;
    let many = (0..20_000).fold(String::new(), |mut lines, number| {
        write!(lines, "x-{number}: 1\r\n").unwrap();
        lines
    });
    let long = |bytes| format!("x: {}\r\n", "a".repeat(bytes));
    let some: String = many.split_inclusive('\n').take(101).collect();
    for lines in [&some, &many, &long(70_000), &long(1 << 20)] {
        let answer = mesh.raw(get("/", lines).as_bytes()).await;
        // Where much is left unread, the answer may be lost with it.
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    let answer = mesh.raw(get("/", &some).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long_path = format!("/{}", "a".repeat(1 << 20));
    let answer = mesh.raw(get(&long_path, "").as_bytes()).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    let close = |lines: &str| format!("connection: close\r\n{lines}");
    let fits: String = many.split_inclusive('\n').take(90).collect();
    for lines in [&fits, &long(30_000)] {
        let answer = mesh.raw(get("/", &close(lines)).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    mesh.is_well().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted_and_there_is_room_again() {
    let mesh = Mesh::start(&["--max-connections", "50"]).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut stream = mesh.connect().await;
        stream.write_all(get("/", "").as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer)
            .await
            .unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        held.push(stream);
    }
    assert_eq!(mesh.metric("segue_downstream_connections_active").await, 50);
    for _ in 0..10 {
        assert_eq!(rest(&mut mesh.connect().await).await, "");
    }
    let refused = "segue_downstream_connections_refused_total";
    assert_eq!(mesh.metric(refused).await, 10);
    drop(held);
    let again = async {
        while !mesh.get().await.starts_with("HTTP/1.1 200") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, again).await.expect("there is room again");
    mesh.is_well().await;
}

#[tokio::test]
async fn without_descriptors_it_waits_and_comes_back() {
    let mesh = Mesh::start_within("ulimit -n 64", &[]).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(mesh.connect().await);
    }
    let before = mesh.cpu_ticks();
    sleep(Duration::from_secs(1)).await;
    let spent = mesh.cpu_ticks() - before;
    assert!(spent < 50, "{spent} of 100 ticks: it runs in circles");
    drop(held);
    let again = async {
        while !mesh.get().await.starts_with("HTTP/1.1 200") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, again).await.expect("it comes back");
    mesh.is_well().await;
}
