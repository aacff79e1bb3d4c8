//! Is a measured share compatible with a set one? The exact binomial acceptance region.

/// Which counts of successes among `trials` draws of probability `basis_points`/10,000 lie within
/// the central 99.99 %: the smallest and the largest.
///
/// Both tails hold at most 0.005 %. Exact, by summing the distribution, so that it holds for small
/// counts and small shares too.
pub fn region(trials: u32, basis_points: u32) -> (u32, u32) {
    const TAIL: f64 = 0.000_05;
    if basis_points == 0 {
        return (0, 0);
    }
    if basis_points >= 10_000 {
        return (trials, trials);
    }
    let p = f64::from(basis_points) / 10_000.0;
    let odds = (p / (1.0 - p)).ln();
    let n = f64::from(trials);
    let mut ln_mass = n * (1.0 - p).ln();
    let mut below = 0.0;
    let (mut low, mut high) = (None, trials);
    for k in 0..=trials {
        below += ln_mass.exp();
        if low.is_none() && below > TAIL {
            low = Some(k);
        }
        if below >= 1.0 - TAIL {
            high = k;
            break;
        }
        let k = f64::from(k);
        ln_mass += ((n - k) / (k + 1.0)).ln() + odds;
    }
    (low.unwrap_or(0), high)
}

#[cfg(test)]
mod tests {
    use super::region;
    use proptest::prelude::{prop_assert, proptest};

    #[test]
    fn known_regions() {
        assert_eq!(region(0, 500), (0, 0));
        assert_eq!(region(100, 0), (0, 0));
        assert_eq!(region(100, 10_000), (100, 100));
        // 10 draws at one half: each end alone has mass 1/1024, far more than a tail may hold.
        assert_eq!(region(10, 5_000), (0, 10));
        // 600 draws at 5 %: mean 30, standard deviation 5.34.
        let (low, high) = region(600, 500);
        assert!((11..=13).contains(&low), "{low}");
        assert!((52..=56).contains(&high), "{high}");
    }

    proptest! {
        #[test]
        fn the_mean_lies_within(trials in 0_u32..3_000, points in 0_u32..=10_000) {
            let (low, high) = region(trials, points);
            let mean = u64::from(trials) * u64::from(points) / 10_000;
            prop_assert!(u64::from(low) <= mean && mean <= u64::from(high));
            prop_assert!(high <= trials);
        }

        #[test]
        fn it_is_as_wide_as_four_deviations(trials in 500_u32..3_000, points in 1_000_u32..9_000) {
            let (low, high) = region(trials, points);
            let p = f64::from(points) / 10_000.0;
            let deviation = (f64::from(trials) * p * (1.0 - p)).sqrt();
            let half = f64::from(high - low) / 2.0 / deviation;
            prop_assert!((3.6..4.2).contains(&half), "{}", half);
        }
    }
}
