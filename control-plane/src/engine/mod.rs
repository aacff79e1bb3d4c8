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
//! Load reports become evidence, evidence a judgement (`analysis`), which is one of the things that
//! `upgrade::advance` looks at. It composes the world out of the catalog, the health of the instances and the runs' statuses;
//! gathers what `upgrade::advance` judges; carries out what that decides. It makes no rule of its
//! own on how an upgrade goes. Invariant: nothing is published that is not on disk before, but that a
//! bad version's weight is 0.

mod board;
mod changes;
mod compose;
mod core;
mod credible;
mod ends;
mod evidence;
mod health;
mod held_back;
mod horizon;
mod inbox;
mod index;
mod journal;
mod judging;
mod load;
mod look;
mod observe;
mod proxies;
mod reports;
mod run;
mod served;
mod services;
mod showing;
mod task;
mod telling;
mod token;
mod turn;
mod unwritten;
mod verbs;

pub use self::core::Engine;
pub use board::{Board, UpgradeView, VersionNumbers};
pub use ends::Ends;
pub use inbox::{Answer, Refusal, Request, Target};
pub use journal::{DecisionLog, Journal, JournalError, LoggedDecision, Recovered};
pub use proxies::ProxyView;
pub use served::{Reported, Served};
pub use task::{Handle, Inputs, Outputs, Published, Requests, run};
pub use telling::EventLog;
pub use turn::Turn;

#[cfg(test)]
pub(crate) mod tests;
