//! Which endpoint of a cluster serves, and which are kept out by what they answered.
//!
//! Invariant: only an endpoint that is healthy and not ejected is picked, unless the cluster has a
//! panic threshold and less than that is left. Ours have none: their other priority is the other
//! version, and where that has none either the request is refused.
//!
//! Pure: time, load and random numbers are arguments. The shared state of an endpoint (its
//! consecutive failures) is written here and nowhere else, and only when something goes wrong.

mod outlier;
mod pick;

pub use outlier::{Outcome, report};
pub use pick::{Bench, Choice, Conditions, pick};
