//! What Segue's programs say to each other.
//!
//! Two things stand here: the control API ([`control`], generated from
//! `proto/segue/control/v1/control.proto`), and the [`names`] that control plane and sidecar must
//! spell alike although xDS leaves them open: type URLs, cluster and virtual host names, node
//! metadata, load report metrics.
//!
//! Not here: Envoy's own messages (crate `envoy-types`), and any logic.

pub mod names;

/// The control API, `segue.control.v1`.
#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    rust_2018_idioms,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::use_self,
    clippy::or_fun_call,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "generated code"
)]
pub mod control {
    tonic::include_proto!("segue.control.v1");

    /// The encoded file descriptor set, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/control.bin"));
}
