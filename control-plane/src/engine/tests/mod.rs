//! The engine in process, with a journal in a temporary folder, an explicit clock and observations
//! by hand.

mod believing;
mod composing;
mod living;
mod losing;
mod proving;
mod replaying;
mod resuming;
mod storing;
pub(crate) mod support;
mod talking;
mod telling;
