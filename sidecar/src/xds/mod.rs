//! xDS: what the control plane says, and how we listen.
//!
//! `decode` reads resources, `stream` is the protocol, both pure; `client` moves the bytes.
//! [`channel`] and [`node`] are shared with the other streams to the control plane (health, load).
//! This room, `health` and `telemetry` are the only ones to see Envoy's messages.

mod backoff;
mod channel;
mod client;
pub mod decode;
#[cfg(test)]
pub(crate) mod fixture;
mod node;
pub mod stream;

pub use backoff::Backoff;
pub use channel::{Dialer, channel};
pub use client::{Client, Connection, Dump, Handle, Settings};
pub use node::{Identity, address};
