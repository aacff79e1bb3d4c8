//! What test processes that enter namespaces have in common.

use segue_cli::lab::Mode;
use std::env;
use tokio::runtime::{Builder, Runtime};

/// The exit code where the machine does not allow it.
pub(crate) const SKIPPED: u8 = 77;

/// Why it is not inside of namespaces. Where `SEGUE_REQUIRE_NAMESPACES=1` that is a failure.
pub(crate) fn refusal(mode: &Mode) -> Option<String> {
    let Mode::Loopback { reason } = mode else {
        return None;
    };
    let required = env::var_os("SEGUE_REQUIRE_NAMESPACES").is_some_and(|set| set == "1");
    assert!(!required, "namespaces refused: {reason}");
    Some(format!("namespaces refused: {reason}"))
}

/// Of one thread.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
