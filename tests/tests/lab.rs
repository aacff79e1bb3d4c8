//! The lab: Pods as namespaces, real redirection, and nothing left behind.
//!
//! Has no test harness: only a process with one thread may enter a user namespace, and this file is also the programs
//! that run in its Pods. Where the kernel refuses namespaces it says so and passes, unless `SEGUE_REQUIRE_NAMESPACES=1`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test without a harness reports by itself, and fails by panicking"
)]

use nix::{
    libc,
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        stat::Mode as FileMode,
    },
    unistd::{Pid, mkfifo},
};
use segue_cli::lab::{
    self, ControlPlane, ControlPlaneSpec, Entered, Lab, Mode, Part, Pod, PodSpec, SidecarSpec,
};
use socket2::{Domain, SockRef, Socket, Type};
use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, ToSocketAddrs as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
};

const SCENARIOS: [(&str, &str); 8] = [
    (
        "redirection",
        "connections of Pods are taken, with their original destination",
    ),
    ("names", "an unmodified client resolves service names"),
    ("loopback", "without namespaces Pods are loopback addresses"),
    ("ends", "the ends of a Pod's processes are told"),
    (
        "mesh",
        "an unmodified client reaches a service through both sidecars",
    ),
    (
        "mesh-on-loopback",
        "on loopback the same by way of an explicit proxy",
    ),
    (
        "signalled",
        "a signal and an exit code pass through the lab's outer process",
    ),
    ("killed", "a killed lab leaves nothing behind"),
];
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The exit code of a scenario that the kernel did not allow.
const SKIPPED: u8 = 77;
const MARK: u32 = 0x5_e90e;
const GRACE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str().unwrap())
        .collect();
    match words.as_slice() {
        ["segue-lab-pod", ..] => return lab::pod::main(arguments),
        ["segue-lab-app", ..] => return lab::app::main(arguments),
        ["segue-control-plane", ..] => return segue_control_plane::app::main(arguments),
        ["segue-sidecar", ..] => return segue_sidecar::app::main(arguments),
        [_, "catch", server] => catch(server.parse().unwrap()),
        [_, "resolve", name] => resolve(name),
        [_, "fetch", proxy] => fetch(proxy),
        [_, "deaf"] => deaf(),
        [_, "hold", fifo] => hold(Path::new(fifo)),
        [_, "scenario", name] => return scenario(name, arguments.clone()),
        words if words.contains(&"--list") => list(),
        _ => run_all(),
    }
    ExitCode::SUCCESS
}

fn list() {
    for (name, _) in SCENARIOS {
        println!("{name}: test");
    }
}

/// Each scenario in a process of its own.
fn run_all() {
    for (name, sentence) in SCENARIOS {
        let mut scenario = Command::new("/proc/self/exe");
        scenario.args(["scenario", name]);
        if name.ends_with("loopback") {
            scenario.env("SEGUE_LAB", "loopback");
        }
        let status = scenario.status().unwrap();
        if status.code() == Some(SKIPPED.into()) {
            println!("test {sentence} ... ignored");
            continue;
        }
        assert!(status.success(), "{name} failed: {status}");
        println!("test {sentence} ... ok");
    }
}

fn scenario(name: &str, arguments: Vec<OsString>) -> ExitCode {
    // Nobody waits for it once the tests are gone.
    prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
    match name {
        "killed" => return killed(),
        "signalled" => return signalled(),
        _ => {}
    }
    let mode = match lab::enter(arguments) {
        Entered::Finished(code) => return code,
        Entered::Inside(mode) => mode,
    };
    if let Mode::Loopback { reason } = &mode
        && !name.ends_with("loopback")
    {
        let required = env::var_os("SEGUE_REQUIRE_NAMESPACES").is_some_and(|set| set == "1");
        assert!(!required, "namespaces refused: {reason}");
        println!("skipped: namespaces refused: {reason}");
        return ExitCode::from(SKIPPED);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let hosts: Vec<(String, IpAddr)> = lab::service_names("checkout", "shop")
            .map(|name| (name, SERVICE.into()))
            .into();
        let lab = Lab::start(mode, dir.path(), &hosts).await.unwrap();
        match name {
            "redirection" => redirection(&lab).await,
            "names" => names(&lab).await,
            "loopback" => loopback(&lab).await,
            "ends" => ends(&lab).await,
            "mesh" | "mesh-on-loopback" => mesh(&lab).await,
            "hold" => pending(&lab).await,
            "await-signal" => return await_signal().await,
            other => panic!("no scenario {other}"),
        }
        ExitCode::SUCCESS
    })
}

