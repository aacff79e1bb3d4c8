//! Programs that run pinned to a core, and what they cost: CPU time and memory from `/proc`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The core of the proxy that is measured.
pub(crate) const PROXY_CORE: &str = "0";
/// The core of clients, backends and the control plane.
pub(crate) const OTHER_CORE: &str = "1";
/// How long a program may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);
/// `sysconf(_SC_CLK_TCK)`, 100 on every Linux.
const TICK_US: u64 = 10_000;

/// A program that runs; killed when dropped, and when this process dies.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

/// A command that runs on `core` and does not outlive this process.
pub(crate) fn pinned(core: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", core]);
    command.arg(program);
    command
}

impl Process {
    /// Starts it with its output in `log`, and waits until it listens on `address`.
    pub(crate) fn start(mut command: Command, log: &Path, address: SocketAddr) -> Self {
        let output = File::create(log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let mut process = Self { child };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = process.child.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "{command:?} does not listen on {address} ({ended:?}):\n{}",
                fs::read_to_string(log).unwrap_or_default()
            );
            sleep(Duration::from_millis(20));
        }
        process
    }

    /// The program's own process. What starts it executes it in its own place.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User and system time so far, of it and its children, in microseconds.
    pub(crate) fn cpu_us(&self) -> u64 {
        tree(self.pid()).into_iter().map(cpu_us).sum()
    }

    /// Anonymous memory of it and its children, in KiB.
    pub(crate) fn anonymous_kib(&self) -> u64 {
        tree(self.pid()).into_iter().map(anonymous_kib).sum()
    }

    /// Kills it and its children.
    pub(crate) fn end(&mut self) {
        for pid in tree(self.pid()) {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
        }
        self.child.wait().ok();
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        next += 1;
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    all
}

fn cpu_us(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces; it ends with the last parenthesis. Fields 14 and 15 follow it as 12 and 13.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks * TICK_US
}

fn anonymous_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
