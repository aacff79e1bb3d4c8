//! The compiled snapshot: built from decoded resources, kept on disk, published to every worker.
//!
//! ```text
//! resource (names) -> compile -> model::Snapshot (pointers) -> publish -> every worker
//! ```
//!
//! [`command`](Command) is the contract with the workers; [`resource`] holds what the xDS client
//! decodes to. This room does not know where resources come from.

mod command;
mod compile;
pub mod disk;
mod endpoints;
mod publish;
pub mod resource;

pub use command::{
    Command, ConnectionInfo, OpenStreams, Question, Questions, StreamInfo, Worker, drain,
};
pub use compile::Compiler;
pub use publish::Publisher;
