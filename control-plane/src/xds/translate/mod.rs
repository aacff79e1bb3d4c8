//! From the [`World`](crate::model::World)'s nouns to Envoy's resources: a file per resource type.
//!
//! Decides what a resource says. Not here: who is sent what and when ([`super::stream`]), and which
//! of them exist ([`super::snapshot`]).

mod balancing;
pub mod cluster;
pub mod endpoints;
mod hash;
pub mod health;
pub mod listener;
mod node;
pub mod placing;
mod resource;
pub mod route;
#[cfg(test)]
mod tests;
mod wrap;

pub use node::{ClientKind, Node};
pub(crate) use resource::content_hash;
pub use resource::{Resource, ResourceType};
pub(crate) use wrap::duration;
