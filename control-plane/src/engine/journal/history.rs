//! A decision log as it is read: its files put in order again.

use super::{
    JournalError,
    decisions::{Header, Kind, LoggedDecision, VERSION},
};
use crate::{
    model::{Decision, LOOKS_LET_GO, Phase, Timestamp},
    sealed,
};
use std::{collections::VecDeque, fs::File, io::Read as _, ops::Range, path::PathBuf};

/// One file of a log, opened.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// Whose log it should be.
    pub(super) upgrade: String,
    pub(super) file: File,
    /// How far it is to be read.
    pub(super) length: u64,
}

/// The lines of a file, each whole.
#[derive(Debug)]
pub(super) struct Records {
    path: PathBuf,
    bytes: Vec<u8>,
    lines: VecDeque<Range<usize>>,
    length: usize,
}

impl Part {
    /// Reads the file and checks all of it.
    pub(super) fn records(self) -> Result<Records, JournalError> {
        let mut bytes = Vec::new();
        self.file
            .take(self.length)
            .read_to_end(&mut bytes)
            .map_err(|source| JournalError::Io {
                path: self.path.clone(),
                source,
            })?;
        let corrupt = |reason| JournalError::Corrupt {
            path: self.path.clone(),
            reason,
        };
        let found = sealed::read(&bytes, self.kind.format(), VERSION).map_err(corrupt)?;
        let header: Header = serde_json::from_slice(part(&bytes, &found.header))
            .map_err(|error| corrupt(format!("its first line can't be read: {error}")))?;
        if header.upgrade != self.upgrade {
            return Err(corrupt(format!(
                "it is the log of upgrade {}: it belongs elsewhere",
                header.upgrade
            )));
        }
        Ok(Records {
            path: self.path,
            bytes,
            lines: found.records.into(),
            length: found.length,
        })
    }
}

impl Records {
    /// The length of what is whole, in bytes.
    pub(super) fn length(&self) -> u64 {
        u64::try_from(self.length).unwrap_or(u64::MAX)
    }

    /// The newest line.
    pub(super) fn last(&self) -> Result<Option<LoggedDecision>, JournalError> {
        self.lines.back().map(|line| self.line(line)).transpose()
    }

    fn line(&self, range: &Range<usize>) -> Result<LoggedDecision, JournalError> {
        serde_json::from_slice(part(&self.bytes, range)).map_err(|error| JournalError::Corrupt {
            path: self.path.clone(),
            reason: format!(
                "what stands at byte {} is no line of version {VERSION}: {error}",
                range.start
            ),
        })
    }

    fn pop(&mut self) -> Result<Option<LoggedDecision>, JournalError> {
        let line = self.lines.pop_front();
        line.map(|line| self.line(&line)).transpose()
    }
}

fn part<'a>(bytes: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    bytes.get(range.clone()).unwrap_or_default()
}

/// The lines of one kind, oldest first.
#[derive(Debug, Default)]
struct Row {
    files: VecDeque<Records>,
    /// The next one, read already.
    head: Option<LoggedDecision>,
}

impl Row {
    fn open(parts: Vec<Part>) -> Result<Self, JournalError> {
        let mut row = Self {
            files: parts
                .into_iter()
                .map(Part::records)
                .collect::<Result<_, _>>()?,
            head: None,
        };
        row.advance()?;
        Ok(row)
    }

    /// The number of the next one.
    fn next(&self) -> Option<u64> {
        self.head.as_ref().map(|line| line.number)
    }

    fn advance(&mut self) -> Result<Option<LoggedDecision>, JournalError> {
        let mut next = None;
        while let Some(file) = self.files.front_mut() {
            next = file.pop()?;
            if next.is_some() {
                break;
            }
            self.files.pop_front();
        }
        Ok(std::mem::replace(&mut self.head, next))
    }
}

/// All lines of a log in order. The files are read, and all of them checked, with the first line.
#[derive(Debug)]
pub(super) struct History {
    /// Not read yet.
    parts: Option<(Vec<Part>, Vec<Part>)>,
    decisions: Row,
    looks: Row,
    /// The number that should come next.
    number: u64,
    /// When and in which phase the line before fell.
    before: Option<(Timestamp, Phase)>,
    /// An error ends it.
    is_over: bool,
}

impl History {
    pub(super) fn new(decisions: Vec<Part>, looks: Vec<Part>) -> Self {
        Self {
            parts: Some((decisions, looks)),
            decisions: Row::default(),
            looks: Row::default(),
            number: 0,
            before: None,
            is_over: false,
        }
    }

    fn line(&mut self) -> Result<Option<LoggedDecision>, JournalError> {
        if let Some((decisions, looks)) = self.parts.take() {
            self.decisions = Row::open(decisions)?;
            self.looks = Row::open(looks)?;
        }
        let row = match (self.decisions.next(), self.looks.next()) {
            (Some(decision), Some(look)) if look < decision => &mut self.looks,
            (None, Some(_)) => &mut self.looks,
            _ => &mut self.decisions,
        };
        let Some(head) = &row.head else {
            return Ok(None);
        };
        if head.number > self.number {
            let gap = gap(self.number, self.before, head);
            self.number = head.number;
            return Ok(Some(gap));
        }
        let line = row.advance()?;
        if let Some(line) = &line {
            self.number = line.number + 1;
            self.before = Some((line.decision.at, line.decision.phase));
        }
        Ok(line)
    }
}

impl Iterator for History {
    type Item = Result<LoggedDecision, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let line = self.line();
        self.is_over = !matches!(line, Ok(Some(_)));
        line.transpose()
    }
}

/// The line in the place of those that were let go.
fn gap(number: u64, before: Option<(Timestamp, Phase)>, next: &LoggedDecision) -> LoggedDecision {
    let count = next.number - number;
    let looks = if count == 1 { "look" } else { "looks" };
    let verdict = if before.is_some() {
        format!("{count} {looks} let go here, to make room for newer ones")
    } else {
        format!("the first {count} lines are missing")
    };
    let (at, phase) = before.unwrap_or((next.decision.at, next.decision.phase));
    LoggedDecision {
        number,
        decision: Decision {
            at,
            phase,
            rule: LOOKS_LET_GO.to_owned(),
            verdict,
        },
        inputs: serde_json::Value::Null,
        more: [("let_go".to_owned(), count.into())].into_iter().collect(),
    }
}
