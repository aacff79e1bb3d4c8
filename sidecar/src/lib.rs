//! Segue's sidecar: takes a Pod's traffic, applies the last good configuration, measures.

pub mod app;
pub mod model;
pub mod store;
