//! The engine: the one writer.
//!
//! ```text
//! catalogs, observations, verbs, ticks
//!        |
//!        v
//!     Engine -- Observation --> upgrade::advance --> (status, actions)
//!        |                                               |
//!        |<----------------------------------------------'
//!        |-- journal: statuses, memory, decisions on disk
//!        '-- then World -> Snapshot -> proxies;  Board -> control API
//! ```
//!
//! It composes the world out of the catalog, the health of the instances and the runs' statuses;
//! gathers what `upgrade::advance` judges; carries out what that decides. It makes no rule of its
//! own on how an upgrade goes. Invariant: nothing is published that is not on disk before.

mod board;
mod changes;
mod compose;
mod core;
mod health;
mod inbox;
mod index;
mod journal;
mod load;
mod observe;
mod proxies;
mod run;
mod services;
mod task;
mod token;
mod turn;
mod verbs;

pub use self::core::Engine;
pub use board::{Board, UpgradeView, VersionNumbers};
pub use inbox::{Answer, Refusal, Request, Target};
pub use journal::{DecisionLog, Journal, JournalError, LoggedDecision, Recovered};
pub use proxies::ProxyView;
pub use task::{Handle, Inputs, Outputs, Published, Requests, run};
pub use turn::Turn;

#[cfg(test)]
pub(crate) mod tests;
