//! When a failed try is tried again.

use std::time::Duration;

/// How delivery is tried.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The wait after the first failure, which doubles with each further one.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// How long a try may take.
    pub one_try: Duration,
    /// How long a sink that no policy names any more may fail before what waits for it is dropped.
    pub unnamed: Duration,
}

/// The longest wait that a sink may ask for (`Retry-After`).
const MOST_ASKED: Duration = Duration::from_secs(3_600);

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            one_try: Duration::from_secs(10),
            unnamed: Duration::from_secs(3_600),
        }
    }
}

impl Pace {
    /// The wait after so many failures in a row, from one half of it to all of it by `chance`, so that the outboxes of many control planes do not come back at once.
    pub(super) fn wait(&self, failures: u32, chance: u16) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let whole = self.first.saturating_mul(doubled).min(self.longest);
        let half = whole / 2;
        half + half * u32::from(chance) / u32::from(u16::MAX)
    }
}

/// The wait where the sink asks for one: at least that, within reason.
pub(super) fn at_least(wait: Duration, asked: Option<Duration>) -> Duration {
    asked.map_or(wait, |asked| wait.max(asked.min(MOST_ASKED)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, proptest};

    #[test]
    fn waits_double_up_to_the_longest() {
        let pace = Pace::default();
        let waits: Vec<u128> = (1..=8)
            .map(|n| pace.wait(n, u16::MAX).as_millis())
            .collect();
        assert_eq!(
            waits,
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]
        );
        assert_eq!(pace.wait(1, 0), Duration::from_millis(250));
    }

    #[test]
    fn a_sink_may_ask_for_more_but_not_for_ever() {
        let second = Duration::from_secs(1);
        assert_eq!(at_least(second, None), second);
        assert_eq!(at_least(second, Some(second * 7)), second * 7);
        assert_eq!(at_least(second, Some(second / 7)), second);
        assert_eq!(at_least(second, Some(Duration::MAX)), MOST_ASKED);
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(failures in any::<u32>(), chance in any::<u16>()) {
            let pace = Pace::default();
            let wait = pace.wait(failures, chance);
            prop_assert!(wait >= pace.first / 2 && wait <= pace.longest);
        }
    }
}
