//! A real NATS server and a subscriber to it.

use super::sink::{Received, structured};
use parking_lot::Mutex;
use std::{
    env,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// `SEGUE_NATS_SERVER`, or `nats-server` in `PATH` or where Debian puts it.
fn program() -> Option<PathBuf> {
    if let Some(named) = env::var_os("SEGUE_NATS_SERVER") {
        return Some(named.into());
    }
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from(""));
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.is_file())
}

/// Why there can be no NATS server here. With `SEGUE_REQUIRE_NATS=1` that is a failure.
pub(super) fn lacks() -> Option<String> {
    if program().is_some() {
        return None;
    }
    let why = "no nats-server: not in PATH, and SEGUE_NATS_SERVER is not set";
    assert!(
        env::var_os("SEGUE_REQUIRE_NATS").is_none_or(|set| set != "1"),
        "{why}"
    );
    Some(why.to_owned())
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    _process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one, with JetStream in this folder.
    pub(super) async fn start(address: SocketAddr, folder: &Path) -> Self {
        let mut command = Command::new(program().unwrap());
        command
            .args(["--addr", &address.ip().to_string()])
            .args(["--port", &address.port().to_string()])
            .args(["--jetstream", "--store_dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let server = Self {
            _process: command.spawn().unwrap(),
            address,
        };
        let begun = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "the NATS server does not serve");
            sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// Everything that is published on a subject from now on.
    pub(super) async fn subscribe(&self, subject: &str) -> Subscription {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut info = String::new();
        stream.read_line(&mut info).await.unwrap();
        assert!(info.starts_with("INFO "), "{info}");
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true}}\r\nSUB {subject} 1\r\nPING\r\n"
        );
        stream.write_all(hello.as_bytes()).await.unwrap();
        let mut pong = String::new();
        stream.read_line(&mut pong).await.unwrap();
        assert_eq!(pong, "PONG\r\n");
        let subscription = Subscription::default();
        tokio::spawn(listen(stream, subscription.clone()));
        subscription
    }
}

/// What a subscription received until now.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscription(Arc<Mutex<Vec<Received>>>);

impl Subscription {
    /// The ids that came, in order, each once.
    pub(super) fn ids(&self) -> Vec<String> {
        let all = self.0.lock();
        super::sink::once(all.iter().map(|received| received.id.clone()))
    }
}

/// The client's side of the NATS protocol: `MSG` and `HMSG` with their payloads, and `PING`.
async fn listen(mut stream: BufReader<TcpStream>, subscription: Subscription) {
    let mut line = String::new();
    loop {
        line.clear();
        match stream.read_line(&mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<usize>().unwrap();
        let (headers, total) = match words.as_slice() {
            ["PING"] => {
                stream.write_all(b"PONG\r\n").await.unwrap();
                continue;
            }
            ["MSG", .., total] => (0, number(total)),
            ["HMSG", .., headers, total] => (number(headers), number(total)),
            _ => continue,
        };
        let mut message = vec![0; total + 2];
        stream.read_exact(&mut message).await.unwrap();
        let subject = words[1].to_owned();
        let received = structured(subject, &message[headers..total]);
        subscription.0.lock().push(received);
    }
}
