//! Segue's control plane: holds the model, runs upgrades, serves xDS and the control API.

pub mod analysis;
pub mod app;
pub mod clock;
pub mod config;
pub mod control;
pub mod engine;
pub mod event;
pub mod listen;
pub mod metric;
pub mod model;
pub mod replay;
pub mod resource;
pub mod sealed;
pub mod source;
pub mod telemetry;
pub mod upgrade;
pub mod web;
pub mod xds;
