//! What the sidecar says of itself: its log, its metrics, its load reports (LRS).
//!
//! Workers count; [`Loads`] gathers from them and keeps the books, of which both the reports and
//! the metrics are made.

mod loads;
mod log;
mod lrs;
mod prometheus;
mod records;
mod report;

pub use loads::{Known, Loads};
pub use log::init;
pub use lrs::Reporter;
pub use prometheus::{Process, text};
pub use records::{Collector, CollectorUrl, Telling, Told};
