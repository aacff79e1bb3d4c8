//! The rules as the kernel carries them out, in a network namespace of the test's own.
//!
//! Has no test harness: only a process with one thread may enter a user namespace. Where the kernel refuses one it says
//! so and passes, unless `SEGUE_REQUIRE_NAMESPACES=1`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test without a harness reports by itself, and fails by panicking"
)]

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{getgid, getuid},
};
use rtnetlink::{LinkBridge, LinkUnspec, RouteMessageBuilder};
use segue_sidecar::redirect::{self, Config};
use socket2::{Domain, SockRef, Socket, Type};
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
};

const MARK: u32 = 0x5e90e;
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 80);

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        println!("redirection: test");
        return;
    }
    if let Err(error) = enter() {
        let required = std::env::var_os("SEGUE_REQUIRE_NAMESPACES").is_some_and(|set| set == "1");
        assert!(!required, "user namespaces refused: {error}");
        println!("skipped: user namespaces refused: {error}");
        return;
    }
    network();
    let config = Config {
        mark: Some(MARK),
        ..Config::default()
    };
    test("removing where nothing is installed is no error", || {
        redirect::remove().unwrap();
    });
    redirect::install(&config).unwrap();
    test("installing again replaces", || {
        redirect::install(&config).unwrap();
    });
    let sidecar = TcpListener::bind("127.0.0.1:15001").unwrap();
    test("a connection to a service reaches the sidecar", || {
        taken(&sidecar);
    });
    test("a marked connection goes its way", || marked(&sidecar));
    test("the Pod's own address is reached directly", own_address);
    let config = Config {
        exclude_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        exclude_outbound_ports: vec![81],
        ..config
    };
    redirect::install(&config).unwrap();
    test("excluded destinations go their way", || excluded(&sidecar));
    redirect::remove().unwrap();
    test("without rules nothing is taken", || untouched(&sidecar));
}

fn test(name: &str, run: impl FnOnce()) {
    run();
    println!("test {name} ... ok");
}

/// A user namespace in which this user is root, and an empty network.
fn enter() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// An interface behind which nobody answers, with a route to everywhere.
fn network() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        handle
            .link()
            .add(LinkBridge::new("pod0").build())
            .execute()
            .await
            .unwrap();
        let loopback = LinkUnspec::new_with_index(1).up().build();
        handle.link().set(loopback).execute().await.unwrap();
        handle
            .address()
            .add(2, OWN.into(), 24)
            .execute()
            .await
            .unwrap();
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::UNSPECIFIED, 0)
            .output_interface(2)
            .build();
        handle.route().add(route).execute().await.unwrap();
    });
}

/// Begins to connect; where nobody answers that stays so.
fn connect(to: SocketAddrV4, mark: Option<u32>) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(mark) = mark {
        socket.set_mark(mark).unwrap();
    }
    socket.set_nonblocking(true).unwrap();
    match socket.connect(&SocketAddr::from(to).into()) {
        Ok(()) => {}
        Err(error) => assert_eq!(
            error.raw_os_error(),
            Some(nix::libc::EINPROGRESS),
            "{error}"
        ),
    }
    socket
}

fn original_destination(stream: &TcpStream) -> SocketAddr {
    SockRef::from(stream)
        .original_dst_v4()
        .unwrap()
        .as_socket()
        .unwrap()
}

/// The next connection that the sidecar accepts is this one.
fn accepted(sidecar: &TcpListener, client: &Socket) -> TcpStream {
    let (stream, peer) = sidecar.accept().unwrap();
    assert_eq!(Some(peer), client.local_addr().unwrap().as_socket());
    stream
}

fn taken(sidecar: &TcpListener) {
    let client = connect(SERVICE, None);
    assert_eq!(
        original_destination(&accepted(sidecar, &client)),
        SERVICE.into()
    );
}

fn marked(sidecar: &TcpListener) {
    let alone = connect(SERVICE, Some(MARK));
    let client = connect(SERVICE, None);
    drop(accepted(sidecar, &client));
    assert!(
        alone.peer_addr().is_err(),
        "the marked connection was answered"
    );
}

fn own_address() {
    let application = TcpListener::bind((OWN, 8080)).unwrap();
    let client = TcpStream::connect((OWN, 8080)).unwrap();
    let (stream, peer) = application.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    assert_eq!(stream.local_addr().unwrap().port(), 8080);
}

fn excluded(sidecar: &TcpListener) {
    let by_network = connect(SERVICE, None);
    let by_port = connect(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 81), None);
    let client = connect(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 80), None);
    drop(accepted(sidecar, &client));
    assert!(by_network.peer_addr().is_err() && by_port.peer_addr().is_err());
}

fn untouched(sidecar: &TcpListener) {
    let outside = connect(SERVICE, None);
    let client = TcpStream::connect("127.0.0.1:15001").unwrap();
    let (_stream, peer) = sidecar.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    assert!(
        outside.peer_addr().is_err(),
        "something answered though the rules are gone"
    );
}
