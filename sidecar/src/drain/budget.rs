//! When the next long-lived stream is ended.
//!
//! Clients whose streams all end at once all come back at once. So the ends are spread: as late as
//! the deadline allows, and no faster than it takes. Time is cut into slots, one for each stream that
//! is open; a stream ends at a random moment of its slot.
//!
//! Invariant: what is asked often enough has ended every stream before the deadline.

use std::time::Duration;

/// The share of the whole time over which the ends are spread, where nobody says how fast.
const SHARE: u32 = 2;
/// Few streams need not be spread that far: 20 clients a second come back unnoticed.
const WIDEST: Duration = Duration::from_millis(50);
/// Draws are below this.
pub(crate) const DRAWS: u32 = 1 << 16;

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// End one.
    End,
    /// Nothing before this moment.
    Wait(Duration),
    /// The deadline has passed: end all.
    Over,
}

/// The end of a number of streams. All moments are counted from one that the caller chose.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    deadline: Duration,
    /// All the time there was.
    whole: Duration,
    /// The time from one end to the next, where somebody said it.
    gap: Option<Duration>,
    slot: Option<Slot>,
}

/// The time of one end.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The moment.
    due: Duration,
    /// When the next slot begins.
    end: Duration,
    used: bool,
}

impl Budget {
    /// Ends streams from `now` on until `deadline`, one in each `gap`; faster only where they would
    /// not have ended by then.
    pub(crate) const fn new(now: Duration, deadline: Duration, gap: Option<Duration>) -> Self {
        Self {
            deadline,
            whole: deadline.saturating_sub(now),
            gap,
            slot: None,
        }
    }

    /// True once the deadline has passed.
    pub(crate) const fn is_over(&self, now: Duration) -> bool {
        now.as_nanos() >= self.deadline.as_nanos()
    }

    /// What to do at `now`, with so many streams open. `draw` is a random number below [`DRAWS`].
    pub(crate) fn turn(&mut self, now: Duration, open: usize, draw: u32) -> Turn {
        if self.is_over(now) {
            return Turn::Over;
        }
        let Ok(open @ 1..) = u32::try_from(open) else {
            return Turn::Wait(self.deadline);
        };
        let slot = match self.slot {
            Some(slot) if !slot.used => slot,
            last => {
                let begin = last.map_or(now, |slot| slot.end);
                let gap = self.gap(begin, open);
                let first = self.deadline.saturating_sub(gap.saturating_mul(open));
                if last.is_none() && now < first {
                    return Turn::Wait(first);
                }
                // Where streams have ended by themselves, those that are left may stay longer.
                let begin = begin.max(first);
                Slot {
                    due: begin + gap.saturating_mul(draw.min(DRAWS)) / DRAWS,
                    end: begin + gap,
                    used: false,
                }
            }
        };
        let due = now >= slot.due;
        self.slot = Some(Slot { used: due, ..slot });
        if due { Turn::End } else { Turn::Wait(slot.due) }
    }

    fn gap(&self, begin: Duration, open: u32) -> Duration {
        let default = || WIDEST.min(self.whole / SHARE / open);
        let left = self.deadline.saturating_sub(begin);
        self.gap.unwrap_or_else(default).min(left / open)
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, DRAWS, Turn, WIDEST};
    use proptest::prelude::*;
    use std::time::Duration;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// When each of `open` streams is ended, by a caller who looks at the moments it is told, or
    /// `late` after them.
    fn ends(budget: &mut Budget, open: usize, draws: &[u32], late: Duration) -> Vec<Duration> {
        let mut ends = Vec::new();
        let mut now = Duration::ZERO;
        let mut draws = draws.iter().cycle();
        while ends.len() < open {
            match budget.turn(now, open - ends.len(), *draws.next().unwrap()) {
                Turn::End => ends.push(now),
                Turn::Wait(until) => {
                    assert!(until > now, "it would be asked for ever");
                    now = until + late;
                }
                Turn::Over => break,
            }
        }
        ends
    }

    fn draws() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(0..DRAWS, 1..50)
    }

    proptest! {
        #[test]
        fn all_have_ended_by_the_deadline(
            open in 1..300_usize, whole in 1..60_000_u64, gap in prop::option::of(1..1_000_u64),
            draws in draws(),
        ) {
            let mut budget = Budget::new(Duration::ZERO, ms(whole), gap.map(ms));
            let ends = ends(&mut budget, open, &draws, Duration::ZERO);
            prop_assert_eq!(ends.len(), open);
            prop_assert!(ends.iter().all(|end| *end < ms(whole)));
        }

        #[test]
        fn no_more_end_at_once_than_the_rate_allows(
            open in 1..200_usize, gap in 5..500_u64, draws in draws(), late in 0..3_u64,
        ) {
            let gap = ms(gap);
            let whole = gap * u32::try_from(open).unwrap() * 2;
            let mut budget = Budget::new(Duration::ZERO, whole, Some(gap));
            let ends = ends(&mut budget, open, &draws, ms(late));
            // Two slots that touch may hold two ends beside each other; three can't.
            for three in ends.windows(3) {
                prop_assert!(three[2] + ms(late) >= three[0] + gap * 99 / 100);
            }
        }

        #[test]
        fn they_are_spread_over_half_of_the_time_but_no_further_than_it_takes(
            open in 1..300_usize, draws in draws(),
        ) {
            let whole = ms(10_000);
            let mut budget = Budget::new(Duration::ZERO, whole, None);
            let ends = ends(&mut budget, open, &draws, Duration::ZERO);
            let window = (WIDEST * u32::try_from(open).unwrap()).min(whole / 2);
            prop_assert!(ends[0] + window >= whole);
            let slot = window / u32::try_from(open).unwrap();
            prop_assert!(ends[0] + window <= whole + slot * 2);
        }

        #[test]
        fn those_that_end_by_themselves_leave_their_time_to_the_rest(
            open in 2..100_usize, gone in 1..100_usize, draws in draws(),
        ) {
            let gone = gone.min(open - 1);
            let whole = ms(100_000);
            let mut budget = Budget::new(Duration::ZERO, whole, Some(ms(100)));
            let Turn::Wait(first) = budget.turn(Duration::ZERO, open, draws[0]) else {
                return Err(TestCaseError::fail("nothing is due yet"));
            };
            let left = open - gone;
            let later = ms(100) * u32::try_from(gone).unwrap();
            prop_assert_eq!(budget.turn(first, left, draws[0]), Turn::Wait(first + later));
        }
    }

    #[test]
    fn where_time_is_short_the_rate_gives_way() {
        let mut budget = Budget::new(Duration::ZERO, ms(100), Some(ms(1_000)));
        let ends = ends(&mut budget, 10, &[0], Duration::ZERO);
        assert_eq!(ends, (0..10).map(|end| ms(end * 10)).collect::<Vec<_>>());
    }

    #[test]
    fn after_the_deadline_all_end() {
        let mut budget = Budget::new(Duration::ZERO, ms(100), None);
        assert_eq!(budget.turn(ms(10), 0, 0), Turn::Wait(ms(100)));
        assert_eq!(budget.turn(ms(100), 5, 0), Turn::Over);
        assert_eq!(budget.turn(ms(100), 0, 0), Turn::Over);
    }
}
