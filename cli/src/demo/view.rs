//! Shows a run while it goes: redrawn in place on a terminal that has room for it, a line a second
//! elsewhere.

use super::{evidence::Evidence, frame, load::unix_ms};
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};
use terminal_size::{Height, Width, terminal_size};
use tokio::time::Instant;

/// On a terminal with fewer columns a block says too little.
const NARROWEST: u16 = 40;

/// Where the view goes. A closed output is no reason to end: the run has its exit code.
#[derive(Debug)]
pub(super) struct View {
    terminal: bool,
    begun: Instant,
    /// Lines of the block that stands on the terminal.
    drawn: usize,
    last_line: Option<Instant>,
    last_phase: String,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            begun: Instant::now(),
            drawn: 0,
            last_line: None,
            last_phase: String::new(),
        }
    }

    /// Time counts from here.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// Says something once.
    pub(super) fn note(&mut self, text: &str) {
        let erase = self.erase();
        say(&format!("{erase}{text}\n"));
    }

    /// Shows how things stand.
    pub(super) fn show(&mut self, evidence: &Evidence) {
        let elapsed = self.begun.elapsed();
        let block = frame::block(evidence, elapsed, unix_ms());
        if let Some(columns) = self.room(block.len()) {
            let erase = self.erase();
            self.drawn = block.len();
            let lines: Vec<_> = block.iter().map(|line| frame::cut(line, columns)).collect();
            say(&format!("{erase}{}\n", lines.join("\n")));
        } else if self.is_line_due(evidence) {
            self.note(&frame::line(evidence, elapsed, unix_ms()));
        }
    }

    /// The terminal's width, where it takes a block of so many lines: what has scrolled away can't
    /// be redrawn, nor can a line that wrapped.
    fn room(&self, lines: usize) -> Option<usize> {
        let (Width(columns), Height(rows)) = terminal_size().filter(|_| self.terminal)?;
        (usize::from(rows) > lines && columns >= NARROWEST).then(|| usize::from(columns))
    }

    /// Once a second, and at once where the phase or the weight changed.
    fn is_line_due(&mut self, evidence: &Evidence) -> bool {
        let status = evidence
            .upgrade
            .as_ref()
            .and_then(|upgrade| upgrade.status.as_ref());
        let phase = status.map(|status| format!("{} {}", status.phase, status.weight));
        let phase = phase.unwrap_or_default();
        let due = phase != self.last_phase
            || self
                .last_line
                .is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
        if due {
            self.last_phase = phase;
            self.last_line = Some(Instant::now());
        }
        due
    }

    /// What takes the block off the terminal.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            // From the left: a Ctrl-C has been echoed where the cursor stood.
            lines => format!("\r\x1b[{lines}A\x1b[J"),
        }
    }
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .ok();
}
