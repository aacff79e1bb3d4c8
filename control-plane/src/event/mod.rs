//! What happens to upgrades is told to operators' event buses, as CloudEvents 1.0.
//!
//! ```text
//! engine --append--> Outbox (on disk) --deliver--> HTTP sinks, NATS subjects
//! ```
//!
//! At least once, in order for each sink, always under the same id. A sink that is down holds up
//! nothing but its own queue.

mod cloud_event;
mod deliver;
mod http;
mod nats;
mod outbox;
mod pace;
#[cfg(test)]
pub(crate) mod tests;

pub use deliver::deliver;
pub use outbox::{Bounds, Outbox, OutboxError, SinkCounts};
pub use pace::Pace;
