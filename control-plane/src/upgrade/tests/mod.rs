//! Cases by rule, properties over random histories, and a model check over a small world.

mod cases;
mod cause_cases;
mod draining_cases;
mod limit_cases;
mod model_check;
mod properties;
mod rollback_cases;
mod session_cases;
mod verb_cases;
mod verdict_cases;
mod world;
