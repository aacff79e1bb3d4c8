//! The time: the one place where the control plane asks for it.
//!
//! Holds, windows and leases are measured by it, so it never goes back and never leaps: it begins
//! with the system's time and goes on by the monotonic clock. Nor does it begin before what stands
//! on disk: a system clock that was set back must not make a run wait for the difference.

use crate::model::Timestamp;
use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

static BEGAN: OnceLock<Began> = OnceLock::new();

#[derive(Debug)]
struct Began {
    at: Timestamp,
    measured: Instant,
}

impl Began {
    fn new(wall: Timestamp, floor: Timestamp) -> Self {
        Self {
            at: wall.max(floor),
            measured: Instant::now(),
        }
    }

    fn after(&self, elapsed: Duration) -> Timestamp {
        self.at.after(elapsed)
    }
}

/// Begins to count, at the system's time but not before `floor`. Counts once it was asked for the
/// time too.
pub fn begin(floor: Timestamp) {
    let wall = system();
    if floor > wall {
        tracing::warn!(
            behind = ?floor.since(wall),
            "the system's clock is behind what stands on disk: going on from there"
        );
    }
    BEGAN.get_or_init(|| Began::new(wall, floor));
}

/// The time.
pub fn now() -> Timestamp {
    let began = BEGAN.get_or_init(|| Began::new(system(), Timestamp::default()));
    began.after(began.measured.elapsed())
}

fn system() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::default().after(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_what_stands_on_disk_where_the_system_is_behind() {
        let began = Began::new(Timestamp(1_000), Timestamp(5_000));
        assert_eq!(began.after(Duration::from_millis(7)), Timestamp(5_007));
        let began = Began::new(Timestamp(9_000), Timestamp(5_000));
        assert_eq!(began.after(Duration::ZERO), Timestamp(9_000));
    }

    #[test]
    fn time_never_goes_back() {
        let first = now();
        assert!(now() >= first);
    }
}
