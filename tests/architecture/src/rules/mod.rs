//! The rules. Each looks at one thing, and returns what offends against it.

mod names;
mod table;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use names::{impurities, misplaced_crates, strangers};
pub(crate) use table::{circles, trespasses};
pub(crate) use tree::{long_files, orphans, strays};
