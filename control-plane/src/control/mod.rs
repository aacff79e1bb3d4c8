//! The gRPC control API: what people and programs see and ask.
//!
//! It decides nothing: verbs go to the engine, answers come from the engine's board. Slow readers
//! get the newest state, never a backlog.

mod convert;
mod deadline;
mod names;
mod page;
mod proxies;
mod refuse;
mod upgrades;
mod watch;

pub use deadline::Deadlines;

use crate::{engine::Handle, event::Outbox};
use segue_proto::control::{
    proxy_service_server::ProxyServiceServer, upgrade_service_server::UpgradeServiceServer,
};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

/// Steers and shows upgrades.
pub fn upgrade_service(engine: Handle, outbox: Outbox) -> UpgradeServiceServer<upgrades::Upgrades> {
    UpgradeServiceServer::new(upgrades::Upgrades::new(engine, outbox))
}

/// Shows the proxies.
pub fn proxy_service(engine: Handle) -> ProxyServiceServer<proxies::Proxies> {
    ProxyServiceServer::new(proxies::Proxies::new(engine))
}

/// Tells what services there are: ours, and health.
pub fn reflection()
-> Result<ServerReflectionServer<impl ServerReflection>, tonic_reflection::server::Error> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(segue_proto::control::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
}

#[cfg(test)]
mod tests;
