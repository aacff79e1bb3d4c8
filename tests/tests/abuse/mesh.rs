//! A service with one instance and a client's sidecar, as plain processes on loopback. The sidecar
//! is an explicit proxy, so what its clients write is what it reads.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

/// Far more than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// So much memory the sidecar may take for all that is done to it.
const GROWTH_KIB: u64 = 64 * 1024;

const HOST: &str = "checkout.shop";

/// The service and its sidecar.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// Where clients send.
    pub(crate) proxy: SocketAddr,
    admin: SocketAddr,
    sidecar: Child,
    at_rest_kib: u64,
    _control_plane: Child,
    _folder: tempfile::TempDir,
}

impl Mesh {
    /// A sidecar with these flags beside the usual, in front of an application that answers `ok`
    /// and, at `/big`, 64 MiB.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        Self::start_within(":", flags).await
    }

    /// The same, with a sidecar that starts after this line of a shell's.
    pub(crate) async fn start_within(line: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        fs::create_dir(&manifests).unwrap();
        let app = application().await;
        fs::write(manifests.join("all.yaml"), documents(app)).unwrap();
        let (control_plane, at) = program(
            "segue-control-plane",
            folder.path(),
            ":",
            &[
                "standalone",
                "--manifests",
                manifests.to_str().unwrap(),
                "--state",
                folder.path().join("state").to_str().unwrap(),
                "--xds",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
            ],
        )
        .await;
        let server = format!("http://{}", at["xds"]);
        let usual = [
            "run",
            "--workload",
            "shop/web",
            "--threads",
            "1",
            "--control-plane",
            &server,
            "--outbound",
            "127.0.0.1:0",
            "--inbound",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--probe",
            "127.0.0.1:0",
        ];
        let arguments = [&usual, flags].concat();
        let (sidecar, at) = program("segue-sidecar", folder.path(), line, &arguments).await;
        let mut mesh = Self {
            proxy: at["outbound"],
            admin: at["admin"],
            sidecar,
            at_rest_kib: 0,
            _control_plane: control_plane,
            _folder: folder,
        };
        let served = async {
            while !mesh.get().await.starts_with("HTTP/1.1 200") {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LONG, served).await.unwrap();
        mesh.at_rest_kib = mesh.resident_kib();
        mesh
    }

    /// A connection to the sidecar.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy).await.unwrap()
    }

    /// One connection that says this; what is answered until the sidecar closes it.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The sidecar may close before it has read all.
        stream.write_all(bytes).await.ok();
        rest(&mut stream).await
    }

    /// An honest client's request.
    pub(crate) async fn get(&self) -> String {
        self.raw(get("/", "connection: close\r\n").as_bytes()).await
    }

    /// Others are served, and memory is bounded.
    pub(crate) async fn is_well(&self) {
        let answer = timeout(LONG, self.get()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let now = self.resident_kib();
        let growth = now.saturating_sub(self.at_rest_kib);
        assert!(growth < GROWTH_KIB, "grown by {growth} KiB to {now} KiB");
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let ask = "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let text = rest(&mut stream).await;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    }

    /// The processor time that it has used, user and system, in hundredths of a second.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.sidecar.id().unwrap()));
        let stat = stat.unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let used = fields.skip(11).take(2);
        used.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    fn resident_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.sidecar.id().unwrap());
        let status = fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let text = line.unwrap().trim().trim_end_matches(" kB");
        text.parse().unwrap()
    }
}

/// A request for the service, with further header lines.
pub(crate) fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n{lines}\r\n")
}

/// A request with a body, with further header lines.
pub(crate) fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n{lines}\r\n{body}")
}

/// What comes until the connection ends, by whatever.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(LONG, stream.read_to_end(&mut answer));
    // A reset ends it as well: the sidecar closed with something unread.
    read.await.expect("the sidecar ends the connection").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn program(
    name: &str,
    folder: &Path,
    line: &str,
    arguments: &[&str],
) -> (Child, BTreeMap<String, SocketAddr>) {
    let log = fs::File::create(folder.join(name)).unwrap();
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("{line}; exec -a \"$@\""), "bash", name])
        .arg(env!("CARGO_BIN_EXE_segue-under-test"))
        .args(arguments)
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = timeout(LONG, lines.next_line()).await.unwrap().unwrap();
    let first = first.unwrap_or_else(|| panic!("{name} {arguments:?} ended early"));
    let pairs = first.split_whitespace().filter_map(|p| p.split_once('='));
    let addresses = pairs.map(|(name, at)| (name.to_owned(), at.parse().unwrap()));
    (child, addresses.collect())
}

/// An application that reads a request's head and body as far as it must, and answers.
async fn application() -> SocketAddr {
    use hyper::{
        Request, Response,
        body::{Bytes, Incoming},
        service::service_fn,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let service = |request: Request<Incoming>| async move {
        use http_body_util::{BodyExt as _, Full};
        static BIG: [u8; 64 << 20] = [b'x'; 64 << 20];
        let big = request.uri().path() == "/big";
        let seen = format!("{:?}\n", request.headers());
        request.into_body().collect().await.ok();
        let text = if big {
            Bytes::from_static(&BIG)
        } else {
            seen.into()
        };
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(text)))
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(async move {
                let executor = hyper_util::rt::TokioExecutor::new();
                let builder = hyper_util::server::conn::auto::Builder::new(executor);
                builder.serve_connection(io, service_fn(service)).await.ok();
            });
        }
    });
    at
}

fn documents(app: SocketAddr) -> String {
    let port = app.port();
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: checkout, namespace: shop}}
spec:
  selector: {{app: checkout}}
  ports: [{{name: http, port: 80, targetPort: {port}, appProtocol: http}}]
---
apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {{name: checkout-0, namespace: shop, labels: {{app: checkout}}}}
spec:
  version: v1
  address: 127.0.0.1
---
apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {{name: web, namespace: shop, labels: {{app: web}}}}
spec:
  version: v1
  address: 127.0.0.2
"
    )
}
