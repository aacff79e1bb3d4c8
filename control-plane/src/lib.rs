//! Segue's control plane: holds the model, runs upgrades, serves xDS and the control API.

pub mod app;
pub mod model;
