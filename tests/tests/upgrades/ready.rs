//! The ready instances of a service, as a Service without a mesh deals its clients to them.

use parking_lot::Mutex;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};

/// As long as other clients wait.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(8);
const HTTP_PORT: u16 = 8080;

/// An instance that may be dealt a request.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) address: IpAddr,
}

/// The ready instances of a service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ready(Arc<Mutex<Dealt>>);

#[derive(Debug, Default)]
struct Dealt {
    instances: Vec<Instance>,
    next: usize,
}

impl Ready {
    /// Adds an instance once its sidecar places requests: it sets cookies.
    pub(crate) async fn add(&self, name: &str, version: &str, address: IpAddr) {
        let begun = Instant::now();
        while !matches!(ask(address, "", None).await, Ok(answer) if answer.cookie.is_some()) {
            assert!(begun.elapsed() < TIMEOUT, "{name} does not get ready");
            sleep(Duration::from_millis(20)).await;
        }
        self.0.lock().instances.push(Instance {
            name: name.to_owned(),
            version: version.to_owned(),
            address,
        });
    }

    /// Takes an instance out.
    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().instances.retain(|one| one.name != name);
    }

    /// The next one, in turn.
    pub(crate) fn next(&self) -> Instance {
        let mut dealt = self.0.lock();
        dealt.next += 1;
        dealt.instances[dealt.next % dealt.instances.len()].clone()
    }
}

/// An answer, as far as it matters here.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) version: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) cookie: Option<String>,
    pub(crate) text: String,
}

/// One request over a connection of its own.
pub(crate) async fn ask(
    address: IpAddr,
    id: &str,
    cookie: Option<&str>,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(SocketAddr::new(address, HTTP_PORT)).await?;
    let cookie = cookie.map_or_else(String::new, |cookie| format!("cookie: {cookie}\r\n"));
    let id = match id {
        "" => String::new(),
        id => format!("x-lab-request: {id}\r\n"),
    };
    let request = format!(
        "GET / HTTP/1.1\r\nhost: checkout.example.com\r\n{id}{cookie}connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let header = |name: &str| {
        let mut lines = text.lines().take_while(|line| !line.is_empty());
        lines.find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let cookie = header("set-cookie");
    Ok(Answer {
        status: status.ok_or(std::io::ErrorKind::UnexpectedEof)?,
        version: header("x-lab-version"),
        instance: header("x-lab-instance"),
        cookie: cookie.map(|all| all.split(';').next().unwrap_or_default().to_owned()),
        text,
    })
}