fn pod(workload: &str, app: &[&str]) -> PodSpec {
    PodSpec {
        workload: workload.to_owned(),
        app: Some(app.iter().map(OsString::from).collect()),
        lines: true,
        ..PodSpec::default()
    }
}

async fn stop(pod: Pod) {
    assert_eq!(pod.stop(GRACE).await.unwrap().killed, []);
}

async fn redirection(lab: &Lab) {
    let redirect = Some((15_001, 15_006));
    let spec = pod("shop/checkout-1", &["/proc/self/exe", "catch", "0.0.0.0:0"]);
    let mut server = lab.start_pod(PodSpec { redirect, ..spec }).await.unwrap();
    let mut server_lines = server.app_lines();
    assert_eq!(server_lines.recv().await.unwrap(), "catching");
    let to = SocketAddr::new(server.address(), 8080);
    let spec = pod("shop/web", &["/proc/self/exe", "catch", &to.to_string()]);
    let mut client = lab.start_pod(PodSpec { redirect, ..spec }).await.unwrap();
    let mut client_lines = client.app_lines();
    assert_eq!(client_lines.recv().await.unwrap(), "catching");
    assert_eq!(
        client_lines.recv().await.unwrap(),
        format!("outbound {SERVICE}:80")
    );
    assert_eq!(
        server_lines.recv().await.unwrap(),
        format!("inbound {to} from {}", client.address())
    );
    for mut one in [client, server] {
        one.kill_app().await.unwrap();
        assert_eq!(one.exited().await.unwrap().signal, Some(libc::SIGKILL));
        stop(one).await;
    }
}

/// A program of a Pod: takes what redirection brings, and itself connects to a service, and past redirection to a server.
fn catch(server: SocketAddr) {
    let outbound = TcpListener::bind("127.0.0.1:15001").unwrap();
    let inbound = TcpListener::bind("0.0.0.0:15006").unwrap();
    println!("catching");
    if server.port() != 0 {
        let client = TcpStream::connect(SocketAddrV4::new(SERVICE, 80)).unwrap();
        let (taken, _) = outbound.accept().unwrap();
        println!("outbound {}", original_destination(&taken));
        drop(client);
        let past = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        past.set_mark(MARK).unwrap();
        past.connect(&server.into()).unwrap();
    }
    for taken in inbound.incoming() {
        let taken = taken.unwrap();
        let peer = taken.peer_addr().unwrap().ip();
        println!("inbound {} from {peer}", original_destination(&taken));
    }
}

fn original_destination(stream: &TcpStream) -> SocketAddr {
    SockRef::from(stream)
        .original_dst_v4()
        .unwrap()
        .as_socket()
        .unwrap()
}

async fn names(lab: &Lab) {
    assert_eq!(lab.notes(), [] as [String; 0]);
    for name in lab::service_names("checkout", "shop") {
        let mut client = lab
            .start_pod(pod("shop/web", &["/proc/self/exe", "resolve", &name]))
            .await
            .unwrap();
        assert_eq!(
            client.app_lines().recv().await.unwrap(),
            format!("{SERVICE}:80")
        );
        stop(client).await;
    }
}

/// A program of a Pod: prints what a name resolves to.
fn resolve(name: &str) {
    println!("{}", (name, 80).to_socket_addrs().unwrap().next().unwrap());
}

async fn loopback(lab: &Lab) {
    let app = [
        "segue-lab-app",
        "--version",
        "v2",
        "--http",
        "{address}:8080",
    ];
    let mut server = lab.start_pod(pod("shop/checkout-1", &app)).await.unwrap();
    assert!(server.address().is_loopback());
    let serving = server.app_lines().recv().await.unwrap();
    assert_eq!(serving, format!("listening http={}:8080", server.address()));
    let mut stream = TcpStream::connect((server.address(), 8080)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: checkout\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("x-lab-version: v2"), "{answer}");
    assert!(answer.ends_with("v2 shop/checkout-1\n"), "{answer}");
    stop(server).await;
}

