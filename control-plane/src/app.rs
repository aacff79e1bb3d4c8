//! The wiring, as a table of contents.

use std::{ffi::OsString, process::ExitCode};

/// Runs the program with these arguments, the program's name first.
pub fn main(_arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::FAILURE
}
