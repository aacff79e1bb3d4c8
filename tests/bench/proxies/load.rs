//! Clients: wrk for HTTP/1.1, h2load for HTTP/2, and connections that only stay open.

use super::{
    arena::{Arena, SERVICE},
    process::{OTHER_CORE, pinned},
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The name under which every proxy knows the service.
pub(crate) const HOST: &str = "checkout.shop";

/// What a client saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// Requests that were not answered, or not with 200.
    pub(crate) failed: u64,
    pub(crate) p99_us: u64,
}

/// Prints what is read below. With `paced` each connection waits a random 10 to 22 ms between requests.
const SCRIPT: &str = r#"
if os.getenv("SEGUE_BENCH_PACED") then
  function delay() return math.random(10, 22) end
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("segue-bench %d %d %d\n", summary.requests,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status,
    latency:percentile(99)))
end
"#;

/// HTTP/1.1 by so many connections to a port of this machine, or to the redirected service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http1 {
    pub(crate) connections: u32,
    pub(crate) path: &'static str,
    pub(crate) paced: bool,
    /// To [`SERVICE`], whose connections are redirected.
    pub(crate) redirected: bool,
    pub(crate) seconds: u32,
}

impl Http1 {
    pub(crate) fn run(self, arena: &Arena, port: u16) -> Seen {
        let script = arena.file("bench.lua", SCRIPT);
        let host = if self.redirected {
            SERVICE
        } else {
            "127.0.0.1"
        };
        let mut command = pinned(OTHER_CORE, "wrk");
        command
            .args(["-t1", "-c", &self.connections.to_string()])
            .args(["-d", &format!("{}s", self.seconds)])
            .args(["-H", &format!("Host: {HOST}"), "-s"])
            .arg(script)
            .arg(format!("http://{host}:{port}{}", self.path));
        if self.paced {
            command.env("SEGUE_BENCH_PACED", "1");
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Option<Vec<u64>> = text
            .lines()
            .find_map(|line| line.strip_prefix("segue-bench "))
            .and_then(|line| line.split(' ').map(|word| word.parse().ok()).collect());
        let Some(&[requests, failed, p99_us]) = numbers.as_deref() else {
            panic!("{command:?} said {text}{output:?}");
        };
        Seen {
            requests,
            failed,
            p99_us,
        }
    }
}

/// HTTP/2 with 8 connections of 8 streams.
pub(crate) fn http2(port: u16, seconds: u32) -> Seen {
    let mut command = pinned(OTHER_CORE, "h2load");
    command
        .args(["-c8", "-m8", "-t1", "-D", &seconds.to_string()])
        .arg(format!("--connect-to=127.0.0.1:{port}"))
        .arg(format!("http://{HOST}:81/1k"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let codes = text.lines().find(|line| line.starts_with("status codes:"));
    let number = |line: Option<&str>, word: &str| -> Option<u64> {
        let before = line?.split(word).next()?.trim_end();
        before.rsplit([' ', ',']).next()?.parse().ok()
    };
    let good = number(codes, "2xx");
    let requests = text.lines().find(|line| line.starts_with("requests:"));
    let (Some(good), Some(done)) = (good, number(requests, "done")) else {
        panic!("{command:?} said {text}{output:?}");
    };
    Seen {
        requests: good,
        failed: done.saturating_sub(good),
        p99_us: 0,
    }
}

/// Whether a request to the service is answered by it.
pub(crate) fn is_served(port: u16) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}

/// Opens connections, each with one request that is answered, and leaves them open.
pub(crate) fn idle(port: u16, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| one_request(port)).collect()
}

fn one_request(port: u16) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
        .write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())
        .unwrap();
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    while !read.ends_with(&[b'x'; 1024]) {
        let length = stream.read(&mut buffer).unwrap();
        assert!(
            length > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&read)
        );
        read.extend_from_slice(&buffer[..length]);
    }
    assert!(
        read.starts_with(b"HTTP/1.1 200"),
        "{:?}",
        String::from_utf8_lossy(&read)
    );
    stream
}
