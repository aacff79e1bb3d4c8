//! Entering namespaces as an ordinary user. Knows nothing of what happens in them.
//!
//! The invariant: only a process with one thread may call these; the kernel refuses others.

use anyhow::{Context as _, Result, anyhow};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::{getgid, getuid},
};
use std::fs;

/// A user namespace in which this user is root, with a network and mounts of its own; children are born into a process
/// number space of their own, of which the first child is the root.
pub(super) fn enter_cluster() -> Result<()> {
    let (uid, gid) = (getuid(), getgid());
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID;
    unshare(all).map_err(refused)?;
    // One user maps without help from privileged programs; the kernel wants setgroups given up first.
    write("setgroups", "deny")?;
    write("uid_map", &format!("0 {uid} 1"))?;
    write("gid_map", &format!("0 {gid} 1"))
}

/// The kernel's reasons are not telling.
fn refused(errno: Errno) -> anyhow::Error {
    let reason = match errno {
        Errno::ENOSPC => "their number is used up (sysctl user.max_user_namespaces)",
        Errno::EPERM => "they are switched off for ordinary users on this system",
        Errno::EINVAL => {
            "this process has several threads, or the kernel lacks a kind of namespace"
        }
        other => other.desc(),
    };
    anyhow!("the kernel refuses user namespaces: {reason}")
}

fn write(file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/self/{file}");
    fs::write(&path, text).with_context(|| format!("cannot write '{text}' to {path}"))
}

/// An empty network for this process.
pub(super) fn enter_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("the kernel refuses another network namespace")
}
