//! Hostile and broken clients, made by hand, against a real sidecar: each is refused or cut as it
//! should be, others are answered meanwhile, and the sidecar's memory stays bounded.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod floods;
mod framing;
mod limits;
mod mesh;
mod slow;
