//! Draws in place: plain ANSI, no alternate screen, so that what was last seen stays.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};
use terminal_size::{Height, Width, terminal_size};

/// Where the size is not known.
const COLUMNS: usize = 80;
/// Narrower ones get lines that break off too early to be read; they get them all the same.
const NARROWEST: usize = 20;
/// The cursor, hidden and shown.
const HIDE: &str = "\x1b[?25l";
const SHOW: &str = "\x1b[?25h";
/// From the cursor to the screen's end.
const CLEAR: &str = "\x1b[J";

/// How a line is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Strong,
    Good,
    Warn,
    Bad,
    Dim,
}

/// A line of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl Line {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            tone,
            text: text.into(),
        }
    }
}

/// True where people look at standard output.
pub(super) fn is_watched() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A screen; gives the cursor back when it goes.
#[derive(Debug)]
pub(super) struct Screen {
    color: bool,
    /// The widths of the lines that stand there.
    drawn: Vec<usize>,
}

impl Screen {
    pub(super) fn open() -> Self {
        say(HIDE).ok();
        // https://no-color.org: set and not empty.
        let color = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self {
            color,
            drawn: Vec::new(),
        }
    }

    /// Puts these lines in the place of the last ones.
    pub(super) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let (columns, rows) = size();
        let erase = erase(&self.drawn, columns);
        let shown = lines.get(..rows.saturating_sub(1)).unwrap_or(lines);
        let mut text = erase;
        for line in shown {
            text.push_str(&paint(line, columns, self.color));
            text.push('\n');
        }
        self.drawn = shown
            .iter()
            .map(|line| line.text.chars().count().min(columns))
            .collect();
        say(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone has no cursor to give back.
        say(SHOW).ok();
    }
}

/// How often the screen is drawn where nothing comes: clocks go on.
pub(super) const REDRAW: Duration = Duration::from_secs(1);

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn size() -> (usize, usize) {
    match terminal_size() {
        Some((Width(columns), Height(rows))) => (
            usize::from(columns).max(NARROWEST),
            usize::from(rows).max(2),
        ),
        None => (COLUMNS, usize::MAX),
    }
}

/// Goes up to where the last lines begin. A terminal that became narrower has broken them.
fn erase(drawn: &[usize], columns: usize) -> String {
    let rows: usize = drawn
        .iter()
        .map(|width| width.div_ceil(columns.max(1)).max(1))
        .sum();
    match rows {
        0 => String::new(),
        rows => format!("\x1b[{rows}A\r{CLEAR}"),
    }
}

/// A line cut to the width, in its colour.
fn paint(line: &Line, columns: usize, color: bool) -> String {
    let text = cut(&line.text, columns);
    let code = match line.tone {
        Tone::Plain => return text,
        Tone::Strong => "1",
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "31",
        Tone::Dim => "2",
    };
    if color {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text
    }
}

/// At most so many columns; what is cut off ends in `…`. Control characters, which a proxy's NACK
/// could bring, must not reach the terminal.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= columns {
        return text.chars().map(clean).collect();
    }
    let mut cut: String = text
        .chars()
        .take(columns.saturating_sub(1))
        .map(clean)
        .collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_width_and_cleaned() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("a\x1b[31mb\n", 20), "a [31mb ");
    }

    #[test]
    fn color_goes_around_the_text_that_is_left() {
        let line = Line::new(Tone::Bad, "abcdef");
        assert_eq!(paint(&line, 4, true), "\x1b[31mabc…\x1b[0m");
        assert_eq!(paint(&line, 4, false), "abc…");
        assert_eq!(paint(&Line::new(Tone::Plain, "ab"), 4, true), "ab");
    }

    #[test]
    fn what_a_narrower_terminal_has_broken_is_erased_whole() {
        assert_eq!(erase(&[], 80), "");
        assert_eq!(erase(&[80, 0, 40], 80), "\x1b[3A\r\x1b[J");
        assert_eq!(erase(&[80, 0, 40], 40), "\x1b[4A\r\x1b[J");
    }
}
