//! Redirection: makes the kernel hand a Pod's TCP connections to the sidecar.
//!
//! `rules` decides which connections are taken (pure), `message` writes that down as the kernel wants to read it
//! (pure), `netlink` hands it over. The invariant: the table changes in one transaction, so there is no moment at which
//! half of the rules hold, and a refused change leaves the old rules as they were.

mod args;
mod config;
mod message;
mod netlink;
mod rules;

pub use args::{Args, run};
pub use config::{Cidr, Config, ConfigError};
pub use netlink::Error;

/// Puts the redirection into this network namespace, in place of an earlier one.
pub fn install(config: &Config) -> Result<(), Error> {
    let ruleset = rules::ruleset(config)?;
    netlink::apply(&message::install(&ruleset))
}

/// Takes the redirection out of this network namespace. No error where there is none.
pub fn remove() -> Result<(), Error> {
    netlink::apply(&message::remove())
}
