//! The e-variable of one block of two groups, each of independent requests that are bad or not.
//!
//! For the null hypothesis `p_new <= p_old + margin` (a half-plane) and an alternative `(q_new,
//! q_old)` outside of it, let `(p_new, p_old)` be the alternative's reverse information projection:
//! the point of the edge that minimises `n_new KL(q_new|p_new) + n_old KL(q_old|p_old)`. The
//! likelihood ratio of the alternative to that point is an e-variable for the whole null hypothesis,
//! whatever the numbers of requests. Why: its expectation under `(a, b)` is `A(a)^n_new B(b)^n_old`
//! with `A`, `B` linear and 1 at the projection; its logarithm is concave, 0 at the projection, and
//! there its slope towards any point of the null hypothesis is minus that of the divergence, which a
//! minimum makes `>= 0`. (Turner, Ly, Grünwald 2024, theorem 1; Turner, Grünwald 2023.)
//!
//! The argument needs only that the slope along the edge is 0. So the point found is taken as it is,
//! and the old group's side of the alternative is moved until the slope *is* 0: the bet is exact
//! even where the minimum is found roughly.

use super::number::real;

/// Rates closer to 0 or 1 are taken for this close.
const LEAST: f64 = 1e-7;

/// What one group did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Group {
    /// Requests.
    pub(super) requests: f64,
    /// The bad ones.
    pub(super) bad: f64,
}

impl Group {
    pub(super) fn new(requests: u64, bad: u64) -> Self {
        Self {
            requests: real(requests),
            bad: real(bad.min(requests)),
        }
    }

    /// The share of bad ones, None where there was no request.
    pub(super) fn rate(self) -> Option<f64> {
        (self.requests > 0.0).then(|| self.bad / self.requests)
    }

    /// The share of bad ones, drawn towards `rate` as if `weight` requests had shown that before.
    pub(super) fn drawn_to(self, rate: f64, weight: f64) -> f64 {
        (self.bad + rate * weight) / (self.requests + weight)
    }
}

/// Both groups over the same seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Block {
    pub(super) new: Group,
    pub(super) old: Group,
}

/// What the new group is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Against {
    /// The old group of the same block, whose rate is expected to be this.
    Old(f64),
    /// A rate that is known.
    Known(f64),
}

impl Against {
    /// The rate compared with.
    pub(super) fn rate(self) -> f64 {
        match self {
            Self::Old(rate) | Self::Known(rate) => rate,
        }
    }
}

/// What is bet against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Null {
    /// `p_new <= p_old + margin`
    NotAbove,
    /// `p_new >= p_old + margin`
    NotBelow,
}

/// A null hypothesis and one alternative to it; all of it chosen before the block is seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bet {
    pub(super) null: Null,
    pub(super) against: Against,
    pub(super) margin: f64,
    /// The new group's rate in the alternative.
    pub(super) new: f64,
}

impl Bet {
    /// The logarithm of the block's e-value; 0 where the bet can't be made.
    pub(super) fn ln_e(&self, block: &Block) -> f64 {
        let new = kept_inside(self.new);
        if !self.is_outside(new) {
            return 0.0;
        }
        match self.against {
            Against::Known(rate) => {
                let edge = kept_inside(rate + self.margin);
                ln_ratio(block.new, new, edge)
            }
            Against::Old(rate) => {
                let (n_new, n_old) = (block.new.requests, block.old.requests);
                let Some(old_edge) = projection((n_new, new), (n_old, rate), self.margin) else {
                    return 0.0;
                };
                let new_edge = old_edge + self.margin;
                let slope = n_new * (new - new_edge) / (new_edge * (1.0 - new_edge));
                let old = old_edge - slope / n_old * old_edge * (1.0 - old_edge);
                if old <= 0.0 || old >= 1.0 {
                    return 0.0;
                }
                ln_ratio(block.new, new, new_edge) + ln_ratio(block.old, old, old_edge)
            }
        }
    }

    /// How fast the logarithm of the fortune grows where the alternative is true and each group has
    /// so many requests.
    pub(super) fn growth(&self, n_new: f64, n_old: f64) -> f64 {
        let new = kept_inside(self.new);
        if !self.is_outside(new) {
            return 0.0;
        }
        match self.against {
            Against::Known(rate) => n_new * divergence(new, kept_inside(rate + self.margin)),
            Against::Old(rate) => {
                projection((n_new, new), (n_old, rate), self.margin).map_or(0.0, |edge| {
                    n_new * divergence(new, edge + self.margin)
                        + n_old * divergence(kept_inside(rate), edge)
                })
            }
        }
    }

