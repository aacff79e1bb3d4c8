//! xDS: what proxies are told, and what they say back.
//!
//! ```text
//! World --translate--> Snapshot --watch--> stream (one client's protocol) <--bytes--> server
//!                                                        |
//!                                                    Observed --> engine
//! ```
//!
//! [`translate`], [`snapshot`] and [`stream`] are pure: no tokio, no tonic, no clock, no randomness.
//! [`server`] moves bytes and nothing else. The only room of the control plane that sees Envoy's
//! messages.
//!
//! The invariant: a resource's version is a hash of its content, so it is the same on every replica
//! and after a restart, and a client is told of a thing before a route names it, and loses a thing
//! only after no route it has ACKed names it.

#[cfg(test)]
mod fixture;
pub mod server;
pub mod snapshot;
pub mod stream;
pub mod translate;

pub use server::Server;
pub use snapshot::Snapshot;
