//! Numbers -> verdict: is the new version worse than the old one?
//!
//! [`Trial`] takes in what both versions did in the same seconds and says at any moment *worse*,
//! *not worse by more than the margin*, or *not yet*. One may look as often as one likes and stop
//! whenever one likes: every statement holds at all looks together ("any-time valid").
//!
//! # How
//!
//! Each span of time is a block: `n` requests and `e` bad ones of each group. A block is bet on: an
//! *e-variable* has an expectation of at most 1 as long as the null hypothesis is true, so the
//! product over the blocks, a fortune, is unlikely to grow large: by Ville's inequality it ever
//! reaches `1/alpha` with probability `alpha` at most. The rates may drift, as long as the null
//! hypothesis holds in each block ("the same seconds").
//!
//! - [`evalue`]: the e-variable of one block for `p_new <= p_old + margin`, its reverse, and the same
//!   against a known rate.
//! - [`alarm`]: the fortune that shows *worse*: a mixture over alternatives and over the moments at
//!   which a regression may begin. It lasts for the whole upgrade.
//! - [`proof`]: the fortune that shows *not worse*, anew in each step.
//! - [`success`], [`latency`], [`metric`]: the tests.
//!
//! # Which errors are bounded
//!
//! With `confidence` 99 %, an upgrade to an equally good version is rolled back with a probability
//! of 1 % at most: whole upgrade, all looks, all tests together (extra metrics apart, which have a
//! threshold of bad answers in a row). [`share`] says how the 1 % is split. The other way about, a
//! step up is allowed although the new version is worse by more than the margin with a probability
//! of 1 % at most, per step and test.
//!
//! Both assume that requests fail independently given the rates of their seconds. Where that is most
//! in doubt, no single second decides: see [`alarm`] and [`variation`]. A policy edited
//! midway begins the tests it concerns anew, which spends their share once more.
//!
//! # Sources
//!
//! - Turner, Ly, Grünwald: Generic E-variables for exact sequential k-sample tests that allow for
//!   optional stopping. Journal of Statistical Planning and Inference 230 (2024), arXiv 2106.02693.
//! - Turner, Grünwald: Exact anytime-valid confidence intervals for contingency tables and beyond.
//!   Statistics and Probability Letters 198 (2023), arXiv 2203.09785.
//! - Ramdas, Grünwald, Vovk, Shafer: Game-theoretic statistics and safe anytime-valid inference.
//!   Statistical Science 38 (2023), arXiv 2210.01948.
//! - Shin, Ramdas, Rinaldo: E-detectors: a nonparametric framework for sequential change detection.
//!   New England Journal of Statistics in Data Science 2 (2024), arXiv 2203.03532.
//! - Krichevsky, Trofimov: The performance of universal encoding. IEEE Transactions on Information
//!   Theory 27 (1981).
//!
//! Pure: time is an argument.

mod alarm;
mod evalue;
mod forecast;
mod histogram;
mod latency;
mod look;
mod metric;
mod number;
mod past;
mod proof;
mod seen;
mod share;
mod success;
mod text;
mod trial;
mod variation;

#[cfg(test)]
mod tests;

pub use trial::Trial;
