//! What all proxies forward to: an nginx per version for HTTP/1.1 and TCP, an nghttpd per version for HTTP/2.
//!
//! Each version also listens on a second port, to which its endpoint moves while configurations change.

use super::{
    arena::Arena,
    process::{OTHER_CORE, Process, pinned},
};
use std::{fs, net::SocketAddr};

/// Ports of a version: HTTP/1.1, the second HTTP/1.1, HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version {
    pub(crate) http1: u16,
    pub(crate) moved: u16,
    pub(crate) http2: u16,
}

pub(crate) const OLD: Version = Version {
    http1: 18_001,
    moved: 18_011,
    http2: 18_201,
};
pub(crate) const NEW: Version = Version {
    http1: 18_002,
    moved: 18_012,
    http2: 18_202,
};

/// Both versions, running.
#[derive(Debug)]
pub(crate) struct Backends {
    _processes: Vec<Process>,
}

impl Backends {
    pub(crate) fn start(arena: &Arena) -> Self {
        let root = arena.fast("www");
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("1k"), vec![b'x'; 1024]).unwrap();
        fs::write(root.join("1m"), vec![b'x'; 1024 * 1024]).unwrap();
        let mut processes = Vec::new();
        for (name, version) in [("old", OLD), ("new", NEW)] {
            let file = arena.file(
                &format!("backend-{name}.conf"),
                &nginx(arena, name, version, &root.display().to_string()),
            );
            let mut command = pinned(OTHER_CORE, "nginx");
            command.arg("-c").arg(file);
            processes.push(Process::start(
                command,
                &arena.log(&format!("backend-{name}")),
                local(version.http1),
            ));
            if !arena.has("nghttpd") {
                continue;
            }
            let mut command = pinned(OTHER_CORE, "nghttpd");
            command
                .args(["--no-tls", "-a", "127.0.0.1", "-d"])
                .arg(&root)
                .arg(version.http2.to_string());
            processes.push(Process::start(
                command,
                &arena.log(&format!("backend-h2-{name}")),
                local(version.http2),
            ));
        }
        Self {
            _processes: processes,
        }
    }
}

/// A loopback address.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn nginx(arena: &Arena, name: &str, version: Version, root: &str) -> String {
    let pid = arena.path(&format!("backend-{name}.pid"));
    format!(
        "daemon off; worker_processes 1; pid {}; error_log stderr crit; user root;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; sendfile on; tcp_nopush on;
  server {{
    listen 127.0.0.1:{} backlog=4096; listen 127.0.0.1:{} backlog=4096;
    root {root};
    location = / {{ return 200 \"{}\"; }}
  }}
}}\n",
        pid.display(),
        version.http1,
        version.moved,
        "x".repeat(1024)
    )
}
