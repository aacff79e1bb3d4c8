//! Logs go to standard error: as text on a terminal, else as JSON.

use std::io::{self, IsTerminal as _};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Sets logging up; `SEGUE_LOG` filters (`info` if unset). Where logging is set up already, as in
/// a program that embeds this one, that stays.
pub fn init() {
    let filter = EnvFilter::try_from_env("SEGUE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let set_up_already = if io::stderr().is_terminal() {
        registry
            .with(fmt::layer().with_writer(io::stderr))
            .try_init()
    } else {
        registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(io::stderr),
            )
            .try_init()
    };
    drop(set_up_already);
}
