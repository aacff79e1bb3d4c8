//! What happened, line by line: the last lines for a failure, all of them for a replay, and a hash
//! of all for the proof that a seed is one run.

use super::queue::Ms;
use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// Lines shown of a run that failed.
const SHOWN: usize = 50;

/// The lines of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: VecDeque<String>,
    keeps_all: bool,
    hasher: DefaultHasher,
}

impl Trace {
    pub(crate) fn new(keeps_all: bool) -> Self {
        Self {
            lines: VecDeque::new(),
            keeps_all,
            hasher: DefaultHasher::new(),
        }
    }

    pub(crate) fn note(&mut self, now: Ms, what: &str) {
        (now, what).hash(&mut self.hasher);
        if !self.keeps_all && self.lines.len() >= SHOWN {
            self.lines.pop_front();
        }
        self.lines
            .push_back(format!("{:>3}.{:03} {what}", now / 1_000, now % 1_000));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