    fn is_outside(&self, new: f64) -> bool {
        let edge = kept_inside(self.against.rate() + self.margin);
        match self.null {
            Null::NotAbove => new > edge,
            Null::NotBelow => new < edge,
        }
    }
}

/// `KL(Bernoulli(q) | Bernoulli(p))` in nats, for `p` within (0, 1).
pub(super) fn divergence(q: f64, p: f64) -> f64 {
    let part = |q: f64, p: f64| if q > 0.0 { q * (q / p).ln() } else { 0.0 };
    (part(q, p) + part(1.0 - q, 1.0 - p)).max(0.0)
}

/// The largest rate that so many bad ones leave credible, at any time, but for a probability of
/// `alpha`.
///
/// The Krichevsky-Trofimov mixture is a fortune against each rate, and at least the best rate's
/// likelihood divided by `2 sqrt(n)`: so `KL(seen|p)` stays below [`allowance`]. The divergence is at
/// least `(p - q)^2 / (2 max(p, q))`, which is solved for `p`.
pub(super) fn upper_bound(seen: Group, alpha: f64) -> f64 {
    seen.rate().map_or(1.0, |rate| {
        let a = allowance(seen.requests, alpha);
        (rate + a + (a * a + 2.0 * rate * a).sqrt()).min(1.0)
    })
}

/// The smallest.
pub(super) fn lower_bound(seen: Group, alpha: f64) -> f64 {
    seen.rate().map_or(0.0, |rate| {
        let a = allowance(seen.requests, alpha);
        (rate - (2.0 * rate * a).sqrt()).max(0.0)
    })
}

fn allowance(requests: f64, alpha: f64) -> f64 {
    ((1.0 / alpha).ln() + 0.5 * requests.max(1.0).ln() + 2f64.ln()) / requests
}

fn kept_inside(rate: f64) -> f64 {
    rate.clamp(LEAST, 1.0 - LEAST)
}

/// `ln` of the likelihood of what is seen at rate `q` over that at rate `p`.
fn ln_ratio(seen: Group, q: f64, p: f64) -> f64 {
    seen.bad * (q / p).ln() + (seen.requests - seen.bad) * ((1.0 - q) / (1.0 - p)).ln()
}

/// The old group's rate at the projection of an alternative onto the edge `p_new = p_old + margin`;
/// None where a group has no request, or the margin leaves no edge. Each group: requests and rate.
fn projection(new: (f64, f64), old: (f64, f64), margin: f64) -> Option<f64> {
    let (n_new, q_new) = new;
    let (n_old, q_old) = old;
    if n_new <= 0.0 || n_old <= 0.0 || margin >= 1.0 - 4.0 * LEAST {
        return None;
    }
    let all = n_new + n_old;
    let (w_new, w_old) = (n_new / all, n_old / all);
    if margin <= 0.0 {
        return Some(kept_inside(w_new * q_new + w_old * q_old));
    }
    let (least, most) = (LEAST, 1.0 - margin - LEAST);
    let ends = (q_old, q_new - margin);
    let mut low = ends.0.min(ends.1).clamp(least, most);
    let mut high = ends.0.max(ends.1).clamp(least, most);
    let mut p = f64::midpoint(low, high);
    // Newton's method on the slope times its denominators, a cubic, kept within what brackets it.
    for _ in 0..40 {
        let r = p + margin;
        let (spread_old, spread_new) = (p * (1.0 - p), r * (1.0 - r));
        let slope = w_old * (p - q_old) * spread_new + w_new * (r - q_new) * spread_old;
        if slope > 0.0 {
            high = p;
        } else {
            low = p;
        }
        let bend = w_old * (spread_new + (p - q_old) * (1.0 - 2.0 * r))
            + w_new * (spread_old + (r - q_new) * (1.0 - 2.0 * p));
        let newton = p - slope / bend;
        let next = if newton > low && newton < high {
            newton
        } else {
            f64::midpoint(low, high)
        };
        let moved = (next - p).abs();
        p = next;
        if moved <= 1e-6 * p {
            break;
        }
    }
    Some(p)
}

#[cfg(test)]
mod tests {
    use super::{
        Against, Bet, Block, Group, Null, divergence, lower_bound, projection, upper_bound,
    };
    use proptest::prelude::{Strategy, prop, proptest};

