//! The compiled snapshot: built from decoded resources, kept on disk, published to every worker.

mod command;

pub use command::{Command, ConnectionInfo, Question, Questions, Worker};
