//! The program as an operator meets it: what it prints, how it ends.
#![expect(
    clippy::unwrap_used,
    reason = "a test's own helpers: a failure is the result"
)]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
};
use tempfile::TempDir;

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: shop}
spec:
  selector: {app: checkout}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]
";

fn folder(manifest: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("manifests")).unwrap();
    fs::write(folder.path().join("manifests/checkout.yaml"), manifest).unwrap();
    folder
}

fn command(folder: &Path, xds: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_segue-control-plane"));
    command
        .args(["standalone", "--http", "127.0.0.1:0", "--xds", xds])
        .arg("--manifests")
        .arg(folder.join("manifests"))
        .arg("--state")
        .arg(folder.join("state"))
        .stdin(Stdio::null());
    command
}

/// A control plane that serves, and the line that said so.
fn serving(folder: &Path) -> (Child, String) {
    let mut child = command(folder, "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, line)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn terminate(child: &Child) {
    let pid = i32::try_from(child.id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
}

#[test]
fn it_says_where_it_listens_and_ends_with_0_when_told_to() {
    let folder = folder(SERVICE);
    let (mut child, line) = serving(folder.path());
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(matches!(words.as_slice(), ["listening", xds, http]
        if xds.starts_with("xds=127.0.0.1:") && http.starts_with("http=127.0.0.1:")));
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The value of a setting in the first HTTP/2 frame that a server sends (RFC 9113, section 6.5).
fn setting(address: &str, id: u16) -> Option<u32> {
    const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    stream.write_all(&EMPTY_SETTINGS).unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4, "SETTINGS come first");
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut body).unwrap();
    let (settings, _) = body.as_chunks::<6>();
    let found = settings.iter().find(|s| s[..2] == id.to_be_bytes());
    found.map(|s| u32::from_be_bytes([s[2], s[3], s[4], s[5]]))
}

#[test]
fn a_connection_has_at_most_100_streams_open() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let folder = folder(SERVICE);
    let (mut child, line) = serving(folder.path());
    let xds = line.split_whitespace().nth(1).unwrap();
    let address = xds.strip_prefix("xds=").unwrap();
    assert_eq!(setting(address, MAX_CONCURRENT_STREAMS), Some(100));
    terminate(&child);
    child.wait().unwrap();
}

#[test]
fn an_invalid_manifest_ends_it_with_2_and_names_file_line_and_field() {
    let folder = folder(&SERVICE.replace("port: 80", "port: 80000"));
    let output = command(folder.path(), "127.0.0.1:0").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = text(&output);
    assert!(
        text.contains("checkout.yaml:6: spec.ports[0].port"),
        "{text}"
    );
}

#[test]
fn a_missing_folder_ends_it_with_2() {
    let folder = TempDir::new().unwrap();
    let output = command(folder.path(), "127.0.0.1:0").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("manifests"), "{}", text(&output));
}

#[test]
fn a_port_in_use_ends_it_with_2() {
    let folder = folder(SERVICE);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(folder.path(), &address).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains(&format!("{address} is in use")),
        "{}",
        text(&output)
    );
}

#[test]
fn a_second_one_on_the_same_state_folder_ends_with_2() {
    let folder = folder(SERVICE);
    let (mut first, _) = serving(folder.path());
    let output = command(folder.path(), "127.0.0.1:0").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("another control plane"),
        "{}",
        text(&output)
    );
    terminate(&first);
    assert_eq!(first.wait().unwrap().code(), Some(0));
}

#[test]
fn a_damaged_state_file_ends_it_with_1_and_its_name() {
    let folder = folder(SERVICE);
    fs::create_dir(folder.path().join("state")).unwrap();
    fs::write(folder.path().join("state/services.json"), "{\"shop/ch").unwrap();
    let output = command(folder.path(), "127.0.0.1:0").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("services.json"), "{}", text(&output));
}

#[test]
fn a_foreign_file_in_the_outbox_ends_it_with_1_and_its_name() {
    let folder = folder(SERVICE);
    fs::create_dir_all(folder.path().join("state/outbox")).unwrap();
    fs::write(folder.path().join("state/outbox/mine.queue"), "{}").unwrap();
    let output = command(folder.path(), "127.0.0.1:0").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = text(&output);
    assert!(
        text.contains("mine.queue can't be read") && text.contains("move it away"),
        "{text}"
    );
}
