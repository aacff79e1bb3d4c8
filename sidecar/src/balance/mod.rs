//! Which endpoint of a cluster serves, and which are kept out by what they answered.
//!
//! Invariant: only an endpoint that is healthy and not ejected is picked. There is no panic mode:
//! where no priority has one, nothing is picked and the request is refused.
//!
//! Pure: time, load and random numbers are arguments. The shared state of an endpoint (its
//! consecutive failures) is written here and nowhere else, and only when something goes wrong.

mod outlier;
mod pick;

pub use outlier::{Outcome, report};
pub use pick::{Choice, Conditions, pick};
