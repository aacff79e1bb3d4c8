//! Segue's sidecar: takes a Pod's traffic, applies the last good configuration, measures.

pub mod admin;
pub mod affinity;
pub mod app;
pub mod balance;
pub mod config;
pub mod drain;
pub mod health;
pub mod http;
pub mod listen;
pub mod local;
pub mod model;
pub mod redirect;
pub mod store;
pub mod tcp;
pub mod telemetry;
pub mod upstream;
pub mod worker;
pub mod xds;