async fn ends(lab: &Lab) {
    let crashing = [
        "segue-lab-app",
        "--http",
        "{address}:8080",
        "--fault",
        "crash",
    ];
    let mut server = lab
        .start_pod(pod("shop/checkout-1", &crashing))
        .await
        .unwrap();
    server.app_lines().recv().await.unwrap();
    server.signal_app(libc::SIGUSR1).await.unwrap();
    let exit = server.exited().await.unwrap();
    assert_eq!((exit.part, exit.code), (Part::App, Some(1)));
    assert!(
        server
            .kill_sidecar()
            .await
            .unwrap_err()
            .chain()
            .any(|cause| { cause.to_string().contains("no sidecar") })
    );
    stop(server).await;
    let deaf = ["/proc/self/exe", "deaf"];
    let mut server = lab.start_pod(pod("shop/checkout-2", &deaf)).await.unwrap();
    let mut lines = server.app_lines();
    assert_eq!(next(&mut server, &mut lines).await, "deaf");
    assert_eq!(
        server.stop(Duration::from_millis(1)).await.unwrap().killed,
        [Part::App]
    );
    let error = lab
        .start_pod(pod("shop/checkout-3", &["segue-no-such-program"]))
        .await;
    let exit = error.unwrap().exited().await.unwrap();
    assert_eq!((exit.part, exit.code), (Part::App, Some(1)));
}

/// The same with a sidecar that keeps its state under the Pod's name.
fn meshed(lab: &Lab, control_plane: &ControlPlane, spec: PodSpec, address: IpAddr) -> PodSpec {
    let sidecar = SidecarSpec {
        control_plane: control_plane.url(),
        state: lab.logs().join(&spec.workload),
        extra: Vec::new(),
    };
    PodSpec {
        sidecar: Some(sidecar),
        address: Some(address),
        ..spec
    }
}

async fn mesh(lab: &Lab) {
    let manifests = lab.logs().join("manifests");
    fs::create_dir(&manifests).unwrap();
    let [server_at, client_at] = [lab.allocate(), lab.allocate()];
    let text = MANIFESTS
        .replace("SERVER", &server_at.to_string())
        .replace("CLIENT", &client_at.to_string());
    fs::write(manifests.join("all.yaml"), text).unwrap();
    let state = lab.logs().join("state");
    let spec = ControlPlaneSpec {
        manifests,
        state,
        extra: Vec::new(),
    };
    let mut control_plane = ControlPlane::start(lab, spec).await.unwrap();
    let app = [
        "segue-lab-app",
        "--http",
        "{address}:8080",
        "--tcp",
        "{address}:9090",
    ];
    let server = meshed(lab, &control_plane, pod("shop/checkout-1", &app), server_at);
    let client = pod("shop/web", &["/proc/self/exe", "fetch", "{proxy}"]);
    let client = meshed(lab, &control_plane, client, client_at);
    let mut server = lab.start_pod(server).await.unwrap();
    let mut client = lab.start_pod(client).await.unwrap();
    let explicit = matches!(lab.mode(), Mode::Loopback { .. });
    assert_eq!(client.outbound_proxy().is_some(), explicit);
    let mut lines = client.app_lines();
    assert_eq!(next(&mut client, &mut lines).await, "http shop/checkout-1");
    assert_eq!(
        next(&mut client, &mut lines).await,
        "tcp v1 shop/checkout-1"
    );
    server.kill_sidecar().await.unwrap();
    let exit = server.exited().await.unwrap();
    assert_eq!(
        (exit.part, exit.signal),
        (Part::Sidecar, Some(libc::SIGKILL))
    );
    control_plane.kill().await.unwrap();
    control_plane.restart().await.unwrap();
    server.restart_sidecar().await.unwrap();
    stop(client).await;
    stop(server).await;
    assert!(control_plane.stop(GRACE).await.unwrap().success());
}

/// The application's next line; its end before that is a failure.
async fn next(pod: &mut Pod, lines: &mut UnboundedReceiver<String>) -> String {
    tokio::select! {
        biased;
        line = lines.recv() => line.unwrap(),
        exit = pod.exited() => panic!("ended early: {exit:?}"),
    }
}

