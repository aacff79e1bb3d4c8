//! One client's ADS stream as a state machine, pure.
//!
//! [`Client`] holds what both variants share: subscriptions, nonces, what the client has and since
//! which generation, and the order of delivery. [`state_of_the_world`] and [`delta`] read requests
//! and write responses in their own variant's terms.
//!
//! The rules, in one place:
//! - What a client asks for is answered at once. What changes by itself is sent while the last
//!   response of that type is ACKed and nothing of an earlier type waits: CDS, EDS, LDS, RDS, VHDS.
//!   So a slow client gets the newest state, never a backlog.
//! - What ceases to exist is taken away only when all else is delivered and ACKed, routes before
//!   clusters before endpoints.
//! - A version that the client refused is not sent again.
//! - A cluster that is sent makes its endpoints be sent too: Envoy warms it until they come.

mod client;
mod delivery;
pub mod delta;
mod diff;
mod refusal;
mod report;
pub mod state_of_the_world;
mod subscription;
#[cfg(test)]
mod tests;

pub use client::{Client, Refused, Variant};
pub use refusal::Refusal;
