//! What operators see of the control plane itself: logs and metrics.

mod http;
mod log;
mod metrics;

pub use http::{Shown, serve};
pub use log::init;