/// A program of a Pod: asks a service until an instance answers, which takes a moment after its start.
fn fetch(proxy: &str) {
    let instance = loop {
        let mut stream = reach("checkout.shop", 80, proxy);
        let request = "GET / HTTP/1.1\r\nhost: checkout.shop\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let found = answer
            .lines()
            .find_map(|line| line.strip_prefix("x-lab-instance: "));
        if let Some(instance) = found {
            break instance.to_owned();
        }
    };
    println!("http {instance}");
    let mut stream = reach("checkout.shop", 9000, proxy);
    if !proxy.is_empty() {
        let request = "CONNECT 10.96.0.10:9000 HTTP/1.1\r\nhost: 10.96.0.10:9000\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "));
    }
    let mut greeting = String::new();
    BufReader::new(stream).read_line(&mut greeting).unwrap();
    println!("tcp {}", greeting.trim_end());
}

/// By the service's name, or to the proxy where there is one.
fn reach(name: &str, port: u16, proxy: &str) -> TcpStream {
    if proxy.is_empty() {
        return TcpStream::connect((name, port)).unwrap();
    }
    TcpStream::connect(proxy).unwrap()
}

const MANIFESTS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  selector: {app: checkout}
  ports:
    - {name: http, port: 80, targetPort: 8080, appProtocol: http}
    - {name: tcp, port: 9000, targetPort: 9090, appProtocol: tcp}
---
apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {name: checkout-1, namespace: shop, labels: {app: checkout}}
spec: {version: v1, address: SERVER}
---
apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {version: v1, address: CLIENT}
";

/// A lab that runs a scenario of its own; `None` where namespaces are refused.
fn lab_of(scenario: &str, fifo: &Path) -> Option<Child> {
    let mut outer = Command::new("/proc/self/exe")
        .args(["scenario", scenario])
        .env("FIFO", fifo)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(outer.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    if said == "held\n" {
        return Some(outer);
    }
    print!("{said}");
    assert_eq!(outer.wait().unwrap().code(), Some(SKIPPED.into()));
    None
}

fn send(outer: &Child, signal: Signal) {
    kill(Pid::from_raw(outer.id().try_into().unwrap()), signal).unwrap();
}

/// Kills a lab from outside; the end of its application is the end of a pipe that only that had open.
fn killed() -> ExitCode {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mkfifo(&fifo, FileMode::S_IRWXU).unwrap();
    let Some(mut outer) = lab_of("hold", &fifo) else {
        return ExitCode::from(SKIPPED);
    };
    let mut held = fs::File::open(&fifo).unwrap();
    send(&outer, Signal::SIGKILL);
    assert_eq!(outer.wait().unwrap().signal(), Some(libc::SIGKILL));
    // Ends when nobody has it open for writing any more.
    io::copy(&mut held, &mut io::sink()).unwrap();
    ExitCode::SUCCESS
}

fn signalled() -> ExitCode {
    let Some(mut outer) = lab_of("await-signal", Path::new("")) else {
        return ExitCode::from(SKIPPED);
    };
    send(&outer, Signal::SIGTERM);
    assert_eq!(outer.wait().unwrap().code(), Some(7));
    ExitCode::SUCCESS
}

async fn await_signal() -> ExitCode {
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    println!("held");
    terminate.recv().await;
    ExitCode::from(7)
}

async fn pending(lab: &Lab) {
    let fifo = env::var("FIFO").unwrap();
    let mut holder = lab
        .start_pod(pod("shop/holder", &["/proc/self/exe", "hold", &fifo]))
        .await
        .unwrap();
    assert_eq!(holder.app_lines().recv().await.unwrap(), "holding");
    println!("held");
    std::future::pending::<()>().await;
}

/// A program of a Pod: does not hear that it should end.
fn deaf() {
    let mut unheard = SigSet::empty();
    unheard.add(Signal::SIGTERM);
    unheard.thread_block().unwrap();
    println!("deaf");
    loop {
        std::thread::park();
    }
}

/// A program of a Pod: keeps a pipe open until it is killed.
fn hold(fifo: &Path) {
    println!("holding");
    let _held = fs::File::options().write(true).open(fifo).unwrap();
    loop {
        std::thread::park();
    }
}