    fn rate() -> impl Strategy<Value = f64> {
        (0.0..1.0f64).prop_map(|x| 10f64.powf(-4.0 * x) * 0.9)
    }

    fn chance(n: u32, k: u32, p: f64) -> f64 {
        let ways: f64 = (0..k)
            .map(|i| f64::from(n - i) / f64::from(i + 1))
            .product();
        ways * p.powi(i32::try_from(k).unwrap()) * (1.0 - p).powi(i32::try_from(n - k).unwrap())
    }

    /// The e-value's expectation, summed over all that may happen.
    fn expectation(bet: &Bet, (n_new, n_old): (u32, u32), (p_new, p_old): (f64, f64)) -> f64 {
        let group = |n: u32, bad: u32| Group {
            requests: f64::from(n),
            bad: f64::from(bad),
        };
        let mut sum = 0.0;
        for k_new in 0..=n_new {
            for k_old in 0..=n_old {
                let block = Block {
                    new: group(n_new, k_new),
                    old: group(n_old, k_old),
                };
                let weight = chance(n_new, k_new, p_new) * chance(n_old, k_old, p_old);
                sum += weight * bet.ln_e(&block).exp();
            }
        }
        sum
    }

    proptest! {
        /// What makes it an e-variable: under no point of the null hypothesis is more than 1
        /// expected, whatever the alternative and the numbers of requests.
        #[test]
        fn no_more_than_one_is_expected_under_the_null(
            (n_new, n_old) in (1..9u32, 1..9u32),
            (q_new, q_old, p_old) in (rate(), rate(), rate()),
            margin in prop::sample::select(vec![0.0, 0.001, 0.005, 0.1]),
            beyond in 0.0..1.0f64,
            not_above in prop::bool::ANY,
        ) {
            let edge = (p_old + margin).min(1.0);
            let (null, p_new) = if not_above {
                (Null::NotAbove, edge * beyond.sqrt())
            } else {
                (Null::NotBelow, edge + (1.0 - edge) * beyond * beyond)
            };
            let possible = not_above || p_old + margin <= 1.0;
            for against in [Against::Old(q_old), Against::Known(p_old)] {
                let bet = Bet { null, against, margin, new: q_new };
                let expected = expectation(&bet, (n_new, n_old), (p_new, p_old));
                assert!(!possible || expected <= 1.0 + 1e-9, "{bet:?}: {expected}");
            }
        }

        #[test]
        fn the_projection_is_the_nearest_point(
            (n_new, n_old) in (1.0..100.0f64, 1.0..100.0f64),
            (q_old, more) in (rate(), 1.5..20.0f64),
            shift in -0.5..0.5f64,
        ) {
            let margin = 0.004;
            let q_new = (q_old * more + margin).min(0.95);
            let distance = |p: f64| {
                n_old * divergence(q_old, p) + n_new * divergence(q_new, p + margin)
            };
            let p = projection((n_new, q_new), (n_old, q_old), margin).unwrap();
            let elsewhere = (p * (1.0 + shift)).clamp(1e-6, 0.99 - margin);
            assert!(distance(p) <= distance(elsewhere) * (1.0 + 1e-6));
        }

        #[test]
        fn bounds_hold_what_was_seen(requests in 1..1_000_000u64, part in 0.0..1.0f64) {
            let seen = Group { requests: super::real(requests), bad: super::real(requests) * part };
            let (low, high) = (lower_bound(seen, 0.001), upper_bound(seen, 0.001));
            assert!(low <= part && part <= high + 1e-12);
            assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
        }
    }

    #[test]
    fn growth_is_as_worked_out_by_hand() {
        let growth = |q_new: f64, margin: f64| {
            let bet = Bet {
                null: Null::NotAbove,
                against: Against::Old(0.001),
                margin,
                new: q_new,
            };
            bet.growth(1.0, 19.0)
        };
        assert!(
            (growth(0.01, 0.0) - 0.0123).abs() < 0.0003,
            "{}",
            growth(0.01, 0.0)
        );
        assert!(
            (growth(0.05, 0.005) - 0.058).abs() < 0.004,
            "{}",
            growth(0.05, 0.005)
        );
        assert!(
            (growth(0.01, 0.005) - 0.0010).abs() < 0.0002,
            "{}",
            growth(0.01, 0.005)
        );
    }
}
