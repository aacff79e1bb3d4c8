//! The log: to standard error, as text on a terminal and as JSON otherwise.

use std::io::{IsTerminal as _, stderr};
use tracing_subscriber::EnvFilter;

/// Sets the log up by `SEGUE_LOG`, a filter such as `info,segue_sidecar::xds=debug`. Where a log is
/// set up already it stays.
pub fn init() {
    let filter = EnvFilter::try_from_env("SEGUE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let result = if stderr().is_terminal() {
        log.try_init()
    } else {
        log.json().flatten_event(true).try_init()
    };
    // Two programs of one process share the first one's log.
    result.ok();
}
