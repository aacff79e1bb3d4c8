//! Delivery to real servers, and what the tests of this room share.

mod http;
mod nats;

use crate::model::{ContentMode, Event, Key, Phase, Share, Sink, Timestamp};
use std::{env, path::PathBuf, time::Duration};
use tokio::time::sleep;

/// The event of this number.
pub(super) fn event(number: u64) -> Event {
    Event {
        id: format!("shop/checkout-v2-1/1000/{number}"),
        at: Timestamp(1_000 + number),
        upgrade: Key::new("shop", "checkout-v2-1"),
        service: Key::new("shop", "checkout"),
        from: "v1".into(),
        to: "v2".into(),
        phase: Phase::Shifting,
        weight: Share::from_basis_points(1_250).unwrap(),
        reason: "Shifting".to_owned(),
        message: "12.5 % go to v2 – “gut”".to_owned(),
    }
}

/// An HTTP sink.
pub(super) fn sink(address: &str) -> Sink {
    Sink::CloudEvents {
        sink: address.to_owned(),
        mode: ContentMode::Structured,
    }
}

/// Waits until it holds. The limit is there for a fault, not for a measurement.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// A program that this machine may have: named by a variable, or where the system looks for
/// programs (Debian puts some among those of the administrator). None: the test is skipped, and
/// has said so; where `required` is 1 it fails instead.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn installed(name: &str, variable: &str, required: &str) -> Option<PathBuf> {
    if let Some(program) = env::var_os(variable) {
        return Some(program.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    if found.is_none() {
        let required = env::var_os(required).is_some_and(|value| value == "1");
        let advice = format!("install {name}, or name it in {variable}");
        assert!(!required, "there is no {name}: {advice}");
        eprintln!("skipped: there is no {name}: {advice}");
    }
    found
}
