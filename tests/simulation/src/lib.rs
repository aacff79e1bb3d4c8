//! Whole upgrades, simulated: the real engine with its journal, the real xDS state machines of both
//! sides and the sidecar's real rules, with time, network, disk and chance in the simulator's hands.
//!
//! ```text
//! seed -> Scenario -> queue of events (virtual time) -> Simulation
//!            control plane: engine::Engine + Journal on a folder, xds::Snapshot, xds::stream
//!            sidecars:      xds::stream, store::Compiler, affinity, balance
//!            simulated:     connections, instances, sessions, operator, orchestrator, faults
//!         after every step: checks (invariants by name) against what is really so
//! ```
//!
//! One thread, one random number generator, no clock and no socket: the same seed is the same run.
//! How to run it: `cargo test -p segue-simulation`; `SEGUE_SIM_SEEDS=2000` for more seeds, with
//! `SEGUE_SIM_FIRST=N` from another one on; `SEGUE_SIM_SEED=N … -- --nocapture` replays one with all
//! that happened. A bug that a seed found becomes a case test of the room that has it.
//!
//! What is simulated stands for the tasks around the pure parts (`xds::server`, `xds::client`,
//! `http`, `engine::task`); their rules are followed here, not tested.

mod checks;
mod control_plane;
mod disk;
mod faults;
mod instance;
mod network;
mod operator;
mod orchestrator;
mod proxy;
mod queue;
mod report;
mod route;
mod scenario;
mod simulation;
mod stream;
mod trace;
mod workload;

pub use checks::Violation;
pub use scenario::{Faults, Quality, Scenario};
pub use simulation::{Outcome, run, run_scenario};
