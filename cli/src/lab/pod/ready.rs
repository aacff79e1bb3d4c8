//! A startup probe, as a cluster has one: the application starts once its sidecar has its configuration.
//!
//! Where that does not come, it starts all the same: traffic never waits for the mesh.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

/// Between two probes.
const PERIOD: Duration = Duration::from_millis(20);
/// How long the application waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Probes until the sidecar is ready; false where it is not within the application's patience.
pub(super) async fn ready(mut probe: SocketAddr) -> bool {
    if probe.ip().is_unspecified() {
        probe.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let probing = async {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Ok(true) = ask(probe).await {
                return;
            }
        }
    };
    timeout(PATIENCE, probing).await.is_ok()
}

async fn ask(probe: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(probe).await?;
    let request = format!("GET /ready HTTP/1.1\r\nhost: {probe}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn it_asks_again_until_the_answer_is_200() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probe = listener.local_addr().unwrap();
        let sidecar = tokio::spawn(async move {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                assert!(request.starts_with(b"GET /ready HTTP/1.1\r\n"));
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert!(ready(probe).await);
        sidecar.await.unwrap();
    }
}
