//! How long to wait before the next attempt.

use std::time::Duration;

/// Jittered exponential backoff. Short at both ends: a control plane that was restarted is to be
/// noticed within a moment, and one that is away costs two attempts in three seconds.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    /// Starts with 50 ms; the jitter is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            next: Self::FIRST,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The time to wait now; between half and all of a step that doubles up to 2 s.
    pub fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(Self::LONGEST);
        step.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// The peer answered: begin anew.
    pub fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;

    proptest::proptest! {
        #[test]
        fn waits_stay_between_half_the_first_and_the_longest(seed: u64, tries in 1..20usize) {
            let mut backoff = Backoff::new(seed);
            for _ in 0..tries {
                let wait = backoff.wait();
                assert!(wait >= Backoff::FIRST / 2 && wait <= Backoff::LONGEST, "{wait:?}");
            }
            backoff.reset();
            assert!(backoff.wait() <= Backoff::FIRST);
        }
    }
}
