//! The gRPC control API: what people and programs see and ask.
//!
//! It decides nothing: verbs go to the engine, answers come from the engine's board. Slow readers
//! get the newest state, never a backlog.

mod convert;
mod deadline;
mod names;
mod proxies;
mod refuse;
mod upgrades;
mod watch;

use crate::engine::Handle;
use segue_proto::control::{
    proxy_service_server::ProxyServiceServer, upgrade_service_server::UpgradeServiceServer,
};

/// Steers and shows upgrades.
pub fn upgrade_service(engine: Handle) -> UpgradeServiceServer<upgrades::Upgrades> {
    UpgradeServiceServer::new(upgrades::Upgrades::new(engine))
}

/// Shows the proxies.
pub fn proxy_service(engine: Handle) -> ProxyServiceServer<proxies::Proxies> {
    ProxyServiceServer::new(proxies::Proxies::new(engine))
}

#[cfg(test)]
mod tests;
