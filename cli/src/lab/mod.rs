//! The lab: a laptop-sized cluster of real processes.
//!
//! Every Pod is a network namespace with an address of its own on a bridge, in which an application and a sidecar run
//! behind real redirection, all inside one user namespace: no root, no `ip`, no `nft`. Where the kernel refuses that,
//! Pods are loopback addresses and the sidecars explicit proxies; the interface is the same, and `Mode` says which it is.
//!
//! The invariant: nothing outlives the lab. In namespaces the whole lab hangs on one process number space that dies with
//! its first process; on loopback every process is tied to its parent's life.
//!
//! Order of use: [`enter()`] first, while the program has one thread and no runtime; then [`Lab::start`],
//! [`ControlPlane::start`] and [`Lab::start_pod`], from a runtime of the current thread.

pub mod app;
mod cluster;
mod control_plane;
mod enter;
mod hosts;
mod namespace;
mod network;
pub mod pod;
mod program;

pub use cluster::Lab;
pub use control_plane::{ControlPlane, ControlPlaneSpec};
pub use enter::{Entered, Mode, enter};
pub use hosts::service_names;
pub use pod::{Exit, Part, Pod, PodSpec, SidecarSpec, Stopped};
pub use program::{command_of, program};

/// The mark on every socket that a sidecar of the lab opens, which exempts it from redirection.
pub(crate) const MARK: u32 = 0x5_e90e;
